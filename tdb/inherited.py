"""What the processes inherit that a script starts: those that work for it are not to hear a Ctrl-C."""

from __future__ import annotations

import functools
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tdb.patches import Patches


@contextmanager
def interrupts_kept_from_workers() -> Iterator[None]:
    """Keep SIGINT from the processes that the calling thread starts, while the context lasts, but from no programs.

    Children inherit what a thread has blocked: Ctrl-C in the terminal must pause training, not kill its DataLoader
    workers. A program is ended by its script with a SIGINT, which it has to hear.
    """
    patches = Patches()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    patches.replace(subprocess.Popen, "__init__", _hearing_interrupts)
    try:
        yield
    finally:
        patches.take_off()


def _hearing_interrupts(plain: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(plain)
    def begin(*arguments: Any, **words: Any) -> None:
        before = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        try:
            plain(*arguments, **words)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    return begin
