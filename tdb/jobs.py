"""What one thread wants done in another, its answer, and a quiet end of a thread that was told to stop."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple, TypeVar

from tdb.errors import StateError, TrainingStopped

Result = TypeVar("Result")
Item = TypeVar("Item")

_here = threading.local()

# How often a blocked thread looks for an interpreter that exits or a training thread that died without a word.
HEARTBEAT_SECONDS = 0.2


class Answer(Future[Result]):
    """What the training thread will answer. Waiting for it ends when training does, even if that ends without a word.

    Args:
        look: called every now and then while somebody waits; it settles this future if nobody else will.
    """

    def __init__(self, look: Callable[[], object]) -> None:
        super().__init__()
        self._look = look

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the function raised, or None; as `Future.exception`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if not self.done():
                self._look()
            remaining = HEARTBEAT_SECONDS if deadline is None else deadline - time.monotonic()
            try:
                return super().exception(max(0.0, min(remaining, HEARTBEAT_SECONDS)))
            except TimeoutError:
                if deadline is not None and remaining <= HEARTBEAT_SECONDS:
                    raise

    def result(self, timeout: float | None = None) -> Result:
        """Return or raise what the function did; as `Future.result`."""
        try:
            self.exception(timeout)
            return super().result(0)
        finally:
            del self  # an error would hold this frame, the frame this future, and the future the error

    def refuse(self, reason: str) -> None:
        """Answer with a StateError, unless whoever asked has given up already."""
        if self.set_running_or_notify_cancel():
            self.set_exception(StateError(reason))


def at_the_prompt() -> bool:
    """Return whether this thread runs what another one has asked for: hooks of captures and stops ignore that."""
    asked: bool = getattr(_here, "at_the_prompt", False)
    return asked


class Job(NamedTuple):
    """A function that another thread wants run in the training thread."""

    function: Callable[[], Any]
    answer: Answer[Any]

    def run(self) -> None:
        """Run the function; whatever it raises belongs to the thread that asked."""
        if not self.answer.set_running_or_notify_cancel():
            return
        before, _here.at_the_prompt = at_the_prompt(), True
        try:
            self.answer.set_result(self.function())
        except BaseException as error:  # noqa: BLE001 - handed over to the thread that asked, nothing is swallowed
            self.answer.set_exception(error)
            del self  # the error holds this frame: see Answer.result
        finally:
            _here.at_the_prompt = before


class Jobs(deque[Job]):
    """Jobs in the order in which they came; any thread may add to them while another takes them out."""

    def run_all(self) -> None:
        """Run them, in the training thread."""
        for job in taken(self):
            job.run()

    def refuse_all(self) -> None:
        """There is no training any more that could run them."""
        for job in taken(self):
            job.answer.refuse("training is over")


def taken(queue: deque[Item]) -> Iterator[Item]:
    """Take everything out of a queue that another thread may be filling or emptying."""
    while True:
        try:
            yield queue.popleft()
        except IndexError:
            return


def let_threads_end_quietly() -> None:
    """Let TrainingStopped end a bare thread without a traceback, as `threading` does for SystemExit itself alone."""
    hook = threading.excepthook
    if not (isinstance(hook, partial) and hook.func is _all_but_training_stopped):
        threading.excepthook = partial(_all_but_training_stopped, hook)


def _all_but_training_stopped(hook: Callable[[Any], Any], arguments: threading.ExceptHookArgs) -> None:
    if not issubclass(arguments.exc_type, TrainingStopped):
        hook(arguments)
