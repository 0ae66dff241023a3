"""What is typed at the prompt runs in the training thread, and a Ctrl-C is heard in the main one: it is passed on."""

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


class Interruptible(Generic[Result]):
    """A function that another thread can interrupt while it runs, and never what its thread does after it.

    Args:
        function: what it does.
    """

    def __init__(self, function: Callable[[], Result]) -> None:
        self._function = function
        self._lock = threading.Lock()  # of the thread that the function runs in
        self._thread: threading.Thread | None = None
        self._is_interrupted = self._is_due = False

    def __call__(self) -> Result:
        """Run the function; raise KeyboardInterrupt in it if `interrupt` is called meanwhile."""
        try:
            try:
                self._begin()
                return self._function()
            finally:
                self._end()
        except KeyboardInterrupt:
            self._end()  # it may have come in the midst of that
            raise

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt at the next line of Python that the function runs, or in its place."""

        class Interruption(KeyboardInterrupt):
            def __init__(_, *arguments: object) -> None:  # noqa: N805 - `self` is who waits for it
                super().__init__(*arguments)
                self._is_due = False

        Interruption.__name__ = Interruption.__qualname__ = KeyboardInterrupt.__name__
        with self._lock:
            self._is_interrupted = True
            if self._thread is not None and not self._is_due:
                self._is_due = True
                raise_in_thread(self._thread, Interruption)

    def _begin(self) -> None:
        with self._lock:
            if self._is_interrupted:
                raise KeyboardInterrupt
            self._thread = threading.current_thread()

    def _end(self) -> None:
        with self._lock:
            self._thread = None
        with suppress(KeyboardInterrupt):
            for _ in range(NOTICES_WITHIN):  # it was raised in this thread, which has not come to notice it
                if not self._is_due:
                    break
                time.sleep(0)
