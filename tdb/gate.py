"""The gate at a step's boundary: where the training thread waits, and how any other thread makes it wait or go.

One lock guards every field, and one condition on it is announced whenever a field changes. No foreign code runs while
the lock is held: what other threads want done in the training thread is queued, and run with the lock released.

    READY --first step--> RUNNING <--> STOPPED --> FINISHED | CRASHED | ENDED (told to stop)
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from tdb.errors import StateError, TrainingStopped

Result = TypeVar("Result")

READY, RUNNING, STOPPED = "ready", "running", "stopped"
FINISHED, CRASHED, ENDED = "finished", "crashed", "ended"
OVER = frozenset({FINISHED, CRASHED, ENDED})

# How often a blocked thread looks for an interpreter that exits or a training thread that died without a word.
HEARTBEAT_SECONDS = 0.2


class Job:
    """A function that another thread wants run in the training thread."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.future: Future[Any] = Future()

    def run(self) -> None:
        """Run the function; whatever it raises belongs to the thread that asked."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self.function())
        except BaseException as error:  # noqa: BLE001 - handed over to the thread that asked, nothing is swallowed
            self.future.set_exception(error)


class Gate:
    """Pause, step and resume for one training loop at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # announced whenever a field below changes
        # Set whenever a boundary must look at the fields below; a free-running loop reads nothing else.
        self.attention = threading.Event()
        self.attention.set()
        self._status = READY
        self._reason = ""
        self._paused = False  # training is to stop, or has stopped
        self._pause_due = False  # a pause was asked for, and its stop has not come yet
        self._granted = 0  # steps that may still be begun while paused
        self._stopping = False
        self._stop_at_begin = False
        self._armed = False
        self._serving = False  # the training thread is waiting here, and runs what is queued
        self._stops = 0
        self._jobs: deque[Job] = deque()
        self._thread: threading.Thread | None = None
        self._dismissed = False

    # ---- any thread ------------------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """One of ready, running, stopped, finished, crashed, ended."""
        with self._lock:
            status = self._look()
        self._abandon_jobs_of_a_dead_thread()
        return status

    @property
    def reason(self) -> str:
        """Why training stopped last."""
        with self._lock:
            return self._reason

    @property
    def stops(self) -> int:
        """How many times training has stopped so far."""
        with self._lock:
            return self._stops

    @property
    def is_paused(self) -> bool:
        """Whether training is stopped, stepping, or about to stop."""
        with self._lock:
            return self._paused and self._look() not in OVER

    @property
    def thread(self) -> threading.Thread | None:
        """The thread in which the loop was last seen."""
        with self._lock:
            return self._thread

    def pause(self) -> None:
        """Stop at the end of the next whole step, whatever was granted beyond it."""
        with self._lock:
            if not self._paused:
                self._paused = True
                self._pause_due = self._status != STOPPED
            self._granted = min(self._granted, 1)
            self._announce()

    def resume(self) -> None:
        """Run on freely; granted steps are part of that."""
        with self._lock:
            self._paused = self._pause_due = False
            self._granted = 0
            if self._status == STOPPED:
                self._status = RUNNING
            self._announce()

    def step(self, count: int = 1) -> int:
        """Grant `count` steps to a loop that is paused or has not begun; return how many were granted.

        A loop that runs freely, or is over, is granted none: 0. Grants add up: each is one step, taken once, unless
        a later `pause` cuts them short.

        Raises:
            ValueError: `count` is less than 1.
        """
        if count < 1:
            raise ValueError(f"step takes a number of steps from 1, not {count}")
        with self._lock:
            status = self._look()
            if status in OVER or (status == RUNNING and not self._paused):
                return 0
            if status == READY and not self._paused:
                self._paused = True
                self._granted = count - 1  # the first step begins by itself
            else:
                self._granted += count
            if self._status == STOPPED:
                self._status = RUNNING
            self._announce()
            return count

    def stop(self) -> None:
        """End training at its next boundary, at once if it is blocked there; overrides a pause."""
        with self._lock:
            if self._look() in OVER:
                return
            self._stopping = True
            self._paused = self._pause_due = False
            self._granted = 0
            self._announce()

    def stop_at_begin(self) -> None:
        """Stop before the first step of a loop that has not begun."""
        with self._lock:
            self._stop_at_begin = True
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
            StateError: training is running.
        """
        with self._lock:
            status = self._look()
            if status == RUNNING and threading.current_thread() is not self._thread:
                raise StateError("training is running", "`pause` first, or Ctrl-C")
            job = Job(function) if self._serving and threading.current_thread() is not self._thread else None
            if job is not None:
                self._jobs.append(job)
                self._changed.notify_all()
        if job is None:
            return function()
        result: Result = job.future.result()
        return result

    def at_boundary(self, function: Callable[[], Result]) -> Future[Result]:
        """Queue `function` for the training thread's next boundary; at once if it is stopped at one."""
        job = Job(function)
        with self._lock:
            if self._look() not in OVER or self._serving:
                self._jobs.append(job)
                self._announce()
                return job.future
        job.future.set_exception(StateError("training is over"))
        return job.future

    def wait(self, timeout: float | None = None) -> str:
        """Block until training is not running, at most `timeout` seconds; return the status."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while self._look() == RUNNING:
                remaining = HEARTBEAT_SECONDS
                if deadline is not None:
                    remaining = min(remaining, deadline - time.monotonic())
                if remaining <= 0:
                    break
                self._changed.wait(remaining)
            status = self._status
        self._abandon_jobs_of_a_dead_thread()
        return status

    def dismiss(self) -> None:
        """Let a training thread that lingers after the end of training go."""
        with self._lock:
            self._dismissed = True
            self._announce()

    # ---- the training thread ---------------------------------------------------------------------------------------

    def launched(self, thread: threading.Thread) -> None:
        """A thread that will train has been started; it may still be importing and loading."""
        with self._lock:
            self._thread = thread
            self._status = RUNNING
            self._changed.notify_all()

    def begin(self) -> bool:
        """A loop begins; stop before its first step if that was asked for. Return whether that step may stop.

        Raises:
            TrainingStopped: somebody called `stop`.
        """
        with self._lock:
            self._thread = threading.current_thread()
            self._dismissed = False
            self._status = RUNNING
            self.attention.set()
            hold, self._stop_at_begin = self._stop_at_begin, False
            if not (hold or self._stopping):
                return self._may_stop()
            self._paused, self._pause_due, self._granted = hold, False, 0
        return self._serve(hold, "start")

    def arrive(self, whole: bool, hit: str = "") -> bool:
        """A step is complete: block here if training is to stop. Return whether the step ahead may stop.

        Args:
            whole: this step was captured from its start, so that a pause may stop here.
            hit: why training must stop here in any case, or nothing.

        Raises:
            TrainingStopped: somebody called `stop`.
        """
        with self._lock:
            self._thread = threading.current_thread()
            self._status = RUNNING
            if self._stop_at_begin:
                hit, self._stop_at_begin = hit or "start", False
            if hit:
                self._paused, self._pause_due, self._granted = True, False, 0
            hold = whole or bool(hit)
            reason = hit or ("pause" if self._pause_due else "step")
            if hold:
                self._pause_due = False
        return self._serve(hold, reason)

    def finish(self, status: str, reason: str = "", linger: bool = False) -> None:
        """The loop is over; with `linger` its thread stays here and serves calls until it is dismissed."""
        with self._lock:
            self._over(status, reason)
            self._serving = linger
        while (job := self._next_job_after_the_end()) is not None:
            job.run()
        self._abandon_jobs_of_a_dead_thread()

    def _next_job_after_the_end(self) -> Job | None:
        with self._lock:
            while self._serving and not self._jobs:
                if self._dismissed or not threading.main_thread().is_alive():
                    self._serving = False
                else:
                    self._changed.wait(HEARTBEAT_SECONDS)
            return self._jobs.popleft() if self._serving else None

    def _abandon_jobs_of_a_dead_thread(self) -> None:
        with self._lock:
            if not self._jobs or self._serving or self._look() not in OVER:
                return
            abandoned, self._jobs = self._jobs, deque()
        for job in abandoned:
            job.future.set_exception(StateError("training is over"))

    def _serve(self, hold: bool, reason: str) -> bool:
        """Run queued jobs; while training is to stop here, wait. Return whether the step ahead may stop."""
        while True:
            with self._lock:
                if self._jobs:
                    job = self._jobs.popleft()
                elif self._stopping:
                    self._over(ENDED, "stopped by the user")
                    raise TrainingStopped("training was told to stop")
                elif hold and self._paused and self._granted == 0:
                    self._block(reason)
                    continue
                else:
                    return self._leave()
            job.run()

    # ---- with the lock held ----------------------------------------------------------------------------------------

    def _block(self, reason: str) -> None:
        self._pause_due = False
        if self._status != STOPPED:
            self._status, self._reason = STOPPED, reason
            self._stops += 1
            self._serving = True
            self._changed.notify_all()
        self._changed.wait(HEARTBEAT_SECONDS)
        if not threading.main_thread().is_alive():
            self._stopping = True

    def _leave(self) -> bool:
        self._serving = False
        self._status = RUNNING
        if self._granted and not self._pause_due:
            self._granted -= 1
        if not (self._paused or self._armed or self._jobs):
            self.attention.clear()
        self._changed.notify_all()
        return self._may_stop()

    def _may_stop(self) -> bool:
        return self._paused and (self._pause_due or self._granted == 0)

    def _over(self, status: str, reason: str) -> None:
        self._status, self._reason = status, reason
        self._stopping = self._serving = self._paused = self._pause_due = False
        self._granted = 0
        self._changed.notify_all()

    def _look(self) -> str:
        """Return the status, having noticed a training thread that died without a word."""
        dead = self._thread is not None and not self._thread.is_alive()
        if dead and self._status in (RUNNING, STOPPED):
            self._over(FINISHED, "the training thread has ended")
            self.attention.set()
        return self._status

    def _announce(self) -> None:
        self.attention.set()
        self._changed.notify_all()
