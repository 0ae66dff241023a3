"""The controller: what a loop hands over, what a stop shows of it, and what happens when either side goes away."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import tdb.gate
import tdb.under_way
from tdb.controller import DebugController
from tdb.errors import StateError, TrainingStopped
from tdb.gate import Attention
from tdb.panel import Panel
from tdb.step import Position
from tdb.stop_question import StopCheck
from tdb.under_way import UnknownKeyError
from tests.conftest import PATIENCE, Loop

Train = Callable[..., Loop]


def stopped(controller: DebugController) -> bool:
    return controller.wait(PATIENCE) == "stopped"


# ---- a session -------------------------------------------------------------------------------------------------------


def test_a_session(controller: DebugController, train: Train) -> None:
    assert controller.get_state() == {
        "paused": False,
        "step": 0,
        "phase": "boundary",
        "has_batch": False,
        "status": "ready",
        "epoch": None,
        "loss": None,
        "tick": 0,
        "reason": "",
    }
    assert controller.get_batch() is None

    def body(step: int) -> None:
        controller.capture_batch({"x": np.full(3, step)}, torch.tensor(1 / step), step, labels=[step], epoch=step // 10)

    controller.pause()
    loop = train(100, body)
    assert stopped(controller)
    assert controller.step() == 1
    assert stopped(controller)
    assert controller.get_state() == {
        "paused": True,
        "step": 2,
        "phase": "boundary",
        "has_batch": True,
        "status": "stopped",
        "epoch": 0,
        "loss": 0.5,
        "tick": 2,
        "reason": "step",
    }
    batch = controller.get_batch()
    assert batch is not None
    np.testing.assert_array_equal(batch.pop("batch")["x"], [2, 2, 2])
    assert batch == {"loss": 0.5, "step": 2, "epoch": 0, "labels": [2]}

    assert controller.step(10) == 10
    assert stopped(controller)
    assert (controller.position.step, controller.record.clock.step, controller.record.epoch) == (12, 12, 1)

    controller.resume()
    assert controller.wait(PATIENCE) == "finished"
    assert loop.join().taken == list(range(1, 101))
    assert controller.get_state()["step"] == 100


def test_a_loop_that_numbers_nothing_is_counted(controller: DebugController, train: Train) -> None:
    controller.step(3)
    train(10, lambda _: controller.capture_batch([0], 0.5))
    assert stopped(controller)
    assert controller.get_state()["step"] == 3
    batch = controller.get_batch()
    assert batch is not None
    assert batch["step"] == 3


def test_a_loop_that_captures_nothing_can_be_stepped(controller: DebugController, train: Train) -> None:
    controller.step(3)
    train(10, lambda _: None)
    assert stopped(controller)
    state = controller.get_state()
    assert (state["step"], state["has_batch"], state["loss"], state["epoch"]) == (3, False, None, None)


def test_a_step_without_a_loss_does_not_show_the_one_before(controller: DebugController, train: Train) -> None:
    controller.step(1)
    train(10, lambda step: controller.capture_batch([step], 0.5, step, epoch=1) if step == 1 else None)
    assert stopped(controller)
    assert controller.get_state()["loss"] == 0.5
    controller.step()
    assert stopped(controller)
    state = controller.get_state()
    assert (state["step"], state["loss"], state["epoch"], state["has_batch"]) == (2, None, None, False)


# ---- what is captured is owned ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    inputs: torch.Tensor
    targets: torch.Tensor


class Named(NamedTuple):
    inputs: torch.Tensor
    targets: torch.Tensor


class Odd(list[Any]):
    """A container whose constructor takes something else than its items."""

    def __init__(self, *, first: Any) -> None:
        super().__init__([first])


@pytest.mark.parametrize(
    ("hand_over", "look"),
    [
        (lambda x: x, lambda got: got),
        (lambda x: [x, 1], lambda got: got[0]),
        (lambda x: (x, {"y": [x]}), lambda got: got[1]["y"][0]),
        (lambda x: Named(x, x), lambda got: got.targets),
        (lambda x: Pair(x, x), lambda got: got.targets),
        (lambda x: OrderedDict(x=x), lambda got: got["x"]),
        (lambda x: Odd(first=x), lambda got: got[0]),
        (lambda x: torch.return_types.max((x, x)), lambda got: got[1]),
        (lambda x: x.numpy(), torch.from_numpy),
    ],
)
def test_a_batch_is_owned_whatever_holds_it(
    controller: DebugController, hand_over: Callable[[Any], Any], look: Callable[[Any], torch.Tensor]
) -> None:
    buffer, loss = torch.arange(4.0), torch.tensor(0.5)
    controller.capture_batch(hand_over(buffer), loss, 1)
    controller.capture_step_data("same", hand_over(buffer))
    buffer.zero_()
    loss.zero_()
    batch = controller.get_batch()
    assert batch is not None
    assert look(batch["batch"]).tolist() == [0, 1, 2, 3]
    assert look(controller.get_step_data("same")).tolist() == [0, 1, 2, 3]
    assert (batch["loss"], batch["step"]) == (0.5, 1)


def test_a_loop_that_reuses_its_buffers_shows_each_step_as_it_was(controller: DebugController, train: Train) -> None:
    buffer, data = torch.zeros(8), np.zeros(8)

    def body(step: int) -> None:
        buffer.fill_(step)
        data.fill(step)
        controller.capture_batch(buffer, buffer[0], step)
        controller.capture_step_data("data", data)
        buffer.zero_()
        data.fill(0)

    controller.step(1)
    train(50, body)
    for step in (1, 2, 9):
        assert stopped(controller)
        batch = controller.get_batch()
        assert batch is not None
        assert batch["batch"].tolist() == [step] * 8
        assert batch["loss"] == step
        assert controller.get_step_data("data").tolist() == [step] * 8
        controller.step({1: 1, 2: 7, 9: 1}[step])


class Elsewhere(torch.Tensor):
    """A loss on an accelerator: it says that it is not in host memory."""

    is_cpu = False


def test_a_loop_that_writes_each_loss_into_the_same_memory_has_each_in_history(controller: DebugController) -> None:
    loss = torch.zeros(()).as_subclass(Elsewhere)
    controller.begin(SimpleNamespace(model=None, last_step=40))
    for step in range(1, 41):
        loss.fill_(1 / 2**step)
        controller.capture_batch(torch.ones(2), loss, step)
        controller.wait_if_paused()
    controller.finish("finished")
    assert controller.recorder.history.loss()[1].tolist() == [1 / 2**step for step in range(1, 41)]


def test_a_capture_has_no_graph_and_leaves_the_loops_alone(controller: DebugController) -> None:
    weight = torch.ones(3, requires_grad=True)
    batch, loss = weight * 2, (weight * 2).sum()
    controller.capture_batch(batch, loss, 1)
    captured = controller.get_batch()
    assert captured is not None
    assert not captured["batch"].requires_grad
    torch.autograd.backward(loss)
    assert weight.grad is not None
    assert weight.grad.tolist() == [2, 2, 2]


def test_labels_are_known_from_the_pair_or_from_the_loop(controller: DebugController) -> None:
    controller.capture_batch((torch.rand(2, 3), torch.tensor([4, 2])), 0.1, 1)
    batch = controller.get_batch()
    assert batch is not None
    assert batch["labels"].tolist() == [4, 2]
    controller.capture_batch(torch.rand(2, 3), 0.1, 2, labels=torch.tensor([1, 0]))
    batch = controller.get_batch()
    assert batch is not None
    assert batch["labels"].tolist() == [1, 0]


class Witness:
    """A hook in a graph: it lives as long as the graph does."""

    def __call__(self, *gradients: Any) -> None:
        pass


def test_free_running_holds_on_to_nothing(controller: DebugController) -> None:
    """Neither the batch, nor the step data, nor the graph behind the loss."""
    controller.capture_batch([1], 1.0, 1)
    controller.wait_if_paused()
    weight = torch.ones(3, requires_grad=True)
    batch = torch.rand(3)
    hidden = weight * batch
    loss = hidden.sum()
    controller.capture_batch(batch, loss, 2)
    controller.capture_step_data("hidden", hidden)
    controller.capture_step_data("later", lambda held=hidden: held)
    witness = Witness()
    assert loss.grad_fn is not None
    loss.grad_fn.register_hook(witness)
    gone = [weakref.ref(thing) for thing in (batch, hidden, witness)]
    controller.wait_if_paused()
    assert controller.get_state()["loss"] == loss.item()
    del batch, hidden, loss, witness
    assert [reference() for reference in gone] == [None, None, None]


def test_a_stop_that_comes_late_owns_what_it_shows(controller: DebugController, train: Train) -> None:
    """A condition may hold at a step that nobody had asked for: copies are made at its boundary then."""
    buffer = torch.zeros(2)

    def body(step: int) -> None:
        buffer.fill_(step)
        controller.capture_batch(buffer, torch.tensor(float(step)), step)
        controller.capture_step_data("buffer", buffer)
        controller.capture_step_data("later", lambda: buffer * 10)

    controller.stop_when(At(30))
    train(100, body)
    assert stopped(controller)
    assert controller.get_state()["reason"] == "step 30"
    buffer_now, buffer_data = controller.record.batch, controller.get_step_data("buffer")
    assert controller.get_step_data("later").tolist() == [300, 300]
    controller.stop_when(None)
    controller.resume()
    assert controller.wait(PATIENCE) == "finished"
    assert (buffer.tolist(), buffer_now.tolist(), buffer_data.tolist()) == ([100, 100], [30, 30], [30, 30])


# ---- step data -------------------------------------------------------------------------------------------------------


def test_step_data_are_complete_at_a_stop_and_gone_in_the_next_step(controller: DebugController, train: Train) -> None:
    seen_at_start: list[list[str]] = []

    def body(step: int) -> None:
        seen_at_start.append(controller.list_step_data_keys())
        controller.capture_step_data(f"only in {step}", step)
        controller.capture_step_data("always", [step])

    controller.step(1)
    train(10, body)
    assert stopped(controller)
    assert controller.list_step_data_keys() == ["only in 1", "always"]
    controller.step(2)
    assert stopped(controller)
    assert controller.list_step_data_keys() == ["only in 3", "always"]
    assert controller.get_step_data("always") == [3]
    assert controller.record.data == {"only in 3": 3, "always": [3]}
    assert seen_at_start == [[], [], []]


def test_a_record_without_step_data_gets_none_from_the_steps_that_follow(controller: DebugController) -> None:
    controller.capture_batch([1], 1.0, 1)
    controller.wait_if_paused()
    for step in (2, 3):
        controller.capture_batch([step], 1.0, step)
        controller.capture_step_data("late", np.zeros(3))
        assert (controller.record.clock.step, controller.record.data) == (1, {})
        controller.wait_if_paused()
    assert (controller.record.clock.step, controller.record.data) == (1, {})


def test_an_unknown_key_is_a_key_error_that_says_what_there_is(controller: DebugController) -> None:
    with pytest.raises(UnknownKeyError, match=r"no step data 'bcl_metric'\. Captured: nothing"):
        controller.get_step_data("bcl_metric")
    controller.capture_step_data("bcl_metrics", 1)
    with pytest.raises(KeyError) as caught:
        controller.get_step_data("bcl_metric")
    assert str(caught.value) == "no step data 'bcl_metric'. Did you mean: bcl_metrics"


def test_lazy_data_are_computed_once_in_the_training_thread_and_only_if_somebody_looks(
    controller: DebugController, train: Train
) -> None:
    computed: list[tuple[int, threading.Thread]] = []

    def body(step: int) -> None:
        def compute() -> torch.Tensor:
            computed.append((step, threading.current_thread()))
            return live.fill_(step)

        live = torch.zeros(2)
        controller.capture_step_data("lazy", compute)
        controller.capture_step_data("never", lambda: computed.append((-1, threading.current_thread())))

    controller.step(1)
    loop = train(20, body)
    assert stopped(controller)
    assert computed == []
    controller.step(6)
    assert stopped(controller)
    first = controller.get_step_data("lazy")
    assert controller.get_step_data("lazy") is first
    assert first.tolist() == [7, 7]
    assert computed == [(7, loop.thread)]
    record = controller.record
    controller.resume()
    assert controller.wait(PATIENCE) == "finished"
    assert computed == [(7, loop.thread)]
    assert list(record.data) == ["lazy"], "what was computed stays with its step, what was not is gone"


def test_lazy_data_that_cannot_be_computed_tell_those_who_look_and_not_the_loop(
    controller: DebugController, train: Train
) -> None:
    def body(_: int) -> None:
        controller.capture_step_data("broken", lambda: 1 // 0)
        controller.capture_step_data("fine", lambda: 1)

    controller.step(1)
    loop = train(10, body, last_step=10)
    assert stopped(controller)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            controller.get_step_data("broken")
    seen = controller.peek(lambda record: record)
    controller.resume()
    assert seen.result(PATIENCE).data["fine"] == 1
    assert controller.wait(PATIENCE) == "finished"
    assert loop.error is None
    note = "step data 'broken' could not be computed: ZeroDivisionError: integer division or modulo by zero"
    assert controller.take_notices() == [note, note], "when it was peeked at, and in the last step"
    assert controller.take_notices() == []


def test_lazy_data_may_capture_further_data(controller: DebugController, train: Train) -> None:
    controller.step(1)
    train(5, lambda _: controller.capture_step_data("outer", lambda: controller.capture_step_data("inner", 3)))
    assert stopped(controller)
    seen = controller.peek(lambda record: record)
    controller.resume()
    assert seen.result(PATIENCE).data == {"outer": None, "inner": 3}


def test_nobody_gets_data_of_a_step_under_way(controller: DebugController, train: Train) -> None:
    """Data that the loop has only lent may change under the reader; they are copied at a boundary or not at all."""
    inside, go_on = threading.Event(), threading.Event()

    def body(step: int) -> None:
        controller.capture_step_data("lent", np.zeros(3))
        controller.capture_step_data("lazy", lambda: 1)
        if step == 3:
            inside.set()
            go_on.wait(PATIENCE)

    train(10, body)
    assert inside.wait(PATIENCE)
    for key in ("lent", "lazy"):
        with pytest.raises(StateError, match="training is running"):
            controller.get_step_data(key)
    go_on.set()
    assert controller.wait(PATIENCE) == "finished"


def test_the_very_first_step_is_nobodys_before_its_boundary(controller: DebugController) -> None:
    """Also of a loop that has not said that it begins: from its first capture on, training runs."""
    inside, go_on = threading.Event(), threading.Event()

    def body(_: int) -> None:
        controller.capture_batch([1], 0.5, 1)
        controller.capture_step_data("lazy", lambda: 1)
        inside.set()
        go_on.wait(PATIENCE)

    Loop(controller, 1, body).start()
    assert inside.wait(PATIENCE)
    assert controller.get_state()["status"] == "running"
    assert controller.get_batch() == {"batch": [1], "loss": 0.5, "step": 1, "epoch": None, "labels": None}
    with pytest.raises(StateError, match="training is running"):
        controller.get_step_data("lazy")
    with pytest.raises(StateError, match="training is running"):
        controller.call(lambda: None)
    go_on.set()
    assert controller.wait(PATIENCE) == "finished"


# ---- free running ----------------------------------------------------------------------------------------------------


class CountingLock:
    def __init__(self, lock: Any) -> None:
        self.lock, self.entered = lock, 0

    def __enter__(self) -> None:
        self.entered += 1
        self.lock.__enter__()

    def __exit__(self, *error: object) -> None:
        self.lock.__exit__(*error)


class CountingAttention(Attention):
    looks = 0

    def __getattribute__(self, name: str) -> Any:
        if name == "is_set":
            self.looks += 1
        return super().__getattribute__(name)


def test_a_free_running_boundary_is_one_look_without_lock_or_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tdb.gate, "Attention", CountingAttention)
    controller = DebugController()
    gate, copies = controller.gate, list[Any]()

    def counting_own(value: Any) -> Any:
        copies.append(value)
        return value

    lock = CountingLock(gate._lock)
    gate._lock = lock  # type: ignore[assignment]
    monkeypatch.setattr(tdb.under_way, "own", counting_own)

    def steps(count: int) -> tuple[int, int, int]:
        lock.entered = gate.attention.looks = 0  # type: ignore[attr-defined]
        copies.clear()
        for step in range(count):
            controller.capture_batch(torch.zeros(3), torch.zeros(()), step)
            controller.capture_step_data("tensor", torch.zeros(3))
            controller.capture_step_data("lazy", lambda: 1)
            controller.wait_if_paused()
        return lock.entered, gate.attention.looks, len(copies)  # type: ignore[attr-defined]

    controller.begin(SimpleNamespace(last_step=10**6))
    entered, looks, copied = steps(1)
    assert looks == 1
    assert entered > 0, "the instrument works: the first boundary takes the lock"
    assert copied == 3, "and the first step is captured: batch, loss and tensor"
    assert steps(1000) == (0, 1000, 0)


def test_what_waits_is_recorded_before_another_model_is_found(controller: DebugController) -> None:
    """Metrics come into history in handfuls; those that wait belong to the layer that was in focus."""

    def target(*layers: torch.nn.Module) -> SimpleNamespace:
        model = torch.nn.Sequential(*layers)
        return SimpleNamespace(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))

    def train(trained: SimpleNamespace, steps: int) -> None:
        for _ in range(steps):
            loss = trained.model(torch.ones(2, 3)).square().mean()
            trained.optimizer.zero_grad()
            loss.backward()
            trained.optimizer.step()
            controller.capture_batch(torch.ones(2, 3), loss)
            controller.wait_if_paused()

    first, second = target(torch.nn.Linear(3, 4)), target(torch.nn.Flatten(), torch.nn.Linear(3, 2))
    controller.begin(first)
    train(first, 25)
    controller.discovered(second)
    train(second, 15)
    controller.finish("finished")
    history = controller.recorder.history
    assert history.metric("weight_norm", layer="0")[0].tolist() == [1, 10, 20]
    assert history.metric("weight_norm", layer="1")[0].tolist() == [30, 40]


def test_the_last_step_can_be_looked_at_after_the_end(controller: DebugController, train: Train) -> None:
    """A loop that knows its last step has it captured, although nobody asked for it while it ran."""

    def body(step: int) -> None:
        controller.capture_batch([step], float(step), step)
        controller.capture_step_data("lazy", lambda: step * 2)

    loop = train(500, body, last_step=500)
    loop.join()
    assert controller.get_state()["status"] == "finished"
    batch = controller.get_batch()
    assert batch is not None
    assert (batch["batch"], batch["loss"], batch["step"]) == ([500], 500.0, 500)
    assert controller.get_step_data("lazy") == 1000


# ---- functions for the training thread -------------------------------------------------------------------------------


def test_at_boundary_sees_whole_steps_only(controller: DebugController, train: Train) -> None:
    model = [0, 0]

    def body(step: int) -> None:
        model[0] = step
        controller.capture_batch([step], float(step), step)
        model[1] = step

    train(body=body)
    for _ in range(50):
        first, second, step = controller.at_boundary(lambda: (*model, controller.position.step)).result(PATIENCE)
        assert first == second == step


def test_peek_gives_a_whole_step_without_stopping(controller: DebugController, train: Train) -> None:
    buffer = np.zeros(4)

    def body(step: int) -> None:
        buffer.fill(step)
        controller.capture_batch(buffer, float(step), step)
        controller.capture_step_data("lazy", lambda: buffer + 1)
        controller.capture_step_data("lent", buffer)

    train(body=body)
    records = [controller.peek(lambda record: record).result(PATIENCE) for _ in range(50)]
    for record in records:
        step = record.clock.step
        assert record.batch.tolist() == [step] * 4
        assert record.loss == step
        assert record.data["lent"].tolist() == [step] * 4
        assert record.data["lazy"].tolist() == [step + 1] * 4
    steps = [record.clock.step for record in records]
    assert steps == sorted(set(steps)), "each is a step of its own"
    assert controller.gate.stops == 0


def test_what_a_peek_does_with_its_step_is_done_at_the_boundary_and_its_errors_are_its_own(
    controller: DebugController, train: Train
) -> None:
    model = [0]

    def body(step: int) -> None:
        model[0] = step
        controller.capture_batch([step], float(step), step)

    loop = train(body=body)
    thread, step, live = controller.peek(lambda r: (threading.current_thread(), r.clock.step, model[0])).result(
        PATIENCE
    )
    assert thread is loop.thread
    assert step == live
    with pytest.raises(ZeroDivisionError):
        controller.peek(lambda record: record.clock.step / 0).result(PATIENCE)
    assert controller.peek(lambda record: record.clock.step).result(PATIENCE) > step


def test_a_peek_that_is_given_up_disturbs_nobody(controller: DebugController, train: Train) -> None:
    controller.step(1)
    loop = train(100)
    assert stopped(controller)
    given_up, wanted = controller.peek(lambda record: record), controller.peek(lambda record: record)
    assert given_up.cancel()
    controller.resume()
    assert wanted.result(PATIENCE).clock.step == 2
    assert controller.wait(PATIENCE) == "finished"
    assert loop.error is None


@pytest.mark.parametrize("told", [True, False])
def test_a_peek_that_comes_too_late_is_answered(controller: DebugController, train: Train, told: bool) -> None:
    controller.step(1)
    train(1)
    assert stopped(controller)
    late = controller.peek(lambda record: record)
    if told:
        controller.stop()
    else:
        controller.resume()
    with pytest.raises(StateError, match="training is over"):
        late.result(PATIENCE)
    with pytest.raises(StateError, match="training is over"):
        controller.peek(lambda record: record).result(PATIENCE)


# ---- stop checks -----------------------------------------------------------------------------------------------------


class At(StopCheck):
    """Stops at one step; it knows so one step before if `foreseen`."""

    def __init__(self, step: int, foreseen: bool = False) -> None:
        self.step, self.is_foreseen = step, foreseen

    def may_stop(self, step: int) -> bool:
        return self.is_foreseen and step == self.step

    def reason(self, position: Position) -> str:
        return f"step {self.step}" if position.step == self.step else ""


@pytest.mark.parametrize("foreseen", [True, False])
def test_a_stop_check_stops_training_where_it_says(controller: DebugController, train: Train, foreseen: bool) -> None:
    whole: list[int] = []

    def body(step: int) -> None:
        if controller.capturing:
            whole.append(step)
        controller.capture_batch([step], float(step), step)

    controller.stop_when(At(20, foreseen))
    train(100, body)
    assert stopped(controller)
    assert (controller.position.step, controller.record.clock.step) == (20, 20)
    assert controller.record.batch == [20]
    assert whole == ([1, 20] if foreseen else [1])


def test_a_stop_check_that_is_set_while_training_is_stopped_holds_from_the_next_step_on(
    controller: DebugController, train: Train
) -> None:
    whole: list[int] = []
    controller.step(5)
    train(100, lambda step: whole.append(step) if controller.capturing else None)
    assert stopped(controller)
    controller.stop_when(At(6, foreseen=True))
    controller.resume()
    assert stopped(controller)
    assert controller.position.step == 6
    assert whole[-1] == 6


def test_a_broken_stop_check_stops_training_and_says_why(controller: DebugController, train: Train) -> None:
    class Broken(StopCheck):
        def may_stop(self, step: int) -> bool:
            raise LookupError(f"may_stop {step}")

        def reason(self, position: Position) -> str:
            if position.step == 7:
                raise LookupError("no metric 'wnrate'")
            return ""

    controller.stop_when(Broken())
    loop = train(100)
    assert stopped(controller)
    state = controller.get_state()
    assert (state["step"], state["reason"]) == (7, "a stop condition failed: LookupError: no metric 'wnrate'")
    assert "a stop condition failed: LookupError: may_stop 2" in controller.take_notices()
    controller.stop_when(None)
    controller.resume()
    assert controller.wait(PATIENCE) == "finished"
    assert loop.error is None


# ---- either side goes away -------------------------------------------------------------------------------------------


def test_a_loop_that_raises_ends_every_wait(controller: DebugController, train: Train) -> None:
    def body(step: int) -> None:
        if step == 5:
            raise RuntimeError("exploded")
        controller.capture_batch([step], float(step), step)

    controller.step(1)
    loop = train(10, body)
    assert stopped(controller)
    controller.step(100)
    late = controller.at_boundary(lambda: None)
    assert late.result(PATIENCE) is None
    assert controller.wait(PATIENCE) == "finished"
    assert str(loop.error) == "exploded"
    assert controller.get_state()["step"] == 4


def run(controller: DebugController, body: Callable[[int], object]) -> threading.Thread:
    """Train as a launcher does, which reports how the loop ended and lingers."""

    def work() -> None:
        try:
            controller.begin()
            for step in range(1, 10):
                body(step)
                controller.wait_if_paused()
        except TrainingStopped:
            controller.finish("ended", linger=True)
        except RuntimeError as error:
            controller.finish("crashed", str(error), linger=True)
        else:
            controller.finish("finished", linger=True)

    thread = threading.Thread(target=work, daemon=True)
    controller.gate.launched(thread)
    thread.start()
    return thread


def test_a_crash_can_be_looked_at_in_the_thread_it_happened_in(controller: DebugController) -> None:
    buffer = torch.zeros(2)

    def body(step: int) -> None:
        buffer.fill_(step)
        controller.capture_batch(buffer, torch.tensor(float(step)), step, epoch=1)
        controller.capture_step_data("lazy", lambda: (step, threading.current_thread()))
        controller.capture_step_data("lent", buffer)
        if step == 5:
            raise RuntimeError("exploded")

    thread = run(controller, body)
    late = controller.peek(lambda record: record)
    assert controller.wait(PATIENCE) == "crashed"
    with pytest.raises(StateError, match="training is over"):
        late.result(PATIENCE), controller.peek(lambda record: record).result(PATIENCE)
    state = controller.get_state()
    assert (state["step"], state["reason"]) == (4, "exploded"), "the crashed step is not complete"
    record = controller.record
    assert (record.clock.step, record.clock.phase, record.loss) == (5, "crash", 5.0)
    buffer.zero_()
    assert record.batch.tolist() == controller.get_step_data("lent").tolist() == [5, 5]
    assert controller.get_step_data("lazy") == (5, thread)
    assert controller.call(threading.current_thread) is thread


def test_a_crash_whose_batch_cannot_be_copied_is_still_a_crash(controller: DebugController) -> None:
    class Poisoned(np.ndarray[Any, Any]):
        def copy(self, *_: Any) -> Any:
            raise RuntimeError("device-side assert triggered")

    def body(step: int) -> None:
        if step == 3:
            controller.capture_batch(np.zeros(1).view(Poisoned), 1.0, step)
            raise RuntimeError("exploded")

    run(controller, body)
    assert controller.wait(PATIENCE) == "crashed"
    assert controller.get_state()["reason"] == "exploded"


def test_after_stop_the_last_step_can_be_looked_at(controller: DebugController) -> None:
    reached = threading.Event()

    def body(step: int) -> None:
        controller.capture_batch([step], float(step), step)
        controller.capture_step_data("lent", np.full(2, step))
        if step == 5:
            reached.set()
            controller.stop()

    run(controller, body)
    assert reached.wait(PATIENCE)
    assert controller.wait(PATIENCE) == "ended"
    assert controller.at_boundary(lambda: None).result(PATIENCE) is None, "the thread lingers: it has unwound"
    assert (controller.position.step, controller.record.clock.step, controller.record.batch) == (5, 5, [5])
    assert controller.get_step_data("lent").tolist() == [5, 5]


def test_a_main_thread_that_exits_while_the_loop_waits_lets_it_end() -> None:
    """The interpreter waits for threads that are no daemons: a blocked loop must unwind, its `finally` included."""
    script = """
        import threading
        from tdb.controller import DebugController

        def train():
            try:
                for step in range(1, 100):
                    controller.capture_batch([step], 0.5, step)
                    controller.wait_if_paused()
            finally:
                print("saved at", controller.get_state()["step"])

        controller = DebugController()
        controller.step(3)
        threading.Thread(target=train, daemon=False).start()
        print(controller.wait(), flush=True)
        controller.peek(lambda record: record)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("stopped\nsaved at 3\n", "", 0)


# ---- again, and side by side -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", [True, False])
@pytest.mark.parametrize("told", [True, False])
def test_a_second_run_with_the_same_controller(
    controller: DebugController, train: Train, begin: bool, told: bool
) -> None:
    """In a new thread; whether or not the first run's end was told, and the second one's beginning."""
    first = train(50, begin=begin).join()
    assert controller.wait(PATIENCE) == "finished"
    if told:
        controller.finish("finished")
    assert first.taken[-1] == 50
    ticks = controller.position.tick

    controller.pause()
    second = train(50, begin=begin)
    assert stopped(controller)
    step = controller.position.step
    assert step in ((1,) if begin or told else (1, 2)), "nobody knew of the second run before its first boundary"
    assert controller.record.batch == [step]
    assert controller.position.tick == ticks + step, "ticks go on, steps begin again"
    assert controller.step(7) == 7
    assert stopped(controller)
    assert second.taken[-1] == controller.position.step == step + 7
    controller.stop()
    assert isinstance(second.join().error, TrainingStopped)


def test_a_second_run_in_the_same_thread_goes_on_being_stepped(controller: DebugController) -> None:
    taken: list[tuple[int, int]] = []

    def work() -> None:
        for run in (1, 2):
            controller.begin()
            for step in range(1, 4):
                controller.capture_batch([run, step], 1.0, step)
                taken.append((run, step))
                controller.wait_if_paused()

    controller.step(2)
    thread = threading.Thread(target=work, daemon=True)
    controller.gate.launched(thread)
    thread.start()
    assert stopped(controller)
    assert taken[-1] == (1, 2)
    assert controller.step(2) == 2
    assert stopped(controller)
    assert taken == [(1, 1), (1, 2), (1, 3), (2, 1)]
    assert (controller.record.batch, controller.position.step, controller.position.tick) == ([2, 1], 1, 4)
    controller.resume()
    assert controller.wait(PATIENCE) == "finished"


def test_a_new_run_shows_nothing_of_the_one_before(controller: DebugController) -> None:
    controller.begin(SimpleNamespace(step=40))
    assert controller.get_state()["step"] == 40, "a trainer that goes on says where"
    controller.capture_batch([1], 0.5, 41)
    controller.capture_step_data("key", 1)
    controller.wait_if_paused()
    controller.begin()
    assert (controller.get_batch(), controller.list_step_data_keys()) == (None, [])
    state = controller.get_state()
    assert (state["step"], state["loss"], state["tick"], state["has_batch"]) == (0, None, 1, False)


def test_what_a_stopped_run_left_is_gone_in_a_run_that_does_not_say_that_it_begins(controller: DebugController) -> None:
    controller.capture_step_data("old", 1)
    controller.stop()
    with pytest.raises(TrainingStopped):
        controller.wait_if_paused()
    assert controller.list_step_data_keys() == ["old"]
    controller.capture_step_data("new", 2)
    assert controller.list_step_data_keys() == ["new"]


def test_two_controllers_in_one_process() -> None:
    one, other = DebugController(), DebugController()
    loops = [Loop(one, 10**9).start(), Loop(other, 10**9).start()]
    one.pause()
    assert stopped(one)
    step = one.position.step
    loops[1].reach(other.position.step + 100)
    assert one.position.step == step
    assert not other.is_paused
    assert one.call(threading.current_thread) is loops[0].thread
    assert other.at_boundary(threading.current_thread).result(PATIENCE) is loops[1].thread
    for controller, loop in zip((one, other), loops, strict=True):
        controller.stop()
        assert isinstance(loop.join().error, TrainingStopped)


# ---- panels ----------------------------------------------------------------------------------------------------------


def test_what_is_asked_for_runs_while_learning_rules_sleep(controller: DebugController, train: Train) -> None:
    awake = [True]

    @contextmanager
    def inert() -> Iterator[None]:
        awake[0] = False
        yield
        awake[0] = True

    controller.add_panel(Panel("rule", "layer", dict, (), inert=inert))
    with pytest.raises(ValueError, match="a panel 'rule' already"):
        controller.add_panel(Panel("rule", "layer", dict, ()))
    controller.step(1)
    train(50, lambda _: controller.capture_step_data("awake", lambda: awake[0]))
    assert stopped(controller)
    assert controller.call(lambda: awake[0]) is False
    assert controller.call(lambda: awake[0], user_code=True) is False
    assert controller.at_boundary(lambda: awake[0]).result(PATIENCE) is False
    assert controller.get_step_data("awake") is False
    seen = controller.peek(lambda record: record)
    controller.resume()
    assert seen.result(PATIENCE).data["awake"] is False
    assert awake == [True]


def test_what_a_rule_has_of_each_step_is_captured_only_if_somebody_looks(
    controller: DebugController, train: Train
) -> None:
    step, asked = [0], []

    def rates() -> int:
        asked.append(step[0])
        return step[0]

    controller.add_panel(Panel("rule", "layer", dict, (), step_data={"rates": rates, "owned": rates}))

    def body(number: int) -> None:
        step[0] = number
        controller.capture_step_data("owned", f"the loop's, {number}")

    controller.step(1)
    train(50, body, last_step=50)
    for number in (1, 2):
        assert stopped(controller)
        assert controller.list_step_data_keys() == ["owned", "rates"]
        assert controller.get_step_data("rates") == number
        assert controller.get_step_data("owned") == f"the loop's, {number}"
        controller.step(1)
    controller.resume()
    assert controller.wait(PATIENCE) == "finished"
    assert controller.record.data == {"owned": "the loop's, 50", "rates": 50}
    assert asked == [1, 2, 50], "the last step is kept to be looked at after the end"
