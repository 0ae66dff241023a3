"""Answers as JSON: plain Python values, with NaN and the infinities as text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np

from tdb.errors import UsageError
from tdb.results import (
    Array,
    Curves,
    Distributions,
    Facts,
    Histogram,
    Images,
    Matrix,
    Page,
    Picture,
    Profiles,
    Result,
    Scatter,
    Table,
    TensorValue,
    Text,
)
from tdb.views.tensor import statistics


def dumps(value: Any) -> str:
    """Return `value` as JSON on one line, ASCII only; numbers that JSON does not know are text (see `to_json`)."""
    return json.dumps(to_json(value), allow_nan=False, separators=(",", ":"))


def to_json(value: Any) -> Any:
    """Return `value` as None, booleans, numbers, text, lists and dictionaries with text as keys.

    NaN and the infinities become "NaN", "Infinity" and "-Infinity"; arrays nested lists; complex numbers their real
    and imaginary parts; tables columns and rows; tensors shape, dtype, statistics and values; pictures their data;
    whatever else there is, its text.
    """
    match value:
        case None | bool():
            return value
        case Enum():
            return to_json(value.value)
        case np.generic() | np.ndarray():
            return _array(np.asarray(value))
        case int():
            return int(value)
        case str():
            return str(value)
        case float():
            return _number(float(value))
        case complex():
            return {"real": _number(value.real), "imaginary": _number(value.imag)}
        case Table():
            return _table(value)
        case TensorValue():
            return _tensor(value)
        case Facts():
            return to_json(value.values)
        case Text():
            return value.text
        case Result():
            return _result(value)
        case PurePath():
            return str(value)
        case Mapping():
            return {str(key): to_json(item) for key, item in value.items()}
        case tuple() if hasattr(value, "_asdict"):
            return to_json(value._asdict())
        case Sequence() if not isinstance(value, str | bytes | bytearray):
            return [to_json(item) for item in value]
        case AbstractSet():
            return [to_json(item) for item in sorted(value, key=repr)]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    return str(value)


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _array(values: Array) -> Any:
    """Return an array as nested lists; large ones of finite numbers are not looked at one by one."""
    if values.dtype.kind in "biuU" or (values.dtype.kind == "f" and np.isfinite(values).all()):
        return values.tolist()
    return to_json(values.tolist())


def _table(table: Table) -> dict[str, Any]:
    """Return a table as its columns' names and its rows, and the status of each row, if they have one."""
    table = table.exact or table
    columns = {name: to_json(values) for name, values in table.columns.items()}
    return {
        "columns": list(columns),
        "rows": [list(row) for row in zip(*columns.values(), strict=True)],
        **({"status": list(table.status)} if table.status else {}),
        "summary": to_json(table.summary),
        "note": table.note,
    }


def _tensor(tensor: TensorValue) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.values.shape),
        "dtype": tensor.dtype,
        "device": tensor.device,
        "stats": to_json(statistics(tensor.values)),
        "values": _array(tensor.values),
    }


def _result(result: Result) -> Any:
    """Return a command's own data, else its only part, else the list of its parts."""
    if result.data is not None:
        return to_json(result.data)
    parts = [to_json(part) for part in result.parts]
    return parts[0] if len(parts) == 1 else parts


def to_array(picture: Picture) -> Array:
    """Return a picture's data as one array, for a .npy file.

    Images [N, H, W], matrices [R, C], profiles [N, F], shares of distributions and values of a histogram are as they
    are. Points are records of id, x, y and color; lines are records of line, step and value, one line after the other.
    A page is the stack of its pictures.

    Raises:
        UsageError: the pictures of a page have different shapes.
    """
    match picture:
        case Images():
            return picture.images
        case Matrix() | Profiles() | Histogram():
            return picture.values
        case Distributions():
            return picture.shares
        case Scatter():
            color = np.full(len(picture.x), np.nan) if picture.color is None else np.asarray(picture.color)
            columns = {"id": np.asarray(picture.ids), "x": picture.x, "y": picture.y, "color": color}
            return _records(columns)
        case Curves():
            lines = list(picture.lines.items()) or [("", (np.empty(0), np.empty(0)))]
            names = np.concatenate([np.full(len(steps), label) for label, (steps, _) in lines])
            steps, values = (np.concatenate([line[part] for _, line in lines]) for part in (0, 1))
            return _records({"line": names, "step": steps, "value": values.astype(np.float64)})
        case Page():
            arrays = [to_array(part) for part in picture.pictures]
            if len({(array.shape, array.dtype) for array in arrays}) != 1:
                raise UsageError("these pictures have different shapes, .npy takes one", "Write .png, .svg or .pdf")
            return np.stack(arrays)


def _records(columns: Mapping[str, Array]) -> Array:
    """Return columns [n] as an array of records [n]."""
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    length = len(next(iter(arrays.values())))
    records = np.empty(length, [(name, array.dtype) for name, array in arrays.items()])
    for name, array in arrays.items():
        records[name] = array
    return records
