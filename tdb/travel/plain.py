"""States as JSON: no pickle, so that nothing in a file can run. What is a tensor goes beside it, and is named there."""

from __future__ import annotations

import base64
import dataclasses
import math
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from tdb.captures import is_tensor
from tdb.errors import StateError
from tdb.travel.held import Held

Lift = Callable[[Any], str]


def encoded(value: Any, lift: Lift) -> Any:
    """Return `value` as JSON can hold it: one dictionary with one key, its kind, for whatever JSON does not have.

    Args:
        value: numbers, texts, bytes, arrays, tensors, and containers, named tuples and dataclasses of these.
        lift: takes a tensor, and returns the name under which it is found again.

    Raises:
        StateError: there is something else in it.
    """
    kind = type(value)
    if value is None or kind in (bool, int, str) or (kind is float and math.isfinite(value)):
        return value
    if kind is list:
        return [encoded(each, lift) for each in value]
    if kind is dict:
        return {"dict": [[encoded(key, lift), encoded(each, lift)] for key, each in value.items()]}
    if kind in ENCODERS:
        name, encode = ENCODERS[kind]
        return {name: encoded(encode(value), lift)}
    if is_tensor(value):
        return {"tensor": lift(value)}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufcSU":
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"array": [value.dtype.str, list(value.shape), data, isinstance(value, np.generic)]}
    fields = fields_of(value)
    if fields is None:
        raise StateError(f"a {kind.__qualname__} cannot be written to a file", "Numbers, texts, arrays and tensors can")
    items = [[name, encoded(getattr(value, name), lift)] for name in fields]
    return {"object": [kind.__module__, kind.__qualname__, items]}


ENCODERS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    float: ("float", repr),
    complex: ("complex", repr),
    bytes: ("bytes", lambda value: base64.b64encode(value).decode()),
    tuple: ("tuple", list),
    set: ("set", list),
    frozenset: ("frozenset", list),
    Counter: ("counter", dict),
    Held: ("held", lambda value: list(value.path)),
}

DECODERS: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "complex": complex,
    "bytes": base64.b64decode,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "counter": Counter,
    "held": lambda path: Held(tuple(path)),
}


def decoded(value: Any, tensor: Callable[[str], Any]) -> Any:
    """Return what `encoded` was given; `tensor` finds a tensor by its name.

    Raises:
        StateError: it names a class that is not in use here.
        ValueError, TypeError, LookupError: nothing that `encoded` returns.
    """
    if isinstance(value, list):
        return [decoded(each, tensor) for each in value]
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind == "dict":
        return {decoded(key, tensor): decoded(each, tensor) for key, each in content}
    if kind == "tensor":
        return tensor(content)
    if kind == "array":
        name, shape, data, is_scalar = content
        array = np.frombuffer(base64.b64decode(data), np.dtype(name)).reshape(shape).copy()
        return array[()] if is_scalar else array
    if kind == "object":
        module, name, items = content
        return _rebuilt(module, name, {key: decoded(each, tensor) for key, each in items})
    return DECODERS[kind](decoded(content, tensor))


def fields_of(value: Any) -> tuple[str, ...] | None:
    """Return the names of the fields of a named tuple or dataclass; None of anything else."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return tuple(value._fields)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return tuple(field.name for field in dataclasses.fields(value))
    return None


def _rebuilt(module: str, name: str, values: dict[str, Any]) -> Any:
    """Return an object of a class that this process has imported, with these values; no code of the class runs."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, tuple) and hasattr(found, "_fields"):
        return tuple.__new__(found, [values[field] for field in found._fields])
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise StateError(f"it needs the class {module}.{name}, which is not in use here")
    made = object.__new__(found)
    for field in dataclasses.fields(found):
        object.__setattr__(made, field.name, values[field.name])
    return made
