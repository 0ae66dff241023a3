"""What is typed runs in the training thread, at pdb's prompt too, and a Ctrl-C is heard in another: it is passed on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Generic, Protocol, TypeVar, runtime_checkable

from tdb.raising import raise_in_thread

Result = TypeVar("Result")

NOTICES_WITHIN = 1000
"""Turns of a loop of Python in which a thread notices what was raised in it; the first, but for what swallows it."""


@runtime_checkable
class Listens(Protocol):
    """Who hears of a Ctrl-C in another way than by a KeyboardInterrupt, as where that is another process."""

    def listening(self, interrupt: Callable[[], object]) -> AbstractContextManager[None]:
        """Call `interrupt` if there is one meanwhile."""


class Interruptible:
    """A stretch of what a thread does in which another can interrupt it, and never what it does after that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of the thread
        self._thread: threading.Thread | None = None
        self._is_due = False  # an exception was raised in the thread, and has not come yet

    def begin(self) -> None:
        """The stretch begins, in this thread."""
        self._thread = threading.current_thread()

    def interrupt(self) -> bool:
        """Raise KeyboardInterrupt at the next line of Python that the stretch runs; return whether it is under way."""
        with self._lock:
            if self._thread is None:
                return False
            if not self._is_due:
                self._is_due = True
                raise_in_thread(self._thread, _interruption(self))
            return True

    def note_interruption(self) -> None:
        """The exception that was raised has come."""
        self._is_due = False

    def end(self) -> None:
        """The stretch is over; to be called again if a KeyboardInterrupt comes out of this."""
        with self._lock:
            self._thread = None
        with suppress(KeyboardInterrupt):
            for _ in range(NOTICES_WITHIN):  # it was raised in this thread, which has not come to notice it
                if not self._is_due:
                    break
                time.sleep(0)


class Evaluation(Generic[Result]):
    """A function that another thread can interrupt while it runs, or before.

    Args:
        function: what it does.
    """

    def __init__(self, function: Callable[[], Result]) -> None:
        self._function = function
        self._interruptible = Interruptible()
        self._is_interrupted = False

    def __call__(self) -> Result:
        """Run the function; raise KeyboardInterrupt in it if `interrupt` is called meanwhile, or was."""
        try:
            try:
                self._interruptible.begin()
                if self._is_interrupted:
                    raise KeyboardInterrupt
                return self._function()
            finally:
                self._interruptible.end()
        except KeyboardInterrupt:
            self._interruptible.end()  # it may have come in the midst of that
            raise

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt at the next line of Python that the function runs, or in its place."""
        self._is_interrupted = True
        self._interruptible.interrupt()


def _interruption(interruptible: Interruptible) -> type[KeyboardInterrupt]:
    """Return a KeyboardInterrupt that tells when it has come: one raised in another thread comes when it will."""

    class Interruption(KeyboardInterrupt):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)
            interruptible.note_interruption()

    # Its type is shown, which is to be the one that everybody knows.
    Interruption.__name__ = Interruption.__qualname__ = KeyboardInterrupt.__name__
    Interruption.__module__ = KeyboardInterrupt.__module__
    return Interruption
