"""DebugController: what a training loop hands over, and the gate at its boundaries.

    controller = DebugController()
    Thread(target=train, args=(controller,)).start()

    def train(controller):
        for step, (images, labels) in enumerate(loader, 1):
            ...
            controller.capture_batch(images, loss, step)
            optimizer.step()
            controller.wait_if_paused()

The training thread calls `begin`, `capture_batch`, `capture_step_data` and `wait_if_paused`; everything else may be
called from any thread. While training runs freely a boundary costs one Event check, and nothing is copied: copies are
made only in a step whose boundary may stop.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tdb.captures import Lazy, Lent, labels_of, number, own, reading
from tdb.errors import TdbError, TrainingStopped, did_you_mean
from tdb.gate import CRASHED, OVER, READY, RUNNING, Gate
from tdb.guard import guarded
from tdb.jobs import Answer, Job
from tdb.layer import FocusLayer
from tdb.recorder import Recorder
from tdb.step import Clock, Position, Step

if TYPE_CHECKING:
    from tdb.panel import Panel

Result = TypeVar("Result")
Item = TypeVar("Item")


class UnknownKeyError(TdbError, KeyError):
    """No step data was captured under this key."""

    code = "unknown_key"
    __str__ = TdbError.__str__


class StopCheck(Protocol):
    """Something other than a pause that may stop training, asked at every boundary in the training thread."""

    def may_stop(self, step: int) -> bool:
        """Return whether the boundary of step number `step` is already known to be a stop."""

    def reason(self, controller: DebugController) -> str:
        """Return why training stops at the step that has just ended, or an empty string."""


# Steps come into history in handfuls: so far behind it may be while training runs freely.
MOST_UNRECORDED = 64


class DebugController:
    """Pause, step and look into one training loop at a time."""

    def __init__(self) -> None:
        self._gate = Gate()
        self._timeline = 0
        self._last = Position()
        # Of the step under way, written by the training thread alone:
        self._step: int | None = None
        self._epoch: int | None = None
        self._loss: Any = None
        self._batch: Any = None
        self._labels: Any = None
        self._data: dict[str, Any] = {}
        self._first: Step | None = None  # the step under way, as long as there is no record to look at
        self._capturing = True  # the first step always is: nobody can have asked for it in time
        self._in_loop = False
        self._last_step: int | None = None
        self._wanted: deque[Job] = deque()
        self._record = Step()
        self._check: StopCheck | None = None
        self._notices: deque[str] = deque()
        self._unrecorded: list[tuple[Position, float]] = []  # finished steps on their way to history
        self._busy_from = 0  # the tick up to which a boundary has nothing to do but to take note
        self.layer = FocusLayer()
        self.target: Any = None
        self.panels: list[Panel] = []
        self.recorder = Recorder(self.layer, self.panels)
        self.about: dict[str, str] = {}
        self.focus_name = ""
        self.image_shape: tuple[int, ...] | None = None

    # ---- control: any thread ---------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Stop at the end of the next whole step."""
        self._gate.pause()

    def resume(self) -> None:
        """Run on freely."""
        self._gate.resume()

    def step(self, n: int = 1) -> int:
        """Take `n` steps, then stop; return the number granted, 0 for a loop that runs freely or is over.

        Raises:
            ValueError: `n` is less than 1.
        """
        return self._gate.step(n)

    def stop(self) -> None:
        """End training: the loop is unwound by `TrainingStopped` at its next boundary. Overrides a pause."""
        self._gate.stop()

    @property
    def is_paused(self) -> bool:
        """Whether training is stopped, stepping, or about to stop."""
        return self._gate.is_paused

    @property
    def gate(self) -> Gate:
        """The gate, for those who drive training: waiting, the training thread, the end."""
        return self._gate

    def wait(self, timeout: float | None = None) -> str:
        """Block until training is stopped or over, at most `timeout` seconds; return the status."""
        return self._gate.wait(timeout)

    def stop_when(self, check: StopCheck | None) -> None:
        """Ask `check` at every boundary whether to stop there; None to ask nobody."""
        self._check = check
        self._gate.arm(check is not None)

    def call(self, function: Callable[[], Result], *, user_code: bool = False) -> Result:
        """Run `function` in the training thread while it is stopped, so that training does not notice.

        Args:
            function: what to run.
            user_code: also put training modes and buffers of the model back, as code typed at the prompt needs.

        Raises:
            StateError: training is running.
        """
        return self._gate.call(lambda: self._guarded(function, user_code))

    def at_boundary(self, function: Callable[[], Result]) -> Future[Result]:
        """Run `function` in the training thread at its next boundary, as `call` does when it is stopped."""
        return self._gate.at_boundary(lambda: self._guarded(function))

    def peek(self, look: Callable[[Step], Result]) -> Future[Result]:
        """Capture the next whole step without stopping at it, and call `look` with its record at its boundary."""
        answer: Answer[Result] = Answer(self._look_while_waiting)
        job = Job(lambda: self._guarded(lambda: look(self._record)), answer)

        def pass_on(queued: Future[None]) -> None:
            if queued.exception() is not None:
                answer.refuse("training is over")

        self._gate.at_boundary(lambda: self._wanted.append(job)).add_done_callback(pass_on)
        return answer

    def take_notices(self) -> list[str]:
        """Return what guarded calls had to put back since this was last asked."""
        return list(_taken(self._notices))

    # ---- looking: any thread ---------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return paused, step, has_batch, and of the last finished step also tick, epoch and loss.

        While training runs, the step may be a later one than the status.
        """
        status, reason, paused = self._gate.now()
        last = self._last
        return {
            "paused": paused,
            "step": last.step,
            "has_batch": self.get_batch() is not None,
            "status": status,
            "epoch": last.epoch,
            "loss": number(last.loss),
            "tick": last.tick,
            "reason": "" if status == RUNNING else reason,
        }

    def get_batch(self) -> dict[str, Any] | None:
        """Return the last captured batch with its loss, step, epoch and labels; None before the first."""
        first, record = self._first, self._record  # in this order: the record is there before `first` goes
        if record.has_batch:
            return record.as_batch()
        return first.as_batch() if first is not None else None

    @property
    def position(self) -> Position:
        """Where training is: its last finished step."""
        return self._last

    @property
    def record(self) -> Step:
        """The last step that was captured whole."""
        return self._record

    def list_step_data_keys(self) -> list[str]:
        """Return the keys captured in this step, in the order of their capture."""
        return list(self._data)

    def get_step_data(self, key: str) -> Any:
        """Return the data captured under `key` in this step, computing it now if it was handed over as a function.

        Raises:
            UnknownKeyError: nothing was captured under `key`; it is also a KeyError.
            StateError: the data must be computed or copied, and training is running.
        """
        value = self._step_data(key)
        if not isinstance(value, Lazy | Lent):
            return value
        return self.call(partial(self._computed, key), user_code=True)  # it may well run the model

    def add_watch(self, feature_id: int) -> None:
        """Follow a feature of the focus layer: its weights and metrics at every step from now on.

        Raises:
            UsageError: there is no such feature.
        """
        self._at_boundary(lambda: self.recorder.watch([feature_id]))

    def remove_watch(self, feature_id: int) -> None:
        """Stop following a feature; its trajectory stays.

        Raises:
            UsageError: it is not watched.
        """
        self._at_boundary(lambda: self.recorder.unwatch([feature_id]))

    def get_watched(self) -> list[int]:
        """Return the watched features in the order in which they were added."""
        return self.recorder.watched()

    def get_trajectories(self) -> dict[int, list[dict[str, Any]]]:
        """Return, for every feature that was ever watched, a dict a step: step, weight_cos_to_init, the metrics."""
        return self.recorder.watches.get_trajectories()

    def clear_trajectories(self) -> None:
        """Forget the trajectories; the watches stay."""
        self._at_boundary(self.recorder.watches.clear_trajectories)

    def _at_boundary(self, function: Callable[[], None]) -> None:
        if self._gate.status in {READY, *OVER} or threading.current_thread() is self._gate.thread:
            self.call(function)
        else:
            self.at_boundary(function).result()

    # ---- the recipe: before training -------------------------------------------------------------------------------

    def describe(self, **about: str) -> None:
        """Name the recipe, condition and the like; `where` shows them."""
        self.about.update(about)

    def focus_on(self, layer: str) -> None:
        """Name the layer whose output units are the features of the tables."""
        self.focus_name = layer

    def add_panel(self, panel: Panel) -> None:
        """Let a learning rule show itself.

        Raises:
            ValueError: there is a panel of this name already.
        """
        if any(other.name == panel.name for other in self.panels):
            raise ValueError(f"there is a panel {panel.name!r} already")
        self.panels.append(panel)

    # ---- the training loop -----------------------------------------------------------------------------------------

    def begin(self, target: Any = None) -> None:
        """A loop is about to take its first step; the one place where training can stop before it.

        Args:
            target: what is trained: an object with `model` and `optimizer`, and with `last_step` if it knows the
                number of the step after which it will be done.

        Raises:
            TrainingStopped: somebody called `stop`.
        """
        if target is not None:
            self.target = target
        self.layer.end_step()
        first, self._last_step = getattr(target, "step", 0), getattr(target, "last_step", None)
        self._last = Position(self._last.tick, first if isinstance(first, int) else 0)
        self._forget()
        self._record = Step(Clock(self._timeline, *self._last[:2]))
        self._in_loop = self._capturing = True
        if getattr(target, "model", None) is not None:
            try:
                self.layer.bind(target.model, getattr(target, "optimizer", None), self.focus_name)
            except TdbError as error:  # a wrong name of a layer must not end training
                self._notices.append(str(error))
        self.recorder.begin()
        self._gate.begin()
        self._may_stop(self._check, self._last.step + 1)  # lets it capture in the first step, too
        self._look_ahead()

    def capture_batch(
        self, batch: Any, loss: Any, step: int | None = None, *, labels: Any = None, epoch: int | None = None
    ) -> None:
        """Hand over this step's batch and loss.

        Args:
            batch: a tensor, or any nesting of containers with tensors.
            loss: a number or a tensor with one element.
            step: the loop's number of this step; steps count from 1.
            labels: one label an entry, if known.
            epoch: the loop's epoch.
        """
        if self._capturing:
            self._enter()
            self._batch, self._loss = own(batch), own(loss)
            self._labels = own(labels) if labels is not None else labels_of(self._batch)
            if not self._record.has_batch:
                clock = Clock(self._timeline, self._last.tick, step or 0, "batch")
                self._first = Step(clock, epoch, number(self._loss), self._batch, self._labels)
        else:
            self._batch, self._labels, self._loss = batch, labels, loss
        self._step, self._epoch = step, epoch

    def capture_step_data(self, key: str, data: Any) -> None:
        """Hand over something of this step under a key, for whoever wants to look at it when training stops.

        Args:
            key: a name, such as "bcl_metrics".
            data: tensors, arrays, numbers or containers of them, or a function without arguments that gives them:
                it is called at the boundary, and only if somebody looks.
        """
        if self._capturing:
            self._enter()
        if callable(data):
            self._data[key] = Lazy(data)
        else:
            self._data[key] = own(data) if self._capturing else Lent(data)

    def wait_if_paused(self) -> None:
        """The step is complete; block while training is paused.

        Raises:
            TrainingStopped: somebody called `stop`.
        """
        last = self._last
        self._last = last = Position(
            last.tick + 1, last.step + 1 if self._step is None else self._step, self._epoch, reading(self._loss)
        )
        self._unrecorded.append((last, time.time()))
        if last.tick >= self._busy_from or self._gate.attention.is_set():
            self._busy_boundary()
            return
        # Nothing here but what must be: between two steps all of this runs in cold caches.
        if self._data:
            self._data = {}
        self._step = self._epoch = self._loss = self._batch = self._labels = None

    def finish(self, status: str, reason: str = "", *, linger: bool = False) -> None:
        """The loop is over: "finished", "crashed" or "ended"; called by whoever started its thread.

        Args:
            status: how it ended.
            reason: one line about that.
            linger: keep the thread here to serve `call` until `gate.dismiss()`.
        """
        if status == CRASHED and self._batch is not None:
            under_way = self._last.step + 1 if self._step is None else self._step
            with suppress(Exception):  # after some crashes tensors cannot even be copied; the end must still be told
                self._commit(Clock(self._timeline, self._last.tick, under_way, "crash"))
        self._refuse_wanted()
        self._leave_loop()
        self.layer.end_step()
        if self._unrecorded:
            unrecorded, self._unrecorded = self._unrecorded, []
            self.recorder.record(self._timeline, unrecorded, metrics=False)
        self._gate.finish(status, reason, linger)

    # ---- the training thread, inside a boundary --------------------------------------------------------------------

    def _busy_boundary(self) -> None:
        """Record what has come together, stop if training is to stop, and see what the steps ahead need."""
        if self.layer.capturing:
            self.layer.end_step()
        unrecorded, self._unrecorded = self._unrecorded, []
        metrics = self._capturing or self.recorder.wants_metrics(self._last.tick)
        self.recorder.record(self._timeline, unrecorded, metrics=metrics)
        # The step before the last is looked at, so that the last one is captured: looking goes on after the end.
        if self._gate.attention.is_set() or self._is_last(self._last.step + 1):
            self._boundary()
        else:
            self._forget()
        if self._in_loop:
            self._look_ahead()

    def _boundary(self) -> None:
        hit = self._reason_to_stop(self._check)
        whole = self._capturing
        clock, stops = Clock(self._timeline, *self._last[:2]), self._gate.stops
        self._in_loop = True
        if whole or hit:
            self._commit(clock)
        if whole and (self._wanted or self._is_last(self._last.step)):
            self._compute_all()
            self._hand_out()
        try:
            may_stop = self._gate.arrive(whole, hit)
        except TrainingStopped:
            if not (whole or hit):
                self._commit(clock)
            self._leave_loop()
            raise
        if self._gate.stops != stops:
            self.recorder.history.mark(self._last.step, self._gate.reason)
        if self._is_last(self._last.step):
            self._leave_loop()
            return
        self._forget()
        ahead = self._last.step + 1
        known = self._may_stop(self._check, ahead) or self._is_last(ahead)
        self._capturing = may_stop or known or bool(self._wanted)
        if self._capturing:
            self._gate.attention.set()  # only this thread ever clears it

    def _look_ahead(self) -> None:
        """Decide whether the step ahead is captured, and which boundary is the next that is busy."""
        tick = self._last.tick
        if self._capturing or self.recorder.needs_layer:
            self.layer.begin_step()
        elif not self.layer.capturing:  # a stop check may have seen to it already
            self.layer.forget_step()
        self._busy_from = min(self.recorder.next_metrics(tick), tick + MOST_UNRECORDED)
        if self._capturing or self.layer.capturing:
            self._busy_from = tick + 1
        elif self._last_step is not None and self._last_step > self._last.step:
            self._busy_from = min(self._busy_from, tick + max(1, self._last_step - 1 - self._last.step))

    def _enter(self) -> None:
        """Notice the first step of a loop that has not called `begin`."""
        if not self._in_loop:
            self._in_loop = True
            self._forget()
            self._gate.enter()

    def _leave_loop(self) -> None:
        """Keep the last step to be looked at; should another loop follow, its first step is captured."""
        self._in_loop, self._capturing = False, True
        self._gate.attention.set()

    def _reason_to_stop(self, check: StopCheck | None) -> str:
        try:
            return check.reason(self) if check is not None else ""
        except Exception as error:  # noqa: BLE001 - a broken condition stops training, as in gdb; it never ends it
            return f"a stop condition failed: {type(error).__name__}: {error}"

    def _may_stop(self, check: StopCheck | None, step: int) -> bool:
        try:
            return check is not None and check.may_stop(step)
        except Exception as error:  # noqa: BLE001 - as above
            self._notices.append(f"a stop condition failed: {type(error).__name__}: {error}")
            return False

    def _commit(self, clock: Clock) -> None:
        """Make this step the record, and copy what is still the loop's: it was not known that training would stop."""
        if not self._capturing:
            self._batch, self._loss = own(self._batch), own(self._loss)
            self._labels = own(self._labels) if self._labels is not None else labels_of(self._batch)
            lent = {key: value for key, value in self._data.items() if isinstance(value, Lent)}
            self._data = self._data | {key: own(value.data) for key, value in lent.items()}
        self._record = Step(clock, self._epoch, number(self._loss), self._batch, self._labels, self._data)

    def _is_last(self, step: int) -> bool:
        return step == self._last_step

    def _step_data(self, key: str) -> Any:
        data = self._data
        if key not in data:
            known = ", ".join(data) or "nothing"
            raise UnknownKeyError(f"no step data {key!r}", did_you_mean(key, data) or f"Captured: {known}")
        return data[key]

    def _computed(self, key: str) -> Any:
        """Return what is captured under `key` as an owned value; what had to be computed for that is kept."""
        value = self._step_data(key)
        if isinstance(value, Lent):
            return own(value.data)
        if isinstance(value, Lazy):
            self._data[key] = value = own(value.compute())
        return value

    def _compute_all(self) -> None:
        for key in list(self._data):
            try:
                self._guarded(partial(self._computed, key), user_code=True)
            except Exception as error:  # noqa: BLE001 - what a panel cannot compute must not end a training run
                self._notices.append(f"step data {key!r} could not be computed: {type(error).__name__}: {error}")

    def _hand_out(self) -> None:
        """Give the record to those who asked for a step without stopping."""
        for job in _taken(self._wanted):
            job.run()

    def _forget(self) -> None:
        """Step data are empty at the start of each step; the record keeps what was computed of its own."""
        if self._record.data is self._data:
            self._record.data = {key: value for key, value in self._data.items() if not isinstance(value, Lazy)}
        self._data = {}
        self._step = self._epoch = self._loss = self._batch = self._labels = self._first = None

    def _guarded(self, function: Callable[[], Result], user_code: bool = False) -> Result:
        models = [self.target.model] if user_code and getattr(self.target, "model", None) is not None else []
        with guarded(models, [panel.inert for panel in self.panels], self._notices.append):
            return function()

    # ---- any thread ------------------------------------------------------------------------------------------------

    def _look_while_waiting(self) -> None:
        if self._gate.status in OVER:
            self._refuse_wanted()

    def _refuse_wanted(self) -> None:
        for job in _taken(self._wanted):
            job.answer.refuse("training is over")


def _taken(queue: deque[Item]) -> Iterator[Item]:
    """Take everything out of a queue that another thread may be filling or emptying."""
    while True:
        try:
            yield queue.popleft()
        except IndexError:
            return
