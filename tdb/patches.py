"""Attributes of other people's classes and modules, replaced for a while and put back as they were."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

_ABSENT = object()


def passed_over(function: Function) -> Function:
    """Let what torch warns of inside `function` name the line that calls it, as in a plain run.

    A warning names the frame so many further out, and Python does not count those of its import system, which it knows
    by the names of their files.
    """
    plain = cast("FunctionType", function)
    code = plain.__code__
    plain.__code__ = code.replace(co_filename=f"{code.co_filename} (as importlib._bootstrap)")
    return function


@dataclass(eq=False)
class _Replacement:
    """One attribute that is replaced; `before` is what stands there when it comes off, `_ABSENT` if it is inherited."""

    owner: Any
    name: str
    before: Any
    made: Any

    def take_off(self) -> None:
        if vars(self.owner).get(self.name) is not self.made:
            for each in _all:  # one that replaces this one is to put back what this one would have
                if each.owner is self.owner and each.name == self.name and each.before is self.made:
                    each.before = self.before
        elif self.before is _ABSENT:
            with suppress(AttributeError):
                delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.before)


_all: list[_Replacement] = []


class Patches:
    """Replacements that come off together."""

    def __init__(self) -> None:
        self._made: list[_Replacement] = []

    def replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replace `owner.name` by what `make` returns of it.

        An attribute that `owner` only inherits is inherited again afterwards.
        """
        before = vars(owner).get(name, _ABSENT)
        replacement = _Replacement(owner, name, before, make(getattr(owner, name)))
        setattr(owner, name, replacement.made)
        self._made.append(replacement)
        _all.append(replacement)

    def take_off(self) -> None:
        """Put everything back, whichever of several replacements comes off first; what others have put there stays."""
        while self._made:
            replacement = self._made.pop()
            _all.remove(replacement)
            replacement.take_off()
