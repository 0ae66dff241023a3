"""The short way through steps that are like the one before tells what the long way does, whatever comes in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tdb.finder.steady import Steady
from tdb.loop_side import LoopSide
from tests.typing_session import TypingSession

# What a script may do in a step, a letter each; most do the same again and again.
SCRIPT = """
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
dataset = torch.utils.data.TensorDataset(torch.randn(24, 6), torch.randint(0, 2, (24,)))
loader = torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True)
other = torch.utils.data.DataLoader(dataset, batch_size=4)


class Guarded(torch.optim.SGD):
    within = False  # the update is made by the class that this one derives from, inside of its own

    def step(self, closure=None):
        if self.within or closure is not None:
            return super().step(closure)
        with torch.no_grad():
            for parameter in self.param_groups[0]["params"]:
                parameter -= 0.1 * parameter.grad


optimizer = torch.optim.SGD(model.parameters(), lr=0.1)  # torch wraps the update of a class with its first object
optimizer = Guarded(model.parameters(), lr=0.1)


def batches():
    while True:
        yield from loader


def objective(x, y):
    return nn.functional.cross_entropy(model(x), y)


def accumulated(x, y):
    for half in (slice(4), slice(4, 8)):
        part = objective(x[half], y[half]) / 2
        part.backward()


def failing(x, y):
    try:
        model(x).backward()
    except RuntimeError:
        pass
    objective(x, y).backward()


def closure(x, y):
    def evaluate():
        optimizer.zero_grad()
        inside = objective(x, y)
        inside.backward()
        return inside

    optimizer.step(evaluate)


def two_losses(x, y):
    first, second = objective(x, y), sum((p**2).sum() for p in model.parameters())
    torch.autograd.backward([first, second])


endless = batches()
for action in {word!r}:
    optimizer.zero_grad()
    if action == "c":
        x, y = next(endless)
        closure(x, y)
        continue
    x, y = (torch.randn(8, 6), torch.randint(0, 2, (8,))) if action == "n" else next(endless)
    if action == "d":  # one batch is left out
        x, y = next(endless)
    elif action == "e":  # an evaluation with gradients on, which no update follows
        for x_other, y_other in other:
            evaluation = objective(x_other, y_other)
    if action == "a":
        accumulated(x, y)
    elif action == "f":
        failing(x, y)
    elif action == "t":
        two_losses(x, y)
    elif action == "l":
        elsewhere = objective(x, y)
        elsewhere.backward()
    else:
        loss = objective(x, y)
        loss.backward()
    if action == "w":  # the batch of the step after next is thrown away between backward and update
        next(endless)
    elif action == "o":
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    elif action == "s":  # the update is left out
        continue
    optimizer.within = action == "i"
    optimizer.step()
    if action == "u":
        optimizer.step()
"""


@contextmanager
def session_on(word: str) -> Iterator[TypingSession]:
    with TemporaryDirectory() as folder:
        session = TypingSession(Path(folder), SCRIPT.replace("{word!r}", repr(word)))
        try:
            yield session
        finally:
            session.close()


def told(word: str, stops: list[int]) -> list[Any]:
    """Return what is seen at stops, and what history says in the end."""
    seen: list[Any] = []
    with session_on(word) as session:
        for stop in stops:
            session.type(f"until {stop}")
            record = session.controller.get_batch()
            if record is not None:  # an update without a backward pass has none
                seen.append([record["step"], record["epoch"], record["loss"], flat(record["batch"])])
            seen.append(session.type("p list(losses)") if session.session.status == "stopped" else "over")
        session.type("continue")
        run = session.session.run
        assert run is not None
        assert run.error is None, run.error
        columns = session.controller.recorder.history.range()
        return [*seen, *(columns[name].tolist() for name in ("step", "epoch", "loss"))]


def flat(batch: Any) -> list[float]:
    tensors = batch if isinstance(batch, list | tuple) else [batch]
    return [value for tensor in tensors if tensor is not None for value in tensor.flatten().tolist()]


def told_of_conditions(word: str, conditions: list[str]) -> list[Any]:
    """Return what is shown at each stop of conditions, and the metrics that history has in the end."""
    with session_on(word) as session:
        session.type("step")
        shown = [session.type(condition) for condition in conditions]
        while session.session.status != "finished":
            shown.append(session.type("continue").replace(str(session.folder), ""))
        steps, norms = session.controller.recorder.history.metric("weight_norm")
        return [*shown, steps.tolist(), norms.tolist()]


def the_long_way(tell: Callable[..., list[Any]], *asked: Any) -> list[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Steady, "enter", lambda *_: None)
        return tell(*asked)


@given(
    word=st.text(alphabet="p" * 12 + "acdefilnostuw", min_size=20, max_size=45),
    stops=st.lists(st.integers(2, 50), max_size=3, unique=True).map(sorted),
)
@example(word="pppppp" + "ppipipipp" * 3, stops=[])
@settings(max_examples=6, deadline=None)
def test_both_ways_tell_the_same(word: str, stops: list[int]) -> None:
    assert repr(told(word, stops)) == repr(the_long_way(told, word, stops))  # as text: NaN equals NaN there


CONDITIONS = [
    "break when loss < 0.69",
    "break when weight_norm[0] > 0.66",
    "break when sum(x[0]) > 2",
    "break while step % 7 == 3 and epoch % 2 == 0",
]


@given(word=st.text(alphabet="p" * 15 + "acdefilnostuw", min_size=20, max_size=45))
@example(word="p" * 40)
@settings(max_examples=4, deadline=None)
def test_both_ways_stop_at_the_same_conditions(word: str) -> None:
    short = told_of_conditions(word, CONDITIONS)
    assert repr(short) == repr(the_long_way(told_of_conditions, word, CONDITIONS))


NEVER_SO = ["break when loss < 0", "break when weight_norm[0] < 0", "break when x[0, 0] > 99"]


@pytest.mark.parametrize("armed", [[], NEVER_SO])
def test_most_steps_of_a_free_run_go_the_short_way(armed: list[str]) -> None:
    # A mock has no frame of its own that conditions might take for the loop's.
    plain = LoopSide.wait_if_paused
    counted = mock.patch.object(LoopSide, "wait_if_paused", autospec=True, side_effect=plain)
    with counted as the_long_way, session_on("p" * 300) as session:
        session.type("step")
        for condition in armed:
            session.type(condition)
        session.type("continue")
        assert session.controller.position.step == 300
    # Of ten steps one records metrics, and of the three of a pass the first is another pass.
    assert 100 <= the_long_way.call_count <= 160


def test_without_a_loader_steps_are_taken_on_what_the_model_is_called_with() -> None:
    word = "n" * 50
    with session_on(word) as session:
        session.type("until 45")
        record = session.controller.get_batch()
        assert record is not None
        assert record["batch"].shape == (8, 6)
        assert session.controller.position.step == 45
    assert repr(told(word, [45])) == repr(the_long_way(told, word, [45]))


def test_a_loader_is_let_go_when_its_loop_is_left(tmp_path: Path) -> None:
    session = TypingSession(
        tmp_path,
        """
        import weakref
        import torch

        def train(optimizer, model):
            dataset = torch.utils.data.TensorDataset(torch.randn(64, 6))
            loader = torch.utils.data.DataLoader(dataset, batch_size=2)
            for number, (x,) in enumerate(loader):
                optimizer.zero_grad()
                model(x).square().mean().backward()
                optimizer.step()
                if number == 20:
                    break
            return weakref.ref(loader)

        model = torch.nn.Linear(6, 2)
        assert train(torch.optim.SGD(model.parameters(), lr=0.1), model)() is None
        """,
    )
    try:
        assert "Training finished after 21 steps" in session.type("continue")
    finally:
        session.close()
