"""A tensor as a line of statistics and its values."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from tdb.results import Array, TensorValue
from tdb.views import theme
from tdb.views.lines import Line, folded
from tdb.views.number import printable

FEW_VALUES = 200
"""Larger tensors are shown by their corners, unless all of their values are asked for."""

_SHORT = {"float": "f", "bfloat": "bf", "int": "i", "uint": "u", "complex": "c"}


def short_dtype(dtype: str) -> str:
    """Return a dtype's short name: "torch.float32" is "f32", "bfloat16" is "bf16", "bool" stays."""
    name = dtype.removeprefix("torch.")
    kind = name.rstrip("0123456789")
    return _SHORT.get(kind, kind) + name[len(kind) :]


def statistics(values: Array) -> dict[str, Any]:
    """Return the statistics of an array's finite values, and how many values are not finite.

    Real and integer arrays have min, mean, max and std (of the sample, as `torch.std`; None below two values);
    complex ones the same of their magnitudes, as abs_min and so on; boolean ones how many are true. What cannot be
    said of an array without finite values is None. Only floating-point arrays have "nan" and "inf", the counts.
    """
    if values.dtype.kind not in "biufc":
        return {}
    if values.dtype.kind == "b":
        return {"true": int(values.sum()), "false": int((~values).sum())}
    prefix = "abs_" if values.dtype.kind == "c" else ""
    counts = {}
    if values.dtype.kind in "fc":
        counts = {"nan": int(np.isnan(values).sum()), "inf": int(np.isinf(values).sum())}
    finite = values[np.isfinite(values)] if any(counts.values()) else values
    finite = np.abs(finite) if prefix else finite
    if finite.size == 0:
        return dict.fromkeys([f"{prefix}min", f"{prefix}mean", f"{prefix}max", f"{prefix}std"]) | counts
    with np.errstate(over="ignore", invalid="ignore"):
        spread = float(np.std(finite, ddof=1, dtype=np.float64)) if finite.size > 1 else None
        mean = float(np.mean(finite, dtype=np.float64))
    measures = {"min": finite.min().item(), "mean": mean, "max": finite.max().item(), "std": spread}
    return {prefix + name: value for name, value in measures.items()} | counts


def summary_line(tensor: TensorValue) -> str:
    """Return what a tensor is on one line: "f32[64,784] cpu  min -0.1 mean 0 max 0.2 std 0.05  nan 0 inf 0"."""
    shape = ",".join(map(str, tensor.values.shape))
    groups = [f"{short_dtype(tensor.dtype)}[{shape}] {tensor.device}"]
    if tensor.values.size == 0:
        return f"{groups[0]}  empty"
    measures = statistics(tensor.values)
    counts = {name: measures.pop(name) for name in ("nan", "inf") if name in measures}
    for group in (measures, counts):
        groups += [" ".join(f"{name} {_short_number(value)}" for name, value in group.items())]
    return "  ".join(filter(None, groups))


def _short_number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def tensor_lines(tensor: TensorValue, width: int | None = None, *, ascii_only: bool = False) -> Iterator[Line]:
    """Yield the lines of a tensor: its name and summary, then its values as numpy writes them.

    Args:
        tensor: what to show; of a large one only the corners, unless it is `full`.
        width: columns of the terminal, or None for numpy's usual 75.
        ascii_only: nothing but ASCII.
    """
    name = printable(tensor.name, ascii_only=ascii_only)
    spans = [(f"{name}  ", theme.HEADER)] if name else []
    measures = statistics(tensor.values)
    alarming = measures.get("nan") or measures.get("inf")
    yield from folded([*spans, (summary_line(tensor), theme.NOT_FINITE if alarming else "")], width)
    if tensor.values.size == 0:
        return
    text = np.array2string(
        tensor.values,
        max_line_width=width or 75,
        precision=None if tensor.full else 4,
        threshold=sys.maxsize if tensor.full else FEW_VALUES,
        separator=" ",
    )
    for line in text.splitlines():
        yield from folded([(printable(line, ascii_only=ascii_only), "")], width)
