"""The loop's own variables as expressions see them: where it waits, in the innermost frame of the user's files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.captures import is_tensor
from tdb.errors import TdbError, in_words
from tdb.queries import array_of
from tdb.variables import variables_of

if TYPE_CHECKING:
    from types import FrameType


class NoNumberError(TdbError):
    """A variable is nothing that can be computed with."""

    code = "no_number"


class LoopVariables:
    """Variables by name, asked for where their frame stands still; iterating names those of `numbers_in`.

    Args:
        frame: returns the frame that is looked at now, None if there is none.
    """

    def __init__(self, frame: Callable[[], FrameType | None]) -> None:
        self._frame = frame

    def value(self, name: str) -> Any:
        """Return what "accuracy" or "self.meters.0.average" is: after dots are attributes, or entries by key or number.

        It is a number, or an array that is the caller's own.

        Raises:
            KeyError: there is no such variable, or it is None.
            NoNumberError: it is no number, tensor or array of numbers.
            TdbError: it cannot be read.
        """
        first, _, rest = name.partition(".")
        frame = self._frame()
        if frame is None:
            raise KeyError(name)
        local = variables_of(frame)
        value = local[first] if first in local else frame.f_globals[first]
        while rest:
            part, _, deeper = (rest, "", "") if isinstance(value, Mapping) and rest in value else rest.partition(".")
            value, rest = _part(value, part, name), deeper
        if value is None:
            raise KeyError(name)
        if not _is_of_numbers(value):
            kind = type(value).__name__
            raise NoNumberError(f"{name} is no number, but {kind}", "Expressions are of numbers, tensors and arrays")
        array = np.array(array_of(value))  # the loop may write to it
        return array[()] if array.ndim == 0 else array

    def __iter__(self) -> Iterator[str]:
        frame = self._frame()
        return iter([] if frame is None else numbers_in(frame))


def numbers_in(frame: FrameType) -> list[str]:
    """Name a frame's own variables that are numbers, tensors or arrays of them, or None, as what is none yet."""
    found = variables_of(frame).items()
    return [name for name, value in found if name[:1] != "_" and (value is None or _is_of_numbers(value))]


def _part(value: Any, part: str, name: str) -> Any:
    """Return an entry of a dictionary or list, or an attribute of anything else."""
    if isinstance(value, Mapping):
        return value[part]
    try:
        is_number = isinstance(value, list | tuple) and part.lstrip("-").isdigit()
        return value[int(part)] if is_number else getattr(value, part)
    except (AttributeError, IndexError):
        raise KeyError(name) from None
    except Exception as error:  # a property of the script's own
        raise TdbError(f"{name} cannot be read: {in_words(error)}") from error


def _is_of_numbers(value: Any) -> bool:
    """Return whether a value can be made an array without asking it for its entries, as a dataset would be."""
    if isinstance(value, list | tuple):
        return all(isinstance(each, Number) for each in value)
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "fiubc"
    return isinstance(value, Number) or is_tensor(value)
