"""Expressions see the loop's own variables, where it waits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tdb.prompt_python import run_python
from tests.typing_session import TypingSession

# In the style of public scripts: what it wants to know it keeps in variables, objects and dictionaries.
SCRIPT = """
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

class Meter:
    def __init__(self):
        self.sum = self.count = 0

    def update(self, value):
        self.sum, self.count = self.sum + value, self.count + 1

    @property
    def average(self):
        return self.sum / self.count

class Points(Dataset):
    drawn = 0

    def __len__(self):
        return 64

    def __getitem__(self, index):
        self.drawn += 1
        return torch.randn(6), torch.randint(0, 2, ()).item()

class Trainer:
    def __init__(self):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Dropout(0.1), nn.Linear(5, 2))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, 3, 0.5)
        self.meters = {"train/accuracy": Meter(), "empty": Meter()}

    def train(self, points):
        phase, best, step = "training", None, 1000
        seen = torch.zeros(2)
        for epoch in range(2):
            for inputs, labels in DataLoader(points, batch_size=8, shuffle=True):
                logits = self.model(inputs)
                loss = nn.functional.cross_entropy(logits, labels)
                accuracy = (logits.argmax(1) == labels).float().mean().item()
                self.meters["train/accuracy"].update(accuracy)
                best = accuracy if step > 1003 and accuracy > (best or 0) else best
                seen += torch.bincount(labels, minlength=2)
                self.optimizer.zero_grad()
                loss.backward()
                step += 1
                accuracies.append(accuracy)
                self.optimizer.step()
                self.schedule.step()
        if fails:
            raise ValueError(phase)

accuracies = []
fails = False
points = Points()
trainer = Trainer()
trainer.train(points)
"""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., TypingSession]]:
    """Makes a session on the script."""
    monkeypatch.chdir(tmp_path)
    made: list[TypingSession] = []

    def make(text: str = SCRIPT) -> TypingSession:
        made.append(TypingSession(tmp_path, text))
        made[-1].type("set figures off")
        return made[-1]

    yield make
    for session in reversed(made):
        session.close()


def python(session: TypingSession, text: str) -> object:
    return run_python(session.session, text)


def test_a_breakpoint_on_a_variable_stops_where_a_check_in_the_loop_would(make: Callable[..., TypingSession]) -> None:
    session = make()
    session.type("step")
    session.type("break when accuracy > 0.6")
    stops = []
    while "finished" not in session.type("continue"):
        stops.append(session.controller.position.step)
    accuracies = python(session, "accuracies")
    assert isinstance(accuracies, list)
    above = [False, *(each > 0.6 for each in accuracies)]
    becomes = [step for step in range(1, len(above)) if above[step] and not above[step - 1]]
    assert stops == [step for step in becomes if step > 1]
    assert len(stops) > 1


def test_attributes_keys_and_entries(make: Callable[..., TypingSession]) -> None:
    make().play(
        """
        (tdb) step 2
        > step 2 ...
        (tdb) break when self.meters["train/accuracy"].count == 3
        Breakpoint 1, when self.meters["train/accuracy"].count == 3
        not so at step 2: self.meters["train/accuracy"].count = 2 == 3
        (tdb) break when self.optimizer.param_groups[0]["lr"] < 0.06
        Breakpoint 2, when self.optimizer.param_groups[0]["lr"] < 0.06
        not so at step 2: self.optimizer.param_groups[0]["lr"] = 0.1 < 0.06
        (tdb) break when len(inputs) != 8 or self.model[0].weight[0, 0] > 100
        Breakpoint 3, when len(inputs) != 8 or self.model[0].weight[0, 0] > 100
        not so at step 2: ...
        (tdb) continue
        Breakpoint 1 at step 3: self.meters["train/accuracy"].count = 3 == 3
        > step 3 ...
        (tdb) display self.meters["train/accuracy"].average
        1: self.meters["train/accuracy"].average = ...
        (tdb) continue
        Breakpoint 2 at step 4: self.optimizer.param_groups[0]["lr"] = 0.05 < 0.06
        > step 4 ...
        1: self.meters["train/accuracy"].average = ...  (was ...)
        (tdb) assert len(accuracies) == 4
        (tdb) until sum(seen) >= 56
        until at step 7: sum(seen) = 56 >= 56
        > step 7 ...
        """
    )


def test_a_variable_of_the_callers_is_one_of_the_loops(make: Callable[..., TypingSession]) -> None:
    in_a_function = "def update(optimizer):\n    rate = optimizer.param_groups[0]['lr']\n    optimizer.step()\n"
    text = SCRIPT.replace("self.optimizer.step()", "update(self.optimizer)")
    make(text.replace("accuracies = []", f"{in_a_function}\naccuracies = []")).play(
        """
        (tdb) step 2
        > step 2 ... update
        -> optimizer.step()
        (tdb) p accuracy
        *** NameError: name 'accuracy' is not defined
        (tdb) display accuracy < 2 and rate < 0.2
        1: accuracy < 2 and rate < 0.2 = true
        (tdb) break when len(accuracies) == 4 and rate < 0.2 and epoch == 1 and self.schedule.last_epoch == 3
        Breakpoint 1, ...
        not so at step 2: ...
        (tdb) continue
        Breakpoint 1 at step 4: ...
        > step 4 ...
        ...
        """
    )


def test_names_of_tdb_come_first(make: Callable[..., TypingSession]) -> None:
    make().play(
        """
        (tdb) step
        > step 1 ...
        (tdb) p step
        1001
        (tdb) break when step > 5
        Breakpoint 1, when step > 5
        not so at step 1: step = 1 > 5
        (tdb) continue
        Breakpoint 1 at step 6: step = 6 > 5
        > step 6 ...
        (tdb) assert loop.step == 1006
        (tdb) break when loop.step > 1008
        Breakpoint 2, when loop.step > 1008
        not so at step 6: loop.step = 1006 > 1008
        (tdb) continue
        Breakpoint 2 at step 9: loop.step = 1009 > 1008
        > step 9 ...
        """
    )


def test_what_nothing_can_be_computed_of_is_refused(make: Callable[..., TypingSession]) -> None:
    session = make()
    session.play(
        """
        (tdb) step
        > step 1 ...
        (tdb) break when phase == 1
        *** phase is no number, but str. Expressions are of numbers, tensors and arrays
        (tdb) break when points[3] > 1
        *** points is no number, but Points. Expressions are of numbers, tensors and arrays
        (tdb) until self > 3
        *** self is no number, but Trainer. Expressions are of numbers, tensors and arrays
        (tdb) break when inputs[8, 0] > 1
        *** break when inputs[8, 0] > 1
                              ^ inputs has 8 entries: 0..7
        (tdb) break when accurracy > 1
        Breakpoint 1, when accurracy > 1
        no metric, key or variable 'accurracy'. Did you mean: accuracy. It may be captured later
        (tdb) break when self.meters["empty"].average > 1
        Breakpoint 2, when self.meters["empty"].average > 1
        it cannot be told at this step: self.meters.empty.average cannot be read: ... division by zero. ...
        ...
        """
    )
    assert python(session, "points.drawn") == 8  # nobody has looked through the data


def test_a_variable_that_is_none_may_become_a_number(make: Callable[..., TypingSession]) -> None:
    make().play(
        """
        (tdb) step
        > step 1 ...
        (tdb) break when best > 0
        Breakpoint 1, when best > 0
        best has no value in this step. It may be captured later
        (tdb) continue
        Breakpoint 1 at step ...: best = ... > 0
        > step ...
        """
    )


def test_what_is_written_to_in_place_is_remembered_as_it_was(make: Callable[..., TypingSession]) -> None:
    make().play(
        """
        (tdb) step
        > step 1 ...
        (tdb) break while sum(delta(seen)) != 8
        Breakpoint 1, while sum(delta(seen)) != 8
        ...
        (tdb) continue
        Training finished after 16 steps
        """
    )


def test_after_a_crash_they_are_those_of_the_frame_that_crashed(make: Callable[..., TypingSession]) -> None:
    make(SCRIPT.replace("fails = False", "fails = True")).play(
        """
        (tdb) display len(accuracies)
        1: len(accuracies)
        (tdb) continue
        ...ValueError: training...
        1: len(accuracies) = 16
        (tdb) assert step == 16 and len(accuracies) == 16 and epoch == 2
        """
    )


def test_training_does_not_notice(make: Callable[..., TypingSession]) -> None:
    def final(session: TypingSession) -> str:
        assert "finished after 16 steps" in session.type("continue")
        weights = python(session, "torch.cat([each.detach().flatten() for each in trainer.model.parameters()])")
        assert isinstance(weights, torch.Tensor)
        return hashlib.sha256(weights.numpy().tobytes()).hexdigest()

    looked_at = make()
    looked_at.type("step")
    for line in (
        "break when accuracy > 1",
        'break while ema(self.meters["train/accuracy"].average, 5) > 1',
        "break changed points.drawn, accuracy > 1",
        "display norm(logits[0])",
    ):
        assert "***" not in looked_at.type(line)
    assert final(looked_at) == final(make())
