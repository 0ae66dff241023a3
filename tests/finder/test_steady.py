"""The short way through steps that are like the one before tells what the long way does, whatever comes in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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


def the_long_way(word: str, stops: list[int]) -> list[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Steady, "enter", lambda *_: None)
        return told(word, stops)


@given(
    word=st.text(alphabet="p" * 12 + "acdefilnostuw", min_size=20, max_size=45),
    stops=st.lists(st.integers(2, 50), max_size=3, unique=True).map(sorted),
)
@example(word="pppppp" + "ppipipipp" * 3, stops=[])
@settings(max_examples=6, deadline=None)
def test_both_ways_tell_the_same(word: str, stops: list[int]) -> None:
    assert repr(told(word, stops)) == repr(the_long_way(word, stops))  # as text: NaN equals NaN there


def test_most_steps_of_a_free_run_go_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    short: list[bool] = []
    plain = LoopSide.pass_by

    def counting(loop: LoopSide, loss: Any, epoch: int | None) -> bool:
        short.append(plain(loop, loss, epoch))
        return short[-1]

    monkeypatch.setattr(LoopSide, "pass_by", counting)
    with session_on("p" * 300) as session:
        session.type("continue")
        assert session.controller.position.step == 300
    # Of ten steps one records metrics, and of the three of a pass the first is another pass.
    assert 140 <= sum(short) <= 200


def test_without_a_loader_steps_are_taken_on_what_the_model_is_called_with() -> None:
    word = "n" * 50
    with session_on(word) as session:
        session.type("until 45")
        record = session.controller.get_batch()
        assert record is not None
        assert record["batch"].shape == (8, 6)
        assert session.controller.position.step == 45
    assert repr(told(word, [45])) == repr(the_long_way(word, [45]))


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
