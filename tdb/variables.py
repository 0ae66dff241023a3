"""The variables of a frame, looked at and assigned without keeping alive what the frame itself lets go.

Before Python 3.13 a function's `f_locals` is a dictionary that stays with its frame and is filled anew at each look.
Until the next one it holds what the variables were: where nobody looks again, a step's activations to the end of
training.
"""

from __future__ import annotations

import ctypes
import sys
from inspect import CO_OPTIMIZED
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

ONLY_THE_FRAME = 3  # references to its dictionary: the frame's, and two of whoever counts them


def variables_of(frame: FrameType) -> Mapping[str, Any]:
    """Return a frame's local variables as they are now; those of a module are its own dictionary."""
    local = frame.f_locals
    if not _is_filled_anew(frame):
        return local
    found = dict(local)
    if sys.getrefcount(local) == ONLY_THE_FRAME:  # or the script has called `locals()`, and looks at it
        _empty(frame, local)
    return found


def namespace_of(frame: FrameType) -> dict[str, Any] | None:
    """Return where a module's statements or a class's body assign; None for a function, whose locals have places.

    That is `f_locals`, unless one of its lines runs a comprehension: from Python 3.12 on, `f_locals` is made up then.
    """
    if frame.f_code.co_flags & CO_OPTIMIZED:
        return None
    local = frame.f_locals
    return local if local is frame.f_locals else frame.f_globals


def assign_variables(frame: FrameType, values: Mapping[str, Any]) -> None:
    """Assign local variables of a running function."""
    local = frame.f_locals
    local.update(values)
    if _is_filled_anew(frame):
        ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
        if sys.getrefcount(local) == ONLY_THE_FRAME:
            _empty(frame, local)


def _empty(frame: FrameType, local: dict[str, Any]) -> None:
    """Let go of the variables that have places in the frame; names that `exec` has made there are nowhere else."""
    code = frame.f_code
    for name in (*code.co_varnames, *code.co_cellvars, *code.co_freevars):
        local.pop(name, None)


def _is_filled_anew(frame: FrameType) -> bool:
    return sys.version_info < (3, 13) and bool(frame.f_code.co_flags & CO_OPTIMIZED)
