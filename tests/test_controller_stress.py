"""Thousands of calls from several threads at a live loop: every call is answered, every granted step is taken once.

Together the storms make 48,000 random calls. The loop checks nothing itself: it writes step numbers into everything it
hands over, and whoever reads anything compares all the numbers that ought to be of one step.
"""

from __future__ import annotations

import faulthandler
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from tdb.controller import DebugController
from tdb.errors import StateError, TrainingStopped
from tdb.step import Step
from tdb.under_way import UnknownKeyError
from tests.conftest import PATIENCE, Loop, join

THREADS = 4
CALLS = 2000  # a thread, a seed


@pytest.fixture(autouse=True)
def _restless_threads() -> Iterator[None]:
    """Threads take turns fifty times as often as usual; if all are stuck, say where."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 50)
    faulthandler.dump_traceback_later(3 * PATIENCE, file=sys.__stderr__ or sys.stderr)
    yield
    faulthandler.cancel_dump_traceback_later()
    sys.setswitchinterval(interval)


class Numbers:
    """What a loop trains on: a step's number everywhere, and something else while the step is under way."""

    def __init__(self, controller: DebugController) -> None:
        self.controller = controller
        self.batch = np.zeros(4)
        self.model = [0, 0]

    def body(self, step: int) -> None:
        self.model[0] = step
        self.batch.fill(-1)
        self.batch.fill(step)
        self.controller.capture_batch(self.batch, float(step), step, labels=[step], epoch=step)
        self.controller.capture_step_data("lent", self.batch)
        self.controller.capture_step_data("lazy", lambda: list(self.model))
        self.model[1] = step

    def look_at_model(self) -> None:
        """Run in the training thread, at a boundary."""
        self.of_one_step(*self.model, self.controller.position.step)

    @staticmethod
    def of_one_step(*numbers: float | None) -> None:
        assert len(set(numbers)) == 1, numbers


class Storm(threading.Thread):
    """Makes random calls, compares what they give, and keeps account."""

    def __init__(self, numbers: Numbers, seed: int, calls: int, weights: dict[str, int]) -> None:
        super().__init__(daemon=True, name=f"storm {seed}")
        self.numbers, self.controller = numbers, numbers.controller
        self.random = random.Random(seed)
        self.names = self.random.choices([*weights], [*weights.values()], k=calls)
        self.granted = 0
        self.slowest = 0.0
        self.last_step = 0
        self.peeks: list[Future[Step]] = []
        self.errors: list[BaseException] = []

    def run(self) -> None:
        for name in self.names:
            began = time.monotonic()
            try:
                getattr(self, f"do_{name}")()
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                self.errors.append(error)
            self.slowest = max(self.slowest, time.monotonic() - began)

    def do_pause(self) -> None:
        self.controller.pause()

    def do_resume(self) -> None:
        self.controller.resume()

    def do_step(self) -> None:
        self.granted += self.controller.step(self.random.randint(1, 3))

    def do_state(self) -> None:
        state = self.controller.get_state()
        self.numbers.of_one_step(state["step"], state["tick"], state["loss"] or 0, state["epoch"] or 0)
        assert state["step"] >= self.last_step, "steps only grow"
        self.last_step = state["step"]

    def do_batch(self) -> None:
        batch = self.controller.get_batch()
        if batch is not None:
            labels, values = batch["labels"], batch["batch"].tolist()
            self.numbers.of_one_step(*values, *labels, batch["step"], batch["loss"], batch["epoch"])

    def do_data(self) -> None:
        with suppress(StateError, UnknownKeyError):  # running, or the step has just gone by
            self.numbers.of_one_step(*self.controller.get_step_data(self.random.choice(["lent", "lazy"])))

    def do_keys(self) -> None:
        assert {*self.controller.list_step_data_keys()} <= {"lent", "lazy"}

    def do_call(self) -> None:
        with suppress(StateError):  # running
            self.controller.call(self.numbers.look_at_model)

    def do_boundary(self) -> None:
        self.controller.at_boundary(self.numbers.look_at_model).result(PATIENCE)

    def do_peek(self) -> None:
        self.peeks.append(
            self.controller.peek(lambda record: record)
        )  # answered when training goes on, which this thread may not do

    def do_wait(self) -> None:
        self.controller.wait(self.random.choice([0, 0.001]))

    def do_settle(self) -> None:
        assert self.controller.wait(PATIENCE) == "stopped", "whatever was granted is taken, then it stops again"

    def do_halt(self) -> None:
        self.controller.pause()
        while self.controller.is_paused and self.controller.wait(0.005) != "stopped":
            pass  # unless somebody resumes it meanwhile


LOOKS = {"state": 6, "batch": 6, "data": 3, "keys": 1, "call": 3, "boundary": 2, "peek": 1, "wait": 1}
STEPS = {"step": 6, "settle": 6}
MOVES = {"pause": 3, "halt": 6, "resume": 4, "step": 3}


def let_loose(storms: list[Storm]) -> None:
    for storm in storms:
        storm.start()
    join(*storms)
    assert [error for storm in storms for error in storm.errors] == []
    assert max(storm.slowest for storm in storms) < PATIENCE / 2


def settle(numbers: Numbers, storms: list[Storm]) -> None:
    """Whoever has peeked at a step gets one, whole, as soon as training goes on."""
    numbers.controller.resume()
    for storm in storms:
        for peek in storm.peeks:
            record = peek.result(PATIENCE)
            data = [number for key in ("lent", "lazy") for number in record.data[key]]
            numbers.of_one_step(*record.batch.tolist(), *data, record.clock.step, record.loss)


@pytest.mark.parametrize("seed", range(3))
def test_every_granted_step_is_taken_exactly_once(controller: DebugController, seed: int) -> None:
    numbers = Numbers(controller)
    controller.pause()
    loop = Loop(controller, 10**9, numbers.body).start(announced=True)
    assert controller.wait(PATIENCE) == "stopped"

    storms = [Storm(numbers, 100 * seed + k, CALLS, LOOKS | STEPS) for k in range(THREADS)]
    let_loose(storms)

    assert controller.wait(PATIENCE) == "stopped"
    granted = sum(storm.granted for storm in storms)
    assert granted > CALLS
    assert controller.gate.stops > CALLS / 10
    assert loop.taken == list(range(1, 1 + granted + 1)), "the first stop, and then what was granted"
    assert controller.position.step == controller.record.clock.step == 1 + granted
    settle(numbers, storms)


@pytest.mark.parametrize("seed", range(3))
def test_any_mixture_of_calls_is_answered_and_no_step_is_skipped_or_repeated(
    controller: DebugController, seed: int
) -> None:
    numbers = Numbers(controller)
    loop = Loop(controller, 10**9, numbers.body).start(announced=True)

    storms = [Storm(numbers, 100 * seed + k, CALLS, LOOKS | MOVES) for k in range(THREADS)]
    let_loose(storms)

    assert controller.gate.stops > CALLS / 10
    controller.pause()
    assert controller.wait(PATIENCE) == "stopped"
    before = controller.position.step
    assert sum(controller.step(count) for count in (1, 2, 4)) == 7
    assert controller.wait(PATIENCE) == "stopped"
    assert controller.position.step == before + 7, "after the storm all is as before"
    settle(numbers, storms)

    controller.stop()
    assert isinstance(loop.join().error, TrainingStopped)
    assert loop.taken == list(range(1, len(loop.taken) + 1))
    assert controller.position.step == loop.taken[-1]


def test_stop_ends_the_loop_promptly_wherever_it_is(controller: DebugController) -> None:
    """Run after run with one controller, each stopped at another place while others pause, resume and step it."""
    chance = random.Random(7)
    numbers = Numbers(controller)
    ticks = 0
    for run in range(60):
        loop = Loop(controller, 10**9, numbers.body, begin=True)
        asked: list[Callable[[], Any]] = [controller.pause, controller.resume, controller.step, controller.get_state]
        stops_at = chance.randrange(40)
        loop.start(announced=True)
        waiting: list[Future[Any]] = []
        for call in range(40):
            if call == stops_at:
                controller.stop()
            waiting.append(controller.at_boundary(lambda: None))
            waiting.append(controller.peek(lambda record: record))
            chance.choice(asked)()
        assert isinstance(loop.join().error, TrainingStopped), run
        assert controller.wait(PATIENCE) == "ended"
        for answer in waiting:
            with suppress(StateError):
                answer.result(PATIENCE)
        assert loop.taken == list(range(1, len(loop.taken) + 1))
        ticks += len(loop.taken)
        assert controller.position.tick == ticks
