"""Being called before and after every update of any optimizer, from within which functions may come and go.

torch goes through its registries of global optimizer hooks while it calls them, and fails if one is changed meanwhile.
A boundary between two steps may lie inside such a call, and there captures begin and end: so torch is given one hook
for each side, and those who want to be called are kept here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from tdb.autograd import never_compiled
from tdb.handle import Handle

Function = Callable[[Any], None]

_before: list[Function] = []
_after: list[Function] = []
_handles: list[Any] = []
_calling = 0


def before_updates(function: Function) -> Handle:
    """Call `function(optimizer)` before each update; those that are added meanwhile are called, too."""
    return _add(_before, function)


def after_updates(function: Function) -> Handle:
    """Call `function(optimizer)` after each update, what was added last first."""
    return _add(_after, function)


def tidy() -> None:
    """Leave nothing in torch if nobody wants to be called; not while torch goes through its hooks."""
    if not (_before or _after or _calling):
        while _handles:
            _handles.pop().remove()


def _add(functions: list[Function], function: Function) -> Handle:
    if not _handles:
        from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

        _handles[:] = [
            register_optimizer_step_pre_hook(never_compiled(_call_before)),
            register_optimizer_step_post_hook(never_compiled(_call_after)),
        ]
    functions.append(function)
    return Handle(partial(_forget, functions, function))


def _forget(functions: list[Function], function: Function) -> None:
    with suppress(ValueError):
        functions.remove(function)
    tidy()


def _call_before(optimizer: Any, args: Any, kwargs: Any) -> None:
    global _calling  # noqa: PLW0603 - torch's registry is one for the process, too
    del args, kwargs
    _calling += 1
    try:
        for function in _before:
            function(optimizer)
    finally:
        _calling -= 1


def _call_after(optimizer: Any, args: Any, kwargs: Any) -> None:
    global _calling  # noqa: PLW0603 - as above
    del args, kwargs
    _calling += 1
    try:
        for function in reversed(_after.copy()):
            if function in _after:
                function(optimizer)
    finally:
        _calling -= 1
