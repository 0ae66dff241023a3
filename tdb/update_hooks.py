"""Being called before and after every update of any optimizer, from within which functions may come and go.

torch goes through its registries of global optimizer hooks while it calls them, and fails if one is changed meanwhile.
A boundary between two steps may lie inside such a call, and there captures begin and end: so torch is given one hook
for each side that somebody wants to be called on, and those who do are kept here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from traceback import walk_stack
from typing import Any

from tdb.autograd import never_compiled
from tdb.frames import frames_of_threads
from tdb.handle import Handle

Function = Callable[[Any], None]

_before: list[Function] = []
_after: tuple[Function, ...] = ()  # what was added last first; replaced as a whole
_handles: dict[str, Any] = {}  # of torch's, by side


def before_updates(function: Function) -> Handle:
    """Call `function(optimizer)` before each update; those that are added meanwhile are called, too."""
    if "before" not in _handles:
        from torch.optim.optimizer import register_optimizer_step_pre_hook

        _handles["before"] = register_optimizer_step_pre_hook(never_compiled(_call_before))
    _before.append(function)
    return Handle(partial(_forget_before, function))


def after_updates(function: Function) -> Handle:
    """Call `function(optimizer)` after each update, what was added last first."""
    global _after  # noqa: PLW0603 - torch's registry is one for the process, too
    if "after" not in _handles:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        _handles["after"] = register_optimizer_step_post_hook(never_compiled(_call_after))
    _after = (function, *_after)
    return Handle(partial(_forget_after, function))


def tidy() -> None:
    """Leave nothing in torch that nobody wants to be called by; not while torch goes through its hooks."""
    for side, functions, hook in ("before", _before, _call_before), ("after", _after, _call_after):
        if side in _handles and not (functions or _is_called(hook)):
            _handles.pop(side).remove()


def _is_called(function: Callable[..., None]) -> bool:
    """Return whether a function is being called, in whatever thread: the stacks say so, and each call need not."""
    code = function.__code__
    return any(frame.f_code is code for top in frames_of_threads().values() for frame, _ in walk_stack(top))


def _forget_before(function: Function) -> None:
    with suppress(ValueError):
        _before.remove(function)
    tidy()


def _forget_after(function: Function) -> None:
    global _after  # noqa: PLW0603 - as above
    left = list(_after)
    with suppress(ValueError):
        left.remove(function)
    _after = tuple(left)
    tidy()


def _call_before(optimizer: Any, args: Any, kwargs: Any) -> None:
    del args, kwargs
    for function in _before:
        function(optimizer)


def _call_after(optimizer: Any, args: Any, kwargs: Any) -> None:
    del args, kwargs
    told = _after
    for function in told:
        if told is _after or function in _after:
            function(optimizer)
