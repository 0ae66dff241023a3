"""The main thread's inbox: what only that thread may do, of a script that runs in a worker thread."""

from __future__ import annotations

import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from math import inf
from typing import Any

# Longer than any single thing that the main thread does between two looks into its inbox.
ANSWER_SECONDS = 30.0


class MainThread:
    """The main thread's inbox: functions that only it may run."""

    def __init__(self) -> None:
        self._inbox: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        torch = sys.modules.get("torch")
        self.torch_threads: int = torch.get_num_threads() if torch is not None else 1
        self.interrupt_handler: Any = signal.default_int_handler
        self.leaving: int | None = None  # the exit status, once a signal has told tdb to leave
        self.served_at = -inf  # when a function was run last, by time.monotonic
        self.ends = False  # it does so: another signal changes nothing
        self.raise_in_script: Callable[[Exception], None] = _raised_here

    def call(self, function: Callable[[], Any]) -> Any:
        """Run `function` in the main thread and return or raise what it does."""
        if threading.current_thread() is threading.main_thread():
            return function()
        future: Future[Any] = Future()
        self._inbox.put((function, future))
        return future.result(ANSWER_SECONDS)

    def later(self, function: Callable[[], Any]) -> None:
        """Run `function` in the main thread when that looks into its inbox; a signal handler may call this."""
        self._inbox.put((function, Future()))

    def attend(self) -> None:
        """Run what has arrived; the main thread calls this whenever it waits.

        Raises:
            SystemExit: a signal has told tdb to leave.
        """
        if self.leaving is not None:
            raise SystemExit(self.leaving)
        while not self._inbox.empty():
            function, future = self._inbox.get()
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - handed to the thread that asked
                future.set_exception(error)
            self.served_at = time.monotonic()


def _raised_here(error: Exception) -> None:
    raise error
