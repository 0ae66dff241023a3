"""Arithmetic beside training: in a thread of its own, while the one that trains goes on.

numpy lets other threads run while it computes. What is computed here belongs to nobody else meanwhile, and takes few
and large calls, between which alone the two threads wait for each other.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import numpy as np

Result = TypeVar("Result")

NAME = "tdb-metrics"


class Job(Generic[Result]):
    """Something that is computed beside training, or where it is asked for if that has not begun by then.

    Args:
        function: computes it, the same however often it is called.
    """

    def __init__(self, function: Callable[[], Result]) -> None:
        self._function = function
        self._future: Future[Result] = Future()
        self._process = os.getpid()
        self._flushes = flushes_denormals()

    def run(self) -> None:
        """Compute it as the thread would that has begun it; in another one."""
        if not self._future.set_running_or_notify_cancel():
            return
        import torch

        try:
            torch.set_flush_denormal(self._flushes)
            self._future.set_result(self._function())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is asked for
            self._future.set_exception(error)

    def result(self) -> Result:
        """Return or raise what the function does, once it has done so.

        In a copy of the process there is no other thread that would do it.
        """
        if self._process != os.getpid() or self._future.cancel():
            return self._function()
        return self._future.result()


class Beside:
    """A thread that computes one job after the other; it begins with the first, and ends with this object."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._process = 0

    def begin(self, function: Callable[[], Result]) -> Job[Result]:
        """Begin to compute what `function` returns."""
        if self._process != os.getpid():  # a copy of the process has neither the thread nor a use for its jobs
            self._jobs, self._process = SimpleQueue(), os.getpid()
            threading.Thread(target=_work, args=(self._jobs,), name=NAME, daemon=True).start()
            weakref.finalize(self, self._jobs.put, None)
        job = Job(function)
        self._jobs.put(job)
        return job


def flushes_denormals() -> bool:
    """Return whether numbers that are all but zero are zero to this thread; each has a setting of its own."""
    return bool(np.finfo(np.float32).tiny * np.float32(0.5) == 0)


def _work(jobs: SimpleQueue[Job[Any] | None]) -> None:
    while (job := jobs.get()) is not None:
        job.run()
        del job  # and the memory that it has computed in, while the next one is awaited
