"""`breakpoint()` while a script runs under tdb: it stops there, as pdb's does."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tdb.active import current_controller

SET_TRACE, BREAKPOINT = "set_trace()", "breakpoint()"
STOPS_HERE = frozenset({SET_TRACE, BREAKPOINT})  # reasons of stops at the very line that asks for them

_open: list[object] = []
_before = sys.breakpointhook


def stop_at_breakpoint(*args: Any, **kws: Any) -> None:
    """What `breakpoint()` calls while a script runs under tdb; takes what any debugger may take."""
    controller = current_controller()
    if controller is None:  # a child process of the script
        sys.__breakpointhook__(*args, **kws)
        return
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
