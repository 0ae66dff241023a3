"""`breakpoint()` while a script runs under tdb: it stops there, as pdb's does."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tdb.active import current_controller

SET_TRACE, BREAKPOINT = "set_trace()", "breakpoint()"
STOPS_HERE = frozenset({SET_TRACE, BREAKPOINT})  # reasons of stops at the very line that asks for them
REFUSAL = (
    "does not stop in a worker process: it cannot read from the terminal. In a DataLoader it does with num_workers=0"
)

_refused_in = 0
_open: list[object] = []
_before = sys.breakpointhook


def is_refused(reason: str) -> bool:
    """Return whether this is a process of multiprocessing, where nobody can answer a prompt; say so once."""
    global _refused_in  # noqa: PLW0603 - of each process
    if multiprocessing.parent_process() is None:
        return False
    if _refused_in != os.getpid():
        _refused_in = os.getpid()
        sys.stderr.write(f"*** {reason} {REFUSAL}\n")
    return True


def stop_at_breakpoint(*args: Any, **kws: Any) -> None:
    """What `breakpoint()` calls while a script runs under tdb; takes what any debugger may take."""
    controller = current_controller()
    if is_refused(BREAKPOINT):
        return
    if controller is None:  # a child process of the script
        sys.__breakpointhook__(*args, **kws)
        return
    if not controller.gate.passes_breakpoints:
        controller.stop_here(BREAKPOINT)


@contextmanager
def breakpoints_stop_here() -> Iterator[None]:
    """Let `breakpoint()` open tdb's shell while the context lasts, unless PYTHONBREAKPOINT names another debugger.

    Contexts of several threads may end in any order: the last one puts back what was there before the first.
    """
    global _before  # noqa: PLW0603 - sys.breakpointhook is one for the process, too
    here = object()
    if not _open:
        _before = sys.breakpointhook
        if not os.environ.get("PYTHONBREAKPOINT"):
            sys.breakpointhook = stop_at_breakpoint
    _open.append(here)
    try:
        yield
    finally:
        _open.remove(here)
        if not _open:
            sys.breakpointhook = _before
