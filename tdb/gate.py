"""The gate at a step's boundary: where the training thread waits, and how any other thread makes it wait or go.

One lock guards every field, and one condition on it is announced whenever a field changes. No foreign code runs while
the lock is held: what other threads want done in the training thread is queued, and run with the lock released.

A signal handler may call `pause`, `resume`, `step` and `stop` whatever the interrupted thread was doing here: the lock
is reentrant, and `attention` has none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from tdb.errors import StateError, TrainingStopped
from tdb.jobs import HEARTBEAT_SECONDS, Answer, Job, Jobs, let_threads_end_quietly
from tdb.permission import Permission
from tdb.standing import ENDED, FINISHED, OVER, READY, RUNNING, STOPPED, Standing

Result = TypeVar("Result")


class Attention:
    """An Event that nobody waits for, and so one without a lock: a signal handler may set it while it is being set.

    Attributes:
        is_set: whether the next boundary must look at the gate; a name, because each boundary reads it.
    """

    __slots__ = ("is_set",)

    def __init__(self) -> None:
        self.is_set = True

    def set(self) -> None:
        """Make the next boundary look at the gate."""
        self.is_set = True

    def clear(self) -> None:
        """Let boundaries pass without a look."""
        self.is_set = False


class Moment(NamedTuple):
    """The gate's fields that belong together, of one moment."""

    status: str
    reason: str
    is_paused: bool


class Gate:
    """Pause, step and resume for one training loop at a time."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)  # announced whenever a field below changes
        # Set whenever a boundary must look at the fields below; a free-running loop reads nothing else.
        self.attention = Attention()
        self._standing = Standing()
        self._permission = Permission()
        self._armed = False
        self._interruption: Callable[[], object] | None = None
        self._jobs = Jobs()
        self.served = 0  # jobs that were begun so far
        self._dismissed = False

    # ---- any thread ------------------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """One of ready, running, stopped, finished, crashed, ended."""
        return self.now().status

    @property
    def reason(self) -> str:
        """Why training stopped last."""
        return self.now().reason

    @property
    def stops(self) -> int:
        """How many times training has stopped so far."""
        with self._lock:
            return self._standing.stops

    @property
    def is_paused(self) -> bool:
        """Whether training is stopped, stepping, or about to stop."""
        return self.now().is_paused

    @property
    def granted(self) -> int | None:
        """How many steps may still be begun before training stops; None if it runs freely."""
        with self._lock:
            return self._permission.granted if self._permission.paused else None

    @property
    def is_wanted(self) -> bool:
        """Whether somebody wants something of the next boundary; for the training thread, without the lock.

        What is wanted from this very moment on is done at the boundary after it: `attention` stays set.
        """
        return self._permission.wants_boundary or bool(self._jobs) or self._interruption is not None

    @property
    def may_stop(self) -> bool:
        """Whether anything that was asked so far may stop training."""
        with self._lock:
            return self._armed or self._permission.wants_boundary

    @property
    def is_ending(self) -> bool:
        """Whether the loop is told to stop, and has not come to a boundary since."""
        with self._lock:
            return self._permission.ending

    @property
    def passes_breakpoints(self) -> bool:
        """Whether the script's own breakpoints stop nothing: somebody has let it run on without tdb."""
        with self._lock:
            return self._permission.passes_breakpoints

    @property
    def thread(self) -> threading.Thread | None:
        """The thread in which the loop was last seen."""
        with self._lock:
            return self._standing.thread

    @property
    def serves_here(self) -> bool:
        """Whether the calling thread is blocked here, and runs what another has asked for."""
        with self._lock:
            return self._standing.server is threading.current_thread()

    @property
    def has_lost_thread(self) -> bool:
        """Whether the thread in which the loop was last seen has ended."""
        with self._lock:
            return self._standing.has_lost_thread

    def now(self) -> Moment:
        """Return status, reason and is_paused of one moment."""
        with self._lock:
            status = self._look()
            moment = Moment(status, self._standing.reason, self._permission.paused and status not in OVER)
        self._refuse_jobs_after_the_end()
        return moment

    def pause(self, reason: str = "pause") -> None:
        """Stop at the end of the next whole step, whatever was granted beyond it; after the end, of the next run."""
        with self._lock:
            self._permission.pause(reason, stopped=self._look() == STOPPED)
            self._announce()

    def resume(self, *, past_breakpoints: bool = False) -> None:
        """Run on freely; granted steps are part of that.

        Args:
            past_breakpoints: the script's own breakpoints stop nothing, either, until somebody asks for a pause.
        """
        with self._lock:
            self._permission.resume(past_breakpoints=past_breakpoints)
            self._go_on()

    def step(self, count: int = 1) -> int:
        """Grant `count` steps to a loop that is paused or has not begun; return how many were granted.

        A loop that runs freely, was told to stop, or is over, is granted none: 0. Grants add up: each is one step,
        taken once, unless a later `pause` cuts them short or something else stops training before.

        Raises:
            ValueError: `count` is less than 1.
        """
        if count < 1:
            raise ValueError(f"step takes a number of steps from 1, not {count}")
        with self._lock:
            status = self._look()
            permission = self._permission
            if status in OVER or permission.ending or (status == RUNNING and not permission.paused):
                return 0
            if status == READY:
                permission.grant_from_start(count)
            else:
                permission.grant(count)
            self._go_on()
            return count

    def stop(self, status: int | None = None) -> None:
        """End training at its next boundary, at once if it is blocked there; overrides a pause.

        Args:
            status: what the process exits with if nobody catches what ends training; without it, 1.
        """
        with self._lock:
            if self._look() in OVER:
                return
            self._permission.stop(status)
            self._go_on()

    def interrupt(self, action: Callable[[], object]) -> None:
        """Run `action` in the training thread at its next boundary, or where it is stopped as soon as it goes on.

        What it raises, such as KeyboardInterrupt, is raised in the training loop.
        """
        with self._lock:
            self._interruption = action
            self._announce()

    def take_back_interruption(self) -> bool:
        """Return whether what was to be run at the next boundary still waits for it; it does no longer."""
        with self._lock:
            waits, self._interruption = self._interruption is not None, None
            return waits

    def stop_at_begin(self) -> None:
        """Stop before the first step of a loop that has not begun, whatever was granted."""
        with self._lock:
            self._permission.hold_first()
            self._announce()

    def arm(self, armed: bool) -> None:
        """Make every boundary come here, because something other than a pause may want to stop it."""
        with self._lock:
            self._armed = armed
            self._announce()

    def call(self, function: Callable[[], Result]) -> Result:
        """Run `function` in the training thread while it is stopped; return or raise what it does.

        Before training, and after it if its thread has gone, `function` runs in the caller's thread.

        Raises:
            StateError: training is running, or its thread is still on its way out.
        """
        with self._lock:
            status, standing = self._look(), self._standing
            inside = standing.is_here
            if status == RUNNING and not inside:
                raise StateError("training is running", "`pause` first, or Ctrl-C")
            if standing.unwinding and not inside and standing.thread_lives:
                raise StateError("training is ending", "Wait until its thread has ended")
            job = None
            if standing.server is not None and not inside:
                job = self._queue(function)
        if job is None:
            return function()
        try:
            result: Result = job.answer.result()
            return result
        finally:
            del job  # an error would hold this frame, and with it the error

    def at_boundary(self, function: Callable[[], Result]) -> Answer[Result]:
        """Queue `function` for the training thread's next boundary; at once if it is stopped at one."""
        with self._lock:
            if self._look() not in OVER or self._standing.server is not None:
                return self._queue(function).answer
        answer: Answer[Result] = Answer(self._look_while_waiting)
        answer.refuse("training is over")
        return answer

    def wait(self, timeout: float | None = None) -> str:
        """Block until training is not running, at most `timeout` seconds; return the status.

        A loop that has not begun is waited for only if it was asked to stop.

        Raises:
            StateError: the training thread would wait for itself.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while (status := self._look()) == RUNNING or (status == READY and self._permission.wants_first_stop):
                self._refuse_the_training_thread()
                remaining = HEARTBEAT_SECONDS
                if deadline is not None:
                    remaining = min(remaining, deadline - time.monotonic())
                if remaining <= 0:
                    break
                self._changed.wait(remaining)
        self._refuse_jobs_after_the_end()
        return status

    def expect(self) -> None:
        """Another loop will follow: one that is over, or was left in the calling thread, is not the one to wait for."""
        with self._lock:
            status = self._look()
            if status in OVER or (status == RUNNING and self._standing.is_here):
                self._standing.expect()
                self._announce()

    def stands_as_before(self, stops: int, reason: str) -> None:
        """Training has come back to where it stood: that was told then, and is no further stop."""
        with self._lock:
            self._standing.stops, self._standing.reason = stops, reason

    def dismiss(self) -> None:
        """Let a training thread that lingers after the end of training go."""
        with self._lock:
            self._dismissed = True
            self._announce()

    # ---- the training thread ---------------------------------------------------------------------------------------

    def launched(self, thread: threading.Thread) -> None:
        """A thread will train: it is about to be started, and may spend long on imports and loading."""
        with self._lock:
            if self._standing.thread is thread:
                return  # it was started first, and has been here already
            self._standing.enter(thread)
            self._standing.launched = thread
            self._dismissed = False
            self._changed.notify_all()

    def enter(self) -> None:
        """A loop is in its first step; from now on nobody else may touch what it trains."""
        with self._lock:
            self._standing.enter(threading.current_thread())
            self._announce()

    def begin(self) -> None:
        """A loop begins; stop before its first step if that was asked for.

        Raises:
            TrainingStopped: somebody called `stop`.
        """
        with self._lock:
            self._standing.enter(threading.current_thread())
            self._announce()
            hold = self._permission.begins()
            if not (hold or self._permission.ending):
                return
        self._serve(hold, "start")

    def arrive(self, whole: bool, hit: str = "") -> bool:
        """A step is complete: block here if training is to stop. Return whether the step ahead may stop.

        Args:
            whole: this step was captured from its start, so that a pause may stop here.
            hit: why training must stop here in any case, or nothing.

        Raises:
            TrainingStopped: somebody called `stop`.
        """
        with self._lock:
            self._standing.enter(threading.current_thread())
            reason = self._permission.arrives(whole, hit)
        return self._serve(whole or bool(hit), reason)

    def finish(self, status: str, reason: str = "", linger: bool = False) -> None:
        """The loop is over; with `linger` its thread stays here and serves calls until it is dismissed."""
        me = threading.current_thread()
        with self._lock:
            self._standing.thread = me
            self._over(status, reason)
            self._standing.server = me if linger else None
        try:
            while (job := self._next_job_after_the_end(me)) is not None:
                job.run()
                del job  # while it waits for the next one, nothing holds what this one has answered
        finally:
            with self._lock:
                if self._standing.server is me:
                    self._standing.server = None
        self._refuse_jobs_after_the_end()

    def _next_job_after_the_end(self, me: threading.Thread) -> Job | None:
        with self._lock:
            while self._standing.server is me and not self._jobs:
                if self._dismissed or not threading.main_thread().is_alive():
                    return None
                self._changed.wait(HEARTBEAT_SECONDS)
            return self._jobs.popleft() if self._standing.server is me else None

    def _serve(self, hold: bool, reason: str) -> bool:
        """Run queued jobs; while training is to stop here, wait. Return whether the step ahead may stop."""
        try:
            with self._lock:
                if hold and self._permission.wants_stop:
                    self._halt(reason)
            leaving = False
            while not leaving:
                with self._lock:
                    leaving = self._standing.status != STOPPED
                    if not (leaving or self._jobs):
                        self._rest()
                    due = len(self._jobs)  # those that come while these run wait: they cannot keep training here
                for _ in range(due):
                    self._next_job().run()  # no name holds it: see Answer.result
            with self._lock:
                if self._permission.ending:
                    status = self._permission.status
                    self._over(ENDED, "stopped by the user")
                    self._standing.unwinding = True
                    let_threads_end_quietly()
                    raise TrainingStopped("training was told to stop" if status is None else status)
                interruption, self._interruption = self._interruption, None
            if interruption is not None:
                interruption()
            with self._lock:
                return self._leave()
        except BaseException:
            # TrainingStopped, or a KeyboardInterrupt: nobody serves here now.
            with self._lock:
                self._standing.server = None
                self._standing.go_on()
                self._announce()
            raise

    def _next_job(self) -> Job:
        with self._lock:
            self.served += 1
            return self._jobs.popleft()

    def alone(self) -> None:
        """Nobody but the training thread is in this process: whoever held the lock or waited was left behind."""
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        with self._lock:
            self._jobs = Jobs()
            self._dismissed = False
            self._standing.enter(threading.current_thread())
            self._permission.only_stop()
            self._announce()

    # ---- with the lock held ----------------------------------------------------------------------------------------

    def _halt(self, reason: str) -> None:
        self._standing.halt(reason)
        self._permission.pause_due = False
        self._changed.notify_all()

    def _rest(self) -> None:
        self._changed.wait(HEARTBEAT_SECONDS)
        if not threading.main_thread().is_alive():
            self.stop()

    def _leave(self) -> bool:
        self._standing.leave()
        may_stop = self._permission.leaves()
        # Cleared first and looked at afterwards: a signal handler may come between.
        self.attention.clear()
        if self._armed or self.is_wanted:
            self.attention.set()
        # Nobody is told: whoever waits for a stop would be woken at every step of an armed run, and take the GIL.
        return may_stop

    def _over(self, status: str, reason: str) -> None:
        self._standing.end(status, reason)
        self._permission.ends()
        self._announce()  # should another run follow, its first boundary looks here

    def _look(self) -> str:
        """Return the status, having noticed a training thread that died without a word."""
        if self._standing.has_ended_without_a_word():
            self._over(FINISHED, "the training thread has ended")
        return self._standing.status

    def _go_on(self) -> None:
        self._standing.go_on()
        self._announce()

    def _queue(self, function: Callable[[], Any]) -> Job:
        job = Job(function, Answer(self._look_while_waiting))
        self._jobs.append(job)
        self._announce()
        return job

    def _announce(self) -> None:
        self.attention.set()
        self._changed.notify_all()

    def _refuse_the_training_thread(self) -> None:
        if self._standing.is_here:
            raise StateError("the training thread cannot wait for itself", "Wait in another thread")

    # ---- with the lock released ------------------------------------------------------------------------------------

    def _look_while_waiting(self) -> None:
        with self._lock:
            self._refuse_the_training_thread()
        self._refuse_jobs_after_the_end()

    def _refuse_jobs_after_the_end(self) -> None:
        with self._lock:
            if not self._jobs or self._standing.server is not None or self._look() not in OVER:
                return
            refused, self._jobs = self._jobs, Jobs()
        refused.refuse_all()
