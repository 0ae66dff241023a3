"""Answers as plain data: what may go to another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from tdb.captures import is_tensor
from tdb.queries import array_of
from tdb.results import Result

PLAIN = (type(None), bool, int, float, complex, str, bytes)


def portable(value: Any) -> Any:
    """Return `value` without anything that lives in this process: tensors become arrays, foreign objects their text.

    tdb's own results stay what they are.
    """
    if type(value) in PLAIN or isinstance(value, np.generic):
        return value
    if isinstance(value, np.ndarray):
        return value if value.dtype != object else [portable(each) for each in value.tolist()]
    if is_tensor(value):
        return array_of(value)
    if isinstance(value, Result):
        return Result([portable(part) for part in value.parts], portable(value.data), list(value.notes))
    if is_dataclass(value) and not isinstance(value, type) and type(value).__module__.startswith("tdb."):
        return replace(value, **{each.name: portable(getattr(value, each.name)) for each in fields(value) if each.init})
    if isinstance(value, Mapping):
        return {portable(key): portable(each) for key, each in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(portable(each) for each in value)
    return str(value)
