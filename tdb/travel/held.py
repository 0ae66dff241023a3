"""States of any shape, taken apart into tensors and the structure around them, and put together again.

So that a tensor in a state of the user's own is copied, shared between checkpoints and counted like any other: a list
of losses that grows with the run costs what was added to it, not its whole length each time.
"""

from __future__ import annotations

import copy
import dataclasses
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.captures import is_tensor
from tdb.travel.slots import Path

if TYPE_CHECKING:
    from torch import Tensor

    from tdb.travel.slots import Copied

ATOMS = frozenset({int, float, bool, str, bytes, complex, type(None)})


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """Stands where a tensor was taken out.

    Attributes:
        path: of its copy.
    """

    path: Path


def taken_apart(value: Any, path: Path, tensors: dict[Path, Tensor], before: Any = None) -> Any:
    """Return a copy of `value` in which `Held` stand for tensors; those are put into `tensors`, under longer paths.

    Containers, named tuples and dataclasses are rebuilt; a class of its own that derives from list, tuple or dict
    becomes the plain one, because its constructor may want anything.

    Args:
        value: the state.
        path: where it belongs.
        tensors: where tensors are put.
        before: what this has returned for an earlier state: what was kept as it is then, because it cannot change, is
            not looked at again.
    """
    kind = type(value)
    if kind in ATOMS:
        return value
    if _only_longer(value, before):
        return value[:] if kind is list else value
    if is_tensor(value):
        while path in tensors:  # keys that are written alike
            path = (*path, "again")
        tensors[path] = value
        return Held(path)
    if isinstance(value, np.ndarray):
        return value.copy()
    if kind is Counter:
        return value.copy()
    if _cannot_change(value):
        return value
    return rebuilt(
        value, lambda key, item: taken_apart(item, (*path, _step(key)), tensors, _part(before, key)), _copied
    )


def put_together(value: Any, tensors: Mapping[Path, Copied]) -> Any:
    """Return the state that `taken_apart` was given; its tensors are new ones."""
    if type(value) in ATOMS:
        return value
    if isinstance(value, Held):
        return tensors[value.path].own()
    if isinstance(value, np.ndarray | Counter):
        return value.copy()
    return rebuilt(value, lambda _, item: put_together(item, tensors), _copied)


def rebuilt(value: Any, part: Callable[[Any, Any], Any], other: Callable[[Any], Any]) -> Any:
    """Return a container of what `part` returns for (key, item) of each part; for anything else, what `other` does."""
    if isinstance(value, Mapping):
        return {key: part(key, item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return type(value)._make(part(number, item) for number, item in enumerate(value))
    if isinstance(value, list | tuple):
        if len(value) > 0 and type(value[0]) in ATOMS and ATOMS.issuperset(map(type, value)):
            return value[:] if isinstance(value, list) else value  # the hundreds of numbers of a generator's state
        if len(value) > 0 and all(map(_cannot_change, value)):
            return value[:] if isinstance(value, list) else value
        items = [part(number, item) for number, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        copied = copy.copy(value)
        for field in dataclasses.fields(value):
            object.__setattr__(copied, field.name, part(field.name, getattr(value, field.name)))  # also where frozen
        return copied
    return other(value)


def _only_longer(value: Any, before: Any) -> bool:
    """Return whether a list or tuple is an earlier one, kept as it is then, and further parts that cannot change."""
    if type(value) not in (list, tuple) or type(before) is not type(value):
        return False
    return value is before or (_starts_with(value, before) and all(map(_cannot_change, value[len(before) :])))


def _starts_with(value: Sequence[Any], start: Sequence[Any]) -> bool:
    """Return whether a sequence begins with the very objects of another one, of which there are some."""
    return 0 < len(start) <= len(value) and all(map(operator.is_, start, value))


def _cannot_change(value: Any) -> bool:
    """Return whether `value` is an atom, or a frozen dataclass of nothing but such: a list of what was becomes long."""
    if type(value) in ATOMS:
        return True
    parameters = getattr(value, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen or not hasattr(value, "__dict__"):
        return False
    return ATOMS.issuperset(map(type, vars(value).values()))


def _part(container: Any, key: Any) -> Any:
    """Return the part of a container that `rebuilt` names by `key`; None where there is none."""
    if isinstance(container, dict):
        return container.get(key)
    if isinstance(container, list | tuple):
        return container[key] if key.__class__ is int and key < len(container) else None
    return getattr(container, key, None) if isinstance(key, str) else None


def _step(key: Any) -> str | int:
    """Return a key as a part of a path, which JSON can hold."""
    return key if type(key) in (str, int) else repr(key)


def _copied(value: Any) -> Any:
    """Return a copy of a set; other objects are values, or nothing that could be copied without side effects."""
    return copy.copy(value) if isinstance(value, set | frozenset | bytearray) else value
