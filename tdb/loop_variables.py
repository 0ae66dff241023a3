"""The loop's own variables as expressions see them: where it waits, in the innermost frame of the user's files."""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.captures import is_tensor
from tdb.errors import TdbError, in_a_line
from tdb.guard import generators_kept
from tdb.queries import array_of

if TYPE_CHECKING:
    from tdb.results import Array

# What they hold is found without running code of the script's.
PLAIN = frozenset({dict, OrderedDict, list, tuple, deque})


class NoNumberError(TdbError):
    """A variable is nothing that can be computed with."""

    code = "no_number"


class LoopVariables:
    """Variables by name, asked for where their frame stands still; iterating names those of `numbers_in`.

    Args:
        scopes: gives where variables are looked for now, the innermost first; none if no frame is known.
    """

    def __init__(self, scopes: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
        self._scopes = scopes

    def value(self, name: str) -> Any:
        """Return what "accuracy" or "self.meters.0.average" is: after dots are attributes, or entries by key or number.

        It is a number, or an array that is the caller's own.

        Raises:
            KeyError: there is no such variable, or it is None.
            NoNumberError: it is no number, tensor or array of numbers.
            TdbError: it cannot be read.
        """
        first, _, rest = name.partition(".")
        scope = next((scope for scope in self._scopes() if first in scope), None)
        if scope is None:
            raise KeyError(name)
        value = scope[first]
        while rest:
            value, rest = _deeper(value, rest, name)
        if value is None:
            raise KeyError(name)
        if not _is_of_numbers(value):
            kind = type(value).__name__
            raise NoNumberError(f"{name} is no number, but {kind}", "Expressions are of numbers, tensors and arrays")
        array = _array(value, name)
        return array[()] if array.ndim == 0 else array

    def __iter__(self) -> Iterator[str]:
        return iter(numbers_in(next(iter(self._scopes()), {})))


def numbers_in(variables: Mapping[str, Any]) -> list[str]:
    """Name the variables that are numbers, tensors or arrays of them, or None, as what is none yet."""
    return [name for name, value in variables.items() if name[:1] != "_" and (value is None or _is_of_numbers(value))]


def _deeper(value: Any, rest: str, name: str) -> tuple[Any, str]:
    """Return what the first part of "meters.0.average" names in a value, and the other parts.

    Raises:
        KeyError: there is nothing of this name.
        TdbError: code of the script's has failed.
    """
    with nullcontext() if _is_stored(value, rest.partition(".")[0]) else generators_kept():
        try:
            return _entry(value, rest)
        except (AttributeError, LookupError):
            raise KeyError(name) from None
        except Exception as error:  # a property of the script's own
            raise TdbError(f"{name} cannot be read: {in_a_line(error)}") from error


def _entry(value: Any, rest: str) -> tuple[Any, str]:
    """Return an entry of a dictionary or a list, or an attribute, and the parts after it."""
    part, _, deeper = rest.partition(".")
    is_place = part.removeprefix("-").isdecimal()
    if isinstance(value, Mapping):
        words = rest.split(".")
        for count in range(len(words), 0, -1):  # there may be dots in a key, too
            key = ".".join(words[:count])
            if key in value:
                return value[key], ".".join(words[count:])
        if is_place and int(part) in value:
            return value[int(part)], deeper
    elif is_place and (isinstance(value, Sequence) or _is_module(value)):
        return value[int(part)], deeper
    return getattr(value, part), deeper


def _is_stored(value: Any, part: str) -> bool:
    """Return whether a part of a value is found without running code of the script's, which may draw random numbers."""
    kind = type(value)
    if kind in PLAIN or is_tensor(value):
        return True
    if hasattr(kind, part) or getattr(kind, "__getattribute__", None) is not object.__getattribute__:
        return False
    return part in getattr(value, "__dict__", ()) or _is_module(value)


def _is_module(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def _is_of_numbers(value: Any) -> bool:
    """Return whether a value can be made an array without asking it for its entries, as a dataset would be."""
    if isinstance(value, list | tuple | deque):
        return all(issubclass(kind, Number) for kind in set(map(type, value))) or all(map(_is_one_entry, value))
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "fiubc"
    return isinstance(value, Number) or is_tensor(value)


def _is_one_entry(value: Any) -> bool:
    return isinstance(value, Number) or (is_tensor(value) and not value.is_nested and value.dim() == 0)


def _array(value: Any, name: str) -> Array:
    """Return a copy of a value: the loop may write to it.

    Raises:
        NoNumberError: its numbers are not here, or of a kind that is none of numpy's.
    """
    try:
        if isinstance(value, deque | list | tuple):
            return np.array([array_of(each) if is_tensor(each) else each for each in value])
        return np.array(array_of(value))
    except TdbError as error:
        raise NoNumberError(f"{name} is no number: {error}") from error
