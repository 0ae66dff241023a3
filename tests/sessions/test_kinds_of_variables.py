"""Whatever a loop keeps in its variables: expressions say what it is or why they cannot, and a look changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tdb.prompt_python import run_python
from tests.typing_session import TypingSession

SCRIPT = """
from collections import Counter, defaultdict, deque
from collections.abc import Mapping

import torch
from torch import nn

class Meter(dict):
    @property
    def average(self):
        return self["sum"] / 4

class Noise:
    @property
    def drawn(self):
        return torch.rand(()).item()

class Broken(Mapping):
    def __getitem__(self, key):
        raise ValueError("closed\\nat line 3")

    def __iter__(self):
        return iter(())

    def __len__(self):
        return 0

def train():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    window, losses = deque(maxlen=3), []
    by_name, counts, by_class = defaultdict(list), Counter("aab"), {0: Meter(sum=1.0), 7: Meter(sum=2.0)}
    logs = {"val.meter": Meter(sum=6.0), "train.accuracy": 0.25}
    noise, broken = Noise(), Broken()
    eighth = torch.ones(3).to(torch.float8_e4m3fn)
    quantized = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8)
    empty, nested = torch.ones(3, device="meta"), torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    whole, rotation = 10**5000, 1 + 2j
    for step in range(8):
        loss = model(torch.randn(4, 6)).pow(2).mean()
        losses.append(loss)
        window.append(float(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model

model = train()
accuracy = 0.75
"""


@pytest.fixture
def session(tmp_path: Path) -> Iterator[TypingSession]:
    made = TypingSession(tmp_path, SCRIPT)
    made.type("set figures off")
    yield made
    made.close()


def test_entries_of_all_kinds(session: TypingSession) -> None:
    session.play(
        """
        (tdb) step 4
        > step 4 ...
        (tdb) display mean(window)
        1: mean(window) = 2
        (tdb) assert losses[-1] == loss and len(losses) == 4
        (tdb) assert logs["val.meter"].average == 1.5 and logs["val.meter"]["sum"] == 6
        (tdb) assert logs["train.accuracy"] == 0.25
        (tdb) assert by_class[7].average == 0.5 and counts["a"] == 2
        (tdb) assert model[-1].p == 0.1 and model[0].in_features == 6
        (tdb) assert all(quantized == 1) and all(eighth == 1)
        (tdb) display rotation
        2: rotation = 1+2j
        (tdb) break when rotation == 3
        Breakpoint 1, when rotation == 3
        not so at step 4: rotation = 1+2j == 3
        (tdb) break when whole < 3
        Breakpoint 2, when whole < 3
        not so at step 4: whole = 1.000e+5000 < 3
        """
    )


def test_what_has_no_numbers_is_told_in_one_line(session: TypingSession) -> None:
    session.play(
        """
        (tdb) step
        > step 1 ...
        (tdb) break when empty > 0
        *** empty is no number: this tensor's numbers cannot be looked at: NotImplementedError: ...
        (tdb) break when nested > 0
        *** nested is no number: this tensor's numbers cannot be looked at: ...
        (tdb) display empty
        1: empty = tensor(..., device='meta', size=(3,))
        (tdb) p empty
        tensor(..., device='meta', size=(3,))
        (tdb) display broken.value
        *** broken.value cannot be read: ValueError: closed
        """
    )


def test_a_look_makes_no_entry(session: TypingSession) -> None:
    session.type("step")
    assert "no metric, key or variable 'by_name.loss'" in session.type('break when len(by_name["loss"]) > 3')
    session.type("step 2")
    assert run_python(session.session, "dict(by_name)") == {}


def test_random_numbers_that_a_property_draws_are_no_loss_to_training(session: TypingSession, tmp_path: Path) -> None:
    def final(session: TypingSession) -> str:
        assert "finished after 8 steps" in session.type("continue")
        weight = run_python(session.session, "model[0].weight.detach()")
        assert isinstance(weight, torch.Tensor)
        return hashlib.sha256(weight.numpy().tobytes()).hexdigest()

    session.type("step")
    session.type("break while noise.drawn > 1")
    plain = TypingSession(tmp_path, SCRIPT)
    assert final(session) == final(plain)
    plain.close()


def test_after_the_end_the_names_of_the_script_are_what_they_have_become(session: TypingSession) -> None:
    session.play(
        """
        (tdb) display accuracy
        1: accuracy
        (tdb) continue
        Training finished after 8 steps
        1: accuracy = 0.75
        (tdb) assert accuracy > 0.7
        (tdb) assert accuracy > 0.8
        *** ...accuracy = 0.75 > 0.8...
        """
    )


def test_displays_of_a_run_that_was_left_are_not_told_of_the_step_gone_back_to(session: TypingSession) -> None:
    session.type("display loss")
    session.type("display step")
    session.type("continue")
    back = session.type("back 2")
    assert "> step 6" in back
    assert "loss = " not in back
    assert "step = 8" not in back
    assert "2: step = 6" in session.type("display")
