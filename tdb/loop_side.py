"""The training thread's side of the controller: what a loop hands over, and what happens at its boundaries.

While training runs freely a boundary takes note of the step and no more. Captures are made only in a step whose
boundary may stop; whether it may is decided one boundary before.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from tdb.captures import reading
from tdb.errors import TdbError, TrainingStopped
from tdb.gate import Gate
from tdb.guard import guarded
from tdb.jobs import Jobs
from tdb.last_step import LastStep
from tdb.pending import LONGEST_WAIT, MOST_WAITING
from tdb.recorder import Recorder
from tdb.skip import LEFT_OUT
from tdb.standing import CRASHED, OVER, RUNNING
from tdb.step import CRASH, Clock, Finished, Position, step_number
from tdb.step_captures import StepCaptures
from tdb.stop_question import StopQuestion
from tdb.target import model_of, step_of
from tdb.travel.traveller import Traveller

if TYPE_CHECKING:
    from tdb.overhead import Measured, Overhead
    from tdb.panel import Panel

Result = TypeVar("Result")


class Keeper(Protocol):
    """Sets copies of the process aside at boundaries, in the training thread."""

    @property
    def due(self) -> int:
        """The tick from which a boundary has something to do here."""

    def arrive(self, position: Position, before: Finished, *, is_stepped: bool) -> str:
        """A step is complete; return why training stops here: in a copy that was woken it does, otherwise empty.

        Args:
            position: the step.
            before: the one before it.
            is_stepped: training is being stepped.
        """


class LoopSide:
    """What one training loop calls; everything here runs in its thread, unless it says otherwise.

    Attributes:
        captures: what is seen of the step under way.
        last: what there is to look at of the last step.
        tick_ahead: the tick of the next boundary.
        question: what may stop training besides a pause.
        keeper: what sets copies of the process aside, if anything does; any thread may set it.
        wanted: who waits for the next whole step without stopping at it; any thread may add to it.
        notices: what is to be told at the prompt.
        ended_by_hand: the loop itself has said that its step is complete, inside an iteration that is one.
        about_to_begin: called where a loop begins, before it may stop there.
        about_to_stand: called where the script stops itself, so that who counts its steps may hand over what is known
            of the one under way.
        idle: nobody has asked for anything yet: a plain run, which nothing shall slow down.
        travel: checkpoints, and going back to them.
    """

    MEASURED: ClassVar[Mapping[str, tuple[str, ...]]] = {"captures": ("capture_batch", "capture_step_data")}

    def __init__(self, gate: Gate) -> None:
        self.captures = StepCaptures(self._stop_inside)
        # What each boundary reads, side by side in memory.
        self._under_way = self.captures.under_way
        self._finished: Finished = Position()
        self._unrecorded: list[Finished] = []  # finished steps on their way to history
        self._handed_over: Finished = Position()  # the last of those that have gone there
        self._attention = gate.attention
        self._quiet_until = 0  # the tick up to which a boundary has nothing to do but to take note
        self._busy_at = 0.0  # and the wall time
        self.tick_ahead = 1
        self._records_from = 0  # the tick up to which metrics are not recorded
        self._busy_from = 0  # the tick up to which there is nothing else to do
        self._overhead: Overhead | None = None
        self.timeline = 0
        self.keeper: Keeper | None = None
        self.wanted = Jobs()
        self.notices: deque[str] = deque()
        self.target: Any = None
        self.focus_name = ""
        self.panels: list[Panel] = []
        self.last = LastStep(self._under_way, self.panels)
        self.recorder = Recorder(self.captures.layer, self.panels, lambda: self._finished[1])
        self.travel = Traveller(self)
        self.question = StopQuestion(self.travel, self.notices)
        self._gate = gate
        self.about_to_begin: Callable[[], object] = lambda: None
        self.about_to_stand: Callable[[], object] = lambda: None
        self.idle = self.ended_by_hand = False
        self._in_loop = False
        self._runs_freely = False  # of the step under way nothing is wanted, unless somebody asks before it ends
        self._stopped_inside = False  # its boundary may stop although the step was not captured from its start
        self._last_step: int | None = None

    # ---- what a loop calls: see DebugController --------------------------------------------------------------------

    def attach(self, target: Any) -> None:
        """A loop over `target` will follow, perhaps in another thread."""
        self._leave_loop()
        if target is not None:
            self.target = target
        self.captures.end()
        self.captures.leave_out()
        self._last_step = getattr(target, "last_step", None)
        self.position = Position(self.position.tick, step_of(target))
        self.last.begin(self._clock())
        self.bind_focus(target)

    def discovered(self, target: Any) -> None:
        """What is trained has been found in the middle of a loop: look at it from here on."""
        self.target = target
        self.captures.end()
        self.bind_focus(target)
        self._look_ahead()

    def enter(self) -> None:
        """A loop is about to take its first step, unless it is under way already."""
        if self._gate.has_lost_thread:  # whatever ended the last loop, nobody has said so
            self._leave_loop()
            self.last.forget()
        if self._in_loop:
            return
        self._in_loop = self._under_way.capturing = True
        self.about_to_begin()
        self.travel.begin(self.target)
        self._gate.begin()
        self.question.may_stop(self.position.step + 1)  # lets it capture in the first step, too
        self._look_ahead()

    def begin(self, target: Any) -> None:
        """A loop is about to take its first step."""
        self.attach(target)
        self.enter()

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

        Raises:
            TypeError: `step` is no whole number.
        """
        if step is not None and step.__class__ is not int:
            step = step_number(step)
        under_way = self._under_way
        if not under_way.capturing:
            # All that is done at most steps: a call would cost each of them.
            under_way.batch, under_way.labels, under_way.loss, under_way.step = batch, labels, loss, step
            if epoch is not None:
                under_way.epoch = epoch
            return
        self._enter()
        under_way.take_batch(batch, loss, step, labels, epoch)
        self.last.take_first(Clock(self.timeline, self.position.tick, step or 0, "batch"), epoch)

    def capture_loss(self, loss: Any) -> None:
        """Hand over this step's loss alone, where its batch is known already, as in a loop over `steps`.

        Args:
            loss: a number or a tensor with one element.
        """
        if self._under_way.capturing:
            self._enter()
        self._under_way.take_loss(loss)

    def capture_step_data(self, key: str, data: Any) -> None:
        """Hand over something of this step under a key, for whoever wants to look at it when training stops.

        Args:
            key: a name, such as "bcl_metrics".
            data: tensors, arrays, numbers or containers of them, or a function without arguments that gives them:
                it is called at the boundary, and only if somebody looks.
        """
        if self._under_way.capturing:
            self._enter()
        self._under_way.take_data(key, data)

    def wait_if_paused(self) -> None:
        """The step is complete; block while training is paused.

        Raises:
            TrainingStopped: somebody called `stop`.
        """
        # Nothing here but what must be: between two steps all of this runs in cold caches.
        under_way, tick = self._under_way, self.tick_ahead
        self.tick_ahead, self.ended_by_hand = tick + 1, True
        now, step, loss = time(), under_way.step, under_way.loss
        if step is None:
            step = self._finished[1] + 1
        try:
            loss = loss.item() if loss.is_cpu else reading(loss)
        except (AttributeError, RuntimeError):  # it is no tensor, or not one element
            loss = reading(loss)
        finished = self._finished = (tick, step, under_way.epoch, loss, now)
        self._unrecorded.append(finished)
        is_quiet = tick < self._quiet_until and now < self._busy_at and not self._attention.is_set
        if not (is_quiet or self._is_soon_passed(tick, now)):
            return
        if under_way.data:
            under_way.data = {}
        under_way.step = under_way.epoch = under_way.loss = under_way.batch = under_way.labels = None

    def pass_by(self, loss: Any, epoch: int | None) -> bool:
        """A step is complete; return False, and do nothing, if more is wanted of it than its number and its loss.

        Args:
            loss: a number, or a tensor on its device that is the caller's own.
            epoch: the loop's epoch.
        """
        tick, now, before = self.tick_ahead, time(), self._finished
        if tick >= self._busy_from or now >= self._busy_at or self._overhead is not None:
            return False
        finished = self._finished = (tick, before[1] + 1, epoch, loss, now)
        asked = self._attention.is_set
        if asked and not (self._is_left_alone and self.question.passes(tick)):
            self._finished = before
            return False
        self.tick_ahead = tick + 1
        self._unrecorded.append(finished)
        if tick >= self._records_from:
            self._record_metrics(tick)
        elif asked:
            self._record_looked_at()
        return True

    def measure(self, overhead: Overhead, *others: Measured) -> None:
        """Measure what tdb costs over the next steps; at a boundary, or while there is no loop.

        Args:
            overhead: the measurement; one that is under way already is broken off.
            others: whose methods are timed besides those of what records and captures.
        """
        self.stop_measuring()
        layer = self.captures.layer
        others = (*others, layer.short_way) if layer.short_way is not None else others
        overhead.begin([self, self.question, layer, self.captures.model, self.recorder, self.recorder.pending, *others])
        self._overhead = overhead

    def stop_measuring(self) -> None:
        """Break off the measurement, if there is one: training stops, or is over."""
        if self._overhead is not None:
            self._overhead.end()
            self._overhead = None

    def stop_here(self, reason: str) -> None:
        """Stop wherever the script is: inside a step, or outside any loop."""
        thread = self._gate.thread
        if self._gate.serves_here:
            self.notices.append(f"{reason} at the prompt stops nothing: training is stopped already")
            return
        if thread not in (None, threading.current_thread()) and self._gate.status == RUNNING:
            self.notices.append(f"{reason} in another thread than training's stops nothing")
            return
        self.stop_measuring()
        self.about_to_stand()
        before, progress = self.captures.progress.phase, self.captures.progress
        if self._in_loop and progress.complete:
            progress.phase = "breakpoint"  # whether the loop is inside a step, only it knows
        if self._under_way.batch is not None:
            self.last.commit(self._clock_under_way(progress.phase))
        try:
            self._stopped_inside = self._gate.arrive(False, reason)
        except TrainingStopped:
            self._leave_loop()
            raise
        finally:
            progress.phase = before

    def finish(self, status: str, reason: str, linger: bool) -> None:
        """The loop is over."""
        if status == CRASHED and self._under_way.batch is not None:
            with suppress(Exception):  # after some crashes tensors cannot even be copied; the end must still be told
                self.last.commit(self._clock_under_way(CRASH))
        self.wanted.refuse_all()
        self.captures.end(crashed=status == CRASHED)
        self._leave_loop()
        self._gate.finish(status, reason, linger)

    def record_rest(self) -> None:
        """Record the steps that have come together: no boundary of theirs will."""
        if self._unrecorded:
            self.recorder.record(self.timeline, self._hand_over(), metrics=False)
        self.recorder.flush()

    @property
    def is_over(self) -> bool:
        """Whether training has ended, or is ending: what the loop leaves then, it leaves for good."""
        return self._gate.status in OVER

    @property
    def position(self) -> Position:
        """The last finished step; any thread may read it, and never sees half of it."""
        return Position(*self._finished)

    @position.setter
    def position(self, position: Position) -> None:
        self._finished = position

    # ---- inside a boundary -----------------------------------------------------------------------------------------

    def bind_focus(self, target: Any) -> None:
        """Make the layer that was asked for the focus, or else the first that can be; what cannot be is told."""
        self.record_rest()  # what waits belongs to the layer before
        if model_of(target) is not None:
            try:
                self.captures.layer.bind(target, self.focus_name)
            except TdbError as error:  # a wrong name of a layer must not end training
                self.notices.append(str(error))
        self._begin_to_record()
        self._see_when_to_record(self._finished[0])

    def _begin_to_record(self) -> None:
        if unwatched := self.recorder.begin():
            self.notices.append(unwatched)

    def _is_soon_passed(self, tick: int, now: float) -> bool:
        """A step is complete of which more may be wanted; return whether its boundary could be left as any other."""
        overhead = self._overhead
        if overhead is not None:
            overhead.step_ends(now)
        is_free = tick < self._busy_from and now < self._busy_at
        asked = is_free and self._attention.is_set
        if not is_free or (asked and (overhead is not None or not self._passes())):
            self._busy_boundary(left_out=self._left_out(tick))
            return False
        if tick >= self._records_from:
            self._record_metrics(tick)
        elif asked:
            self._record_looked_at()
        if overhead is not None:
            self._next_step_begins()
        return True

    def _keep_up(self) -> None:
        """The weight of the focus layer has got another form, as where features are pruned: they are other features."""
        newest, self._unrecorded = self._unrecorded[-1:], self._unrecorded[:-1]
        self.record_rest()
        self._unrecorded = newest
        try:
            self.captures.layer.bind(self.target, self.captures.focus.name)
        except TdbError as error:  # as above
            self.captures.layer.let_go()
            self.notices.append(str(error))
        self._begin_to_record()

    def _hand_over(self) -> list[Finished]:
        """Return the finished steps that are not in history yet, and keep none of them."""
        unrecorded, self._unrecorded = self._unrecorded, []
        self._handed_over = unrecorded[-1]
        return unrecorded

    def _passes(self) -> bool:
        """Return whether only a stop check had to be asked here, which wants neither a stop nor a capture.

        Then this boundary is as good as one of a free run; it was taken note of, and no more is done.
        """
        return self._is_left_alone and self.question.is_quiet(self.position)

    @property
    def _is_left_alone(self) -> bool:
        """Whether nothing is wanted of this boundary, unless a stop check does."""
        return self._runs_freely and not (self._stopped_inside or self._gate.is_wanted or self.wanted)

    def _record_metrics(self, tick: int) -> None:
        """Record a step of which nothing else is wanted, and go on as before it."""
        if not self.recorder.let_wait(self.timeline, self._finished):
            is_another = self.captures.focus.has_another_form
            if is_another:
                self._keep_up()
            self.recorder.record(self.timeline, self._hand_over(), metrics=True)
            if is_another:  # the hooks were those of the layer as it was
                self._look_ahead()
                return
        if self.captures.layer.following:
            self.captures.layer.follow_step()
        self._see_when_to_record(tick)

    def _see_when_to_record(self, tick: int) -> None:
        self._records_from = self.recorder.next_metrics(tick)
        self._see_how_long_it_is_quiet()

    def _record_looked_at(self) -> None:
        """Record what conditions have looked at in a step of which no other metrics are recorded."""
        check = self.question.check
        if check is not None and self.travel.replay is None and self.recorder.known is None:
            names, values = check.looked_at()
            if names:
                self.recorder.record_some(self.timeline, self.position, names, values)

    def _busy_boundary(self, *, left_out: bool) -> None:
        """Record what has come together, stop if training is to stop, and see what the steps ahead need."""
        skipped = self.captures.skip.end_step() if self.captures.skip.asked else False
        if self.captures.layer.capturing or self._under_way.capturing:
            self.captures.end(whole=True)
        if self.captures.focus.has_another_form:
            self._keep_up()
        before = self._unrecorded[-2] if len(self._unrecorded) > 1 else self._handed_over
        unrecorded = self._hand_over()
        if left_out:
            self.recorder.leave_out(self.timeline, unrecorded)
        else:
            metrics = self._under_way.capturing or self.recorder.wants_metrics(self.position.tick)
            self.recorder.record(self.timeline, unrecorded, metrics=metrics)
            if skipped:
                self.recorder.history.mark(self.position.step, LEFT_OUT, self.position.tick)
        self.travel.arrive(self.position, before)
        woken = ""
        if self.keeper is not None:
            self.question.look(self.position)
            woken = self.keeper.arrive(self.position, before, is_stepped=self._gate.is_paused)
        # The step before the last is looked at, so that the last one is captured: looking goes on after the end.
        ahead_of_last = self._is_last(self.position.step + 1)
        is_busy = ahead_of_last or bool(woken) or self.question.is_answered or self.travel.wants_boundary(self.position)
        # A stop check is asked once a boundary: last, and only if nothing else is a reason to go through all of it.
        if is_busy or (self._attention.is_set and (self._overhead is not None or not self._passes())):
            self._boundary(woken, left_out=left_out, skipped=skipped)
        else:
            self._record_looked_at()
            self.last.forget()
            if self._overhead is not None:
                self._next_step_begins()
        if self._in_loop:
            self._look_ahead()

    def _boundary(self, woken: str, *, left_out: bool, skipped: bool) -> None:
        hit = self.question.reason(self.position, woken)
        if not left_out:
            self._record_looked_at()
        self.travel.repeat_edits(self.position)
        whole = self._under_way.capturing
        stoppable, self._stopped_inside = whole or self._stopped_inside, False
        clock, stops, overhead = self._clock(), self._gate.stops, self._overhead
        self._in_loop = True
        if stoppable or hit:
            self.last.commit(clock)
            self.recorder.keep(self.timeline, self.position)
        if hit:
            self.captures.phases.give_up()
        elif self.captures.phases.passes_boundary():
            self._gate.step()
        if whole and (self.wanted or self._is_last(self.position.step)):
            self.last.compute_all(partial(self.guarded, user_code=True), self.notices.append)
            self.wanted.run_all()
        try:
            may_stop = self._gate.arrive(stoppable, hit)
        except BaseException as error:  # TrainingStopped, or a KeyboardInterrupt that belongs to the script
            if not (stoppable or hit):
                self.last.commit(clock)
            if not isinstance(error, TrainingStopped):
                self.last.forget()
            self._leave_loop()
            raise
        if self._gate.stops != stops and not woken:
            self.recorder.history.mark(clock.step, LEFT_OUT if skipped else self._gate.reason, clock.tick)
            if self._overhead is overhead:  # it was not begun at this very stop
                self.stop_measuring()
        if self._is_last(self.position.step):
            self._leave_loop()
            return
        self.last.forget()
        ahead = self.position.step + 1
        if may_stop or self._is_last(ahead):
            self.stop_measuring()
        if self._overhead is not None:
            self._next_step_begins()
        if self._left_out(self.position.tick + 1):
            self._under_way.capturing = False
            return
        known = self.question.may_stop(ahead) or self._is_last(ahead)
        self._under_way.capturing = may_stop or known or bool(self.wanted)
        if self._under_way.capturing:
            self._attention.set()  # only this thread ever clears it

    def _look_ahead(self) -> None:
        """Decide whether the step ahead is captured, and which boundary is the next that is busy."""
        goes_again = self.recorder.known is not None or self.travel.replay is not None
        self._runs_freely = not (goes_again or self._under_way.capturing)
        tick, step, last_step = self.position.tick, self.position.step, self._last_step
        captures = self.captures
        self._busy_at = time() + LONGEST_WAIT
        if captures.focus.has_another_form:  # at the prompt
            self._keep_up()
        if self._left_out(tick + 1):
            captures.leave_out()
            self._busy_from = self._quiet_until = tick + 1
            return
        captures.begin(self.target, partial(self.recorder.needs_layer, tick + 1))
        self._records_from = self.recorder.next_metrics(tick)
        self._busy_from = min(tick + MOST_WAITING, self.travel.due)
        if goes_again or self._overhead is not None:  # then more than recording belongs to it
            self._busy_from = min(self._busy_from, self._records_from)
        if self.keeper is not None:
            self._busy_from = min(self._busy_from, max(tick + 1, self.keeper.due))
        if captures.concern_boundary:
            self._busy_from = tick + 1
        elif last_step is not None and last_step > step:
            self._busy_from = min(self._busy_from, tick + max(1, last_step - 1 - step))
        self._see_how_long_it_is_quiet()

    def _see_how_long_it_is_quiet(self) -> None:
        self._quiet_until = 0 if self._overhead is not None else min(self._busy_from, self._records_from)

    def _stop_inside(self, phase: str, given: Any, loss: Any) -> None:
        """Stop at a phase of the step under way; what the loop has not handed over yet is what the hooks saw."""
        if self.captures.progress.has_gradients:
            self.last.offer()
        self.last.record = self.captures.inside(self._clock_under_way(phase), given, loss)
        self._gate.arrive(False, phase)
        self._attention.set()  # this step's boundary has to be looked at, whatever follows

    def _next_step_begins(self) -> None:
        """The time of the step that has ended is complete, but for what it costs to look ahead."""
        assert self._overhead is not None
        if self._overhead.next_step(self.position.tick):
            self._overhead = None
        elif self._left_out(self.position.tick + 1):
            self._busy_from = self._quiet_until = 0

    def _left_out(self, tick: int) -> bool:
        return self._overhead is not None and self._overhead.leaves_out(tick)

    def _enter(self) -> None:
        """Notice the first step of a loop that has not called `begin`."""
        if not self._in_loop:
            self._in_loop, self._runs_freely = True, False
            self.last.forget()
            self._gate.enter()

    def _leave_loop(self) -> None:
        """Keep the last step to be looked at; should another loop follow, its first step is captured."""
        self.stop_measuring()
        self.record_rest()
        self.captures.layer.end_step()
        if self.question.check is not None:
            self.question.check.let_go()
        self._in_loop = self._runs_freely = False
        self._under_way.capturing = True
        self._attention.set()

    def _clock(self) -> Clock:
        return Clock(self.timeline, *self.position[:2])

    def _clock_under_way(self, phase: str) -> Clock:
        step = self._under_way.step
        return Clock(self.timeline, self.position.tick, self.position.step + 1 if step is None else step, phase)

    def _is_last(self, step: int) -> bool:
        return step == self._last_step

    # ---- any thread ------------------------------------------------------------------------------------------------

    def guarded(self, function: Callable[[], Result], user_code: bool = False) -> Result:
        """Run `function` so that training does not notice; in the training thread, or while there is none."""
        model = model_of(self.target)
        models = [model] if user_code and model is not None else []
        with guarded(models, [panel.inert for panel in self.panels], self.notices.append):
            return function()

    def stops(self) -> int:
        """Return how many times training has stopped so far."""
        return self._gate.stops

    def served(self) -> int:
        """Return how many times something was run in this thread for the prompt so far; in the training thread."""
        return self._gate.served

    def granted(self) -> int | None:
        """Return how many steps may still be begun before training stops; None if it runs freely."""
        return self._gate.granted
