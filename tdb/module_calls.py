"""Being called before and after the calls of modules of a class, from within which functions may come and go.

It is the class's `__call__` that tells. A hook on the modules themselves would be copied and pickled with them; with a
global one, torch goes the long way through each call of all modules there are, and those of other classes, such as the
transforms of a dataset, are to cost nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from tdb.autograd import is_being_compiled
from tdb.handle import Handle
from tdb.patches import Patches, passed_over

Before = Callable[[Any, tuple[Any, ...], dict[str, Any]], object]
After = Callable[[Any, Any], object]


class _Calls:
    """Who is told of the calls of one class's modules."""

    def __init__(self, kind: type[Any]) -> None:
        self.before: tuple[Before, ...] = ()
        self.after: tuple[After, ...] = ()
        self._kind = kind
        self._patches = Patches()
        self._patches.replace(kind, "__call__", self._telling)

    def forget(self, function: Before | After) -> None:
        """Call a function no more, and leave the class as it was if nobody wants to be called."""
        self.before = tuple(each for each in self.before if each != function)
        self.after = tuple(each for each in self.after if each != function)
        if not (self.before or self.after):
            self._patches.take_off()
            _told.pop(self._kind, None)

    def _telling(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        kind, inherited = self._kind, "__call__" not in vars(self._kind)

        @passed_over
        @functools.wraps(plain)
        def __call__(module: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
            is_told = not is_being_compiled() and type(module) is kind
            if is_told:
                for before in self.before:
                    before(module, args, kwargs)
            # What is inherited is looked up anew: others replace it for a while, too.
            call: Any = super(kind, module) if inherited else functools.partial(plain, module)
            output = call.__call__(*args, **kwargs)
            if is_told:
                for after in self.after:
                    after(module, output)
            return output

        return __call__


_told: dict[type[Any], _Calls] = {}


def before_calls(kind: type[Any], function: Before) -> Handle:
    """Call `function(module, args, kwargs)` before each call of a module whose class is `kind` itself."""
    calls = _calls_of(kind)
    calls.before += (function,)
    return Handle(functools.partial(calls.forget, function))


def after_calls(kind: type[Any], function: After) -> Handle:
    """Call `function(module, output)` after each call of a module whose class is `kind` itself, unless it raises."""
    calls = _calls_of(kind)
    calls.after += (function,)
    return Handle(functools.partial(calls.forget, function))


def _calls_of(kind: type[Any]) -> _Calls:
    if kind not in _told:
        _told[kind] = _Calls(kind)
    return _told[kind]
