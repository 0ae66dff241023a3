"""Going back in place in a script that has never heard of tdb, because somebody has asked for it."""

from __future__ import annotations

import random
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.typing_session import TypingSession

Begin = Callable[..., TypingSession]

SCRIPT = """
import hashlib
import random
import sys
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Noisy(Dataset):
    def __len__(self):
        return 56

    def __getitem__(self, index):
        noise = 0.1 * torch.randn(5) + 0.1 * random.random() + 0.1 * np.random.rand()
        return torch.arange(5.0) * index / 56 + noise, index % 3


def digest():
    found = hashlib.sha256()
    for value in [*model.state_dict().values(), torch.get_rng_state()]:
        found.update(value.numpy().tobytes())
    found.update(repr((random.getstate(), np.random.get_state()[1].tolist())).encode())
    found.update(repr((optimizer.state_dict(), scheduler.state_dict())).encode())
    return found.hexdigest()[:16]


torch.manual_seed(0), random.seed(0), np.random.seed(0)
train = DataLoader(Noisy(), batch_size=8, shuffle=True, num_workers=int(sys.argv[1]))
test = DataLoader(Noisy(), batch_size=28)
model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.7)
for epoch in range(4):
    model.train()
    for inputs, labels in train:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        accuracy = sum(int((model(inputs).argmax(1) == labels).sum()) for inputs, labels in test)
    scheduler.step()
print("trained to", digest())
"""
STEPS = 28


def plain_end(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, workers: str) -> str:
    """Return what the script prints last without tdb."""
    (folder / "plain.py").write_text(SCRIPT)
    monkeypatch.setattr(sys, "argv", ["plain.py", workers])
    runpy.run_path(str(folder / "plain.py"), run_name="__main__")
    return capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_steps_are_as_they_were_over_the_ends_of_epochs(
    workers: str, begin: Begin, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    end, chance, known = plain_end(tmp_path, capsys, monkeypatch, workers), random.Random(workers), {}
    session = begin(SCRIPT, workers)
    session.answer("set checkpoints.in_place on")
    for step in range(1, 20):
        session.answer("step")
        known[step] = session.answer("p digest()")["value"]
    first = session.answer("goto 3")
    assert (first["route"], first["epoch"]) == ("in place", 1)
    for _ in range(12):
        goal = chance.randint(2, 19)
        landing = session.answer(f"goto {goal}")
        assert (landing["route"], landing["step"], landing["differences"]) == ("in place", goal, [])
        assert landing["epoch"] == -(-goal // 7)
        assert session.answer("p digest()")["value"] == known[goal], goal
        if goal < 15:
            here = session.answer(f"step {chance.randint(1, 4)}")["step"]
            assert session.answer("p digest()")["value"] == known[here], (goal, here)
    session.answer("goto 2")
    session.answer("continue")
    assert capsys.readouterr().out.splitlines()[-1] == end
    assert session.controller.position.step == STEPS


def test_it_is_asked_for_in_the_middle_of_a_run_and_says_what_stays(begin: Begin) -> None:
    session = begin(SCRIPT, "0")
    session.answer("step 10")
    session.answer("set checkpoints.in_place on")
    session.answer("until 16")
    digest = session.answer("p digest()")["value"]
    session.answer("step 4")
    shown = session.type("goto 16")
    assert '"route":"in place"' in shown
    assert "the loop's own variables, such as counters and sums, did not" in shown
    assert session.answer("p digest()")["value"] == digest
    ways = session.answer("checkpoints")["ways"]
    assert ways["in place"] == ""
    assert "training goes back in place already" in session.type("set checkpoints.in_place off")
    session.answer("set optimizer.lr 0.5")
    assert session.answer("branches")["now"] == "fork-1"
    session.answer("until 18")
    changed = session.answer("p digest()")["value"]
    assert session.answer("switch main")["step"] == 20
    assert session.answer("switch fork-1")["step"] == 18
    assert session.answer("p digest()")["value"] == changed
    landing = session.answer("goto 4")  # before anybody asked
    assert (landing["route"], landing["step"]) == ("re-run", 4)


SEVERAL = """
import torch
from torch import nn
from torch.utils.data import DataLoader

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
one, other = (DataLoader(torch.randn(40, 3), batch_size=4) for _ in range(2))
for left, right in zip(one, other):
    optimizer.zero_grad()
    model(left - right).square().mean().backward()
    optimizer.step()
"""

NO_LOADER = """
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for number in range(30):
    optimizer.zero_grad()
    model(torch.randn(8, 3)).square().mean().backward()
    optimizer.step()
"""

MADE_ANEW = "optimizer = torch.optim.Adam(model.parameters())"


def test_a_script_that_crashes_after_going_back_crashes_in_the_epoch_it_went_back_to(begin: Begin) -> None:
    session = begin(SCRIPT, "0")
    session.answer("set checkpoints.in_place on")
    session.answer("until 10")  # seven steps are an epoch
    session.answer("goto 3")
    session.answer("!optimizer.zero_grad = None")
    session.type("continue")
    crashed = session.answer("batch")
    assert (crashed["step"], crashed["epoch"]) == (4, 1)


def test_where_batches_cannot_be_given_again_it_is_refused(begin: Begin) -> None:
    session = begin(SEVERAL)
    session.answer("step 3")
    shown = session.type("set checkpoints.in_place on")
    assert "this loop cannot go back in place: its steps draw from several loaders, or a batch ahead" in shown
    assert not session.session.settings["checkpoints.in_place"]
    assert session.answer("goto 2")["route"] == "re-run"


def test_without_a_loader_the_generators_are_enough(begin: Begin) -> None:
    session = begin(NO_LOADER)
    session.answer("set checkpoints.in_place on")
    session.answer("until 12")
    weights = session.answer("p model.weight.tolist()")["value"]
    session.answer("step 5")
    landing = session.answer("goto 12")
    assert (landing["route"], landing["differences"]) == ("in place", [])
    assert session.answer("p model.weight.tolist()")["value"] == weights
    assert session.answer("p number")["value"] > 11  # the loop's own count has gone on


def test_a_run_with_branches_that_are_in_no_process_stays_with_the_ways_that_know_them(begin: Begin) -> None:
    session = begin(NO_LOADER)
    session.answer("set checkpoints.in_place on")
    session.answer("continue")
    session.answer("restart")
    told = "checkpoints.in_place is off: a run that goes back in place from here on would not know the branch main"
    assert told in session.type("fork slower")
    session.answer("set optimizer.lr 0.05")
    session.answer("step 5")
    why = "training cannot go back in place: this run has other branches, which it would not know: main"
    assert why in session.type("set checkpoints.in_place on")
    landing = session.answer("switch main")
    assert (landing["route"], landing["step"], landing["differences"]) == ("re-run", 30, [])
    session.answer("switch slower")
    assert list(session.answer("branches")["changes"]) == ["main", "slower"]


def test_what_was_changed_before_it_was_asked_for_belongs_to_the_run_too(begin: Begin) -> None:
    session = begin(NO_LOADER)
    session.answer("step 3")
    session.answer("set optimizer.lr 0.05")
    session.answer("step 2")
    weights = session.answer("p model.weight.tolist()")["value"]
    session.answer("set checkpoints.in_place on")
    session.answer("set optimizer.lr 0.03")
    session.answer("step 4")
    assert session.answer("branches")["changes"] == {
        "main": ["set optimizer.lr 0.05 (step 3)", "set optimizer.lr 0.03 (step 5)"]
    }
    landing = session.answer("goto 4")  # before it was asked for
    assert (landing["route"], landing["differences"]) == ("re-run", [])
    session.answer("step")
    assert session.answer("p model.weight.tolist()")["value"] == weights
    assert "what was changed at step 5 was not done again: set optimizer.lr 0.03" in session.type("step")
    assert session.answer("branches")["now"] == "main"


def test_back_reaches_as_far_as_goto(begin: Begin) -> None:
    """Before the first step of the loop that goes back in place, another way leads."""
    session = begin(NO_LOADER.replace("    model(", "    if number == 4:\n        " + MADE_ANEW + "\n    model("))
    session.answer("set checkpoints.in_place on")
    session.answer("step 6")
    assert "there are 6 steps to go back, not 7" in session.type("back 7")
    landing = session.answer("back 5")
    assert (landing["route"], landing["step"], landing["differences"]) == ("re-run", 1, [])
