"""A mode of torch that sees each of its functions being called, put on and taken off wherever training stands.

A step may begin or end inside other modes of the script, which are left before this one comes off or were put on after
it, and inside `Tensor.backward`, of which torch lets the modes know by taking them off meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from tdb.autograd import is_being_compiled, never_compiled
from tdb.patches import Patches, passed_over

Operate = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""Called with a function of torch and its arguments; returns what the function returns."""


class FunctionMode:
    """Lets `operate` call each of torch's functions in this thread, from `put_on` to `take_off`."""

    def __init__(self, operate: Operate) -> None:
        self._mode = _mode(operate)
        self._patches = Patches()
        self._is_on = False

    def put_on(self) -> None:
        """See functions from now on."""
        import torch

        self._is_on = True
        self._patches.replace(torch.Tensor, "backward", self._aside)
        _put_below(self._mode)

    def take_off(self) -> None:
        """See no more."""
        self._is_on = False
        self._patches.take_off()
        _take_out(self._mode)

    def _aside(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        """Return `Tensor.backward` without the mode: a step may end in it, which torch's own way leaves on for ever."""

        @wraps(plain)
        def backward(tensor: Any, *arguments: Any, **words: Any) -> Any:
            was_here = _take_out(self._mode)
            try:
                return plain(tensor, *arguments, **words)
            finally:
                if was_here and self._is_on:
                    _put_below(self._mode)

        return never_compiled(passed_over(backward))


def _mode(operate: Operate) -> Any:
    from torch.overrides import TorchFunctionMode

    operate = never_compiled(operate)

    class Watching(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, arguments: Any = (), words: Any = None) -> Any:
            del types
            if is_being_compiled():
                return function(*arguments, **(words or {}))
            return operate(function, arguments, words or {})

    return Watching()


def _put_below(mode: Any) -> None:
    """Put a mode on below all others, so that leaving one of those does not take this one off in its place."""
    from torch.utils._device import DeviceContext

    others = _all_off()
    if others and isinstance(others[-1], DeviceContext):  # torch finds it at the bottom, and nowhere else
        _push(others.pop())
    for each in (mode, *reversed(others)):
        _push(each)


def _take_out(mode: Any) -> bool:
    """Take a mode from among the others; return whether it was there."""
    modes = _all_off()
    for each in reversed(modes):
        if each is not mode:
            _push(each)
    return any(each is mode for each in modes)


def _all_off() -> list[Any]:
    """Take all modes off and return them, the one that was put on last first."""
    from torch._C import _len_torch_function_stack
    from torch.overrides import _pop_mode

    return [_pop_mode() for _ in range(_len_torch_function_stack())]  # type: ignore[no-untyped-call]


def _push(mode: Any) -> None:
    from torch.overrides import _push_mode

    _push_mode(mode)  # type: ignore[no-untyped-call]
