"""Captured values by name: `bcl_tensors.rank_score[0:5, 17]`."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from types import EllipsisType
from typing import Any, TypeAlias

import numpy as np

from tdb.captures import is_tensor
from tdb.counted import counted
from tdb.errors import TdbError, UsageError, did_you_mean
from tdb.queries import array_of, summary_of
from tdb.results import Table, TensorValue

Index: TypeAlias = int | slice | EllipsisType | list[int] | None


def look_up(text: str, values: Mapping[str, Callable[[], Any]]) -> Any:
    """Return the value that `NAME.ENTRY[slice]` names.

    Args:
        text: what was typed.
        values: name -> gives the value.

    Raises:
        UsageError: it is not of that form.
        TdbError: there is no such name or entry, or the slice does not fit.
    """
    match = re.fullmatch(r"([\w.:-]+)\s*(\[.*\])?", text.strip(), re.DOTALL)
    if match is None:
        raise UsageError(f"{text!r} is not the name of a value", "Example: data bcl_tensors.rank_score[0:5, 17]")
    name, entry = _longest_known(match[1], values)
    value = values[name]()
    for part in [] if not entry else entry.split("."):
        if not isinstance(value, Mapping) or part not in value:
            known = list(map(str, value)) if isinstance(value, Mapping) else []
            raise TdbError(f"{name} has no entry {part!r}", did_you_mean(part, known) or f"Entries: {', '.join(known)}")
        value = value[part]
    if match[2] is None:
        return value
    if isinstance(value, Mapping):
        raise TdbError(f"{match[1]} is a set of entries", f"Take one: {', '.join(map(str, value))}")
    return _sliced(match[1], value, index_of(match[2]))


def _longest_known(path: str, values: Mapping[str, Any]) -> tuple[str, str]:
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in values:
            return name, ".".join(parts[length:])
    known = ", ".join(values) or "nothing"
    raise TdbError(f"nothing captured under {path!r}", did_you_mean(path, values) or f"Captured: {known}")


def index_of(text: str) -> tuple[Index, ...]:
    """Return the index that "[0:5, 17]" spells: numbers, slices, `...`, None and lists of numbers, nothing else.

    Raises:
        UsageError: it spells no index.
    """
    try:
        node = ast.parse(f"x{text}", mode="eval").body
        assert isinstance(node, ast.Subscript)
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return tuple(_part(part) for part in parts)
    except (SyntaxError, ValueError, AssertionError):
        raise UsageError(f"{text} is no slice", "As in numpy: [0:5, 17], [:, ::2], [3]") from None


def _part(node: ast.expr) -> Index:
    if isinstance(node, ast.Slice):
        bounds = [
            None if bound is None else int(ast.literal_eval(bound)) for bound in (node.lower, node.upper, node.step)
        ]
        return slice(*bounds)
    value = ast.literal_eval(node)
    if value is None or value is Ellipsis or isinstance(value, int):
        return value
    if isinstance(value, list) and all(isinstance(item, int) for item in value):
        return value
    raise ValueError(value)


def _sliced(name: str, value: Any, index: tuple[Index, ...]) -> Any:
    try:
        # Numpy takes negative steps, which torch refuses.
        return (
            array_of(value)[index] if any(isinstance(i, slice) and (i.step or 1) < 0 for i in index) else value[index]
        )
    except (IndexError, ValueError, TypeError) as error:
        shape = list(getattr(value, "shape", []))
        raise TdbError(f"{name} has shape {shape}: {error}", "As in numpy: [0:5, 17], [:, ::2], [3]") from None


def tensor_value(name: str, value: Any) -> TensorValue:
    """Return a tensor, array, number or list of numbers as a part that shows it.

    Raises:
        TdbError: it is none of these.
    """
    array = array_of(value)
    if array.dtype.kind not in "fiubc":
        raise TdbError(f"{name} is a {type(value).__name__}, not a tensor", f"`p {name}` shows any value")
    dtype = str(value.dtype).removeprefix("torch.") if hasattr(value, "dtype") else str(array.dtype)
    return TensorValue(name, array, dtype, str(value.device) if is_tensor(value) else "cpu")


def tensors_table(values: Mapping[str, Any]) -> Table:
    """Return a row for each entry: its shape, dtype, range, and what is not finite."""
    arrays = {name: array_of(value) for name, value in values.items() if not isinstance(value, Mapping)}
    numeric = {name: array for name, array in arrays.items() if array.dtype.kind in "fiubc"}
    summaries = [summary_of(array) for array in numeric.values()]
    return Table(
        {
            "entry": list(numeric),
            "shape": ["x".join(map(str, array.shape)) or "scalar" for array in numeric.values()],
            "dtype": [str(np.asarray(array).dtype) for array in numeric.values()],
            **{key: [summary[key] for summary in summaries] for key in ("min", "mean", "max", "std", "nan", "inf")},
        },
        note=counted(len(numeric), "entry", "entries"),
        mixed=True,
    )
