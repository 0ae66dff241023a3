"""Copies of this process: whether one can be made, and how it comes out as this one is.

Only the thread that trains is in a copy, so it is made only where that thread is all that training consists of: no
accelerator, no DataLoader workers, no other threads, neither Python's nor torch's. OpenMP's threads would not be in it
either, and the first parallel region would wait for them for ever: OpenMP is told to let them go just before.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

EVERYTHING = 2  # omp_pause_hard: OpenMP lets go of its threads, and makes new ones when it needs them

# What torch calls threads of its own that training waits for: without them autograd refuses, and gloo waits for ever.
THREADS_OF_TORCH = ("pt_autograd", "pt_gloo", "gloo")

# How the names begin of threads that training goes on without: tdb's own, and those that others keep in reserve.
THREADS_NOT_MISSED = ("tdb", "asyncio_", "tqdm", "pytest")

_first_process = os.getpid()


def why_not() -> str:
    """Return why this process cannot be copied now, empty if it can; called by the thread that trains."""
    if not sys.platform.startswith("linux"):
        return "copies of a process are made on Linux alone"
    if threading.current_thread() is threading.main_thread() and os.getpid() == _first_process:
        return "the script runs in the main thread"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "an accelerator is in use, which no copy of the process could use"
    if multiprocessing.active_children():
        return "DataLoader workers, or other child processes, are at work"
    others = ", ".join(each.name for each in other_threads())
    if others:
        return f"the script has other threads ({others}), which would not be in the copy"
    names = _threads_of_torch()
    return f"torch has threads of its own ({', '.join(names)}), which would not be in the copy" if names else ""


def other_threads() -> list[threading.Thread]:
    """Return the threads that the script has, but for the calling one: a copy would be without them."""
    mine = threading.current_thread(), threading.main_thread()
    return [each for each in threading.enumerate() if each not in mine and not each.name.startswith(THREADS_NOT_MISSED)]


def _threads_of_torch() -> list[str]:
    """Return what threads are called that torch has started and cannot do without, as autograd of a compiled model."""
    names = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            names.add((task / "comm").read_text(encoding="utf-8", errors="replace").strip().rstrip("_0123456789"))
    return sorted(name for name in names if name.startswith(THREADS_OF_TORCH))


def exact_copy() -> int:
    """Fork, as `os.fork`; Python seeds its generator anew in the child, where it goes on as it was here."""
    state = random.getstate()
    with _unwarned():
        process = os.fork()
    if process == 0:
        random.setstate(state)
    return process


@contextmanager
def _unwarned() -> Iterator[None]:
    """Keep Python from warning of other threads at a fork, as it does from 3.12 on: they are known to be no matter.

    `warnings.catch_warnings` would have the script's own warnings, which are shown once, shown once more.
    """
    filters = cast("list[tuple[object, ...]]", warnings.filters)
    ignore = ("ignore", None, DeprecationWarning, None, 0)
    filters.insert(0, ignore)
    try:
        yield
    finally:
        filters.remove(ignore)


def release_openmp() -> None:
    """Let OpenMP's threads go in this process; the next parallel region makes new ones. 12 to 25 ms."""
    for library in _openmp_libraries():
        with suppress(OSError, AttributeError):
            ctypes.CDLL(library).omp_pause_resource_all(EVERYTHING)


def _openmp_libraries() -> list[str]:
    """Return the paths of the OpenMP libraries that are loaded."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    paths = {line.split(maxsplit=5)[-1] for line in lines if "libgomp" in line or "libiomp" in line or "libomp" in line}
    return sorted(path for path in paths if path.startswith("/"))
