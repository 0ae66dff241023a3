"""The metrics of one layer: a block of [m, D] a row, whose set of names may grow."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.history.series import Series, Snapshot

if TYPE_CHECKING:
    from tdb.history.budget import Budget
    from tdb.results import Array


class Metrics:
    """The metrics of one layer's features: rows of [m, D].

    A metric that comes later is NaN in the rows before it, one that stays away is NaN from then on.
    """

    def __init__(self, budget: Budget, names: tuple[str, ...], shape: tuple[int, ...]) -> None:
        self.names = names
        self.shape = shape
        self.series = Series(budget, self._dtype())

    def _dtype(self) -> np.dtype[Any]:
        values = ("values", "f4", (len(self.names), *self.shape))
        return np.dtype([("tick", "i8"), ("step", "i8"), ("timeline", "i4"), values], align=True)

    def append(self, timeline: int, places: Array, names: tuple[str, ...], blocks: Array) -> None:
        """Write k rows whose ticks and steps are `places` [k, 2]; `blocks` is [k, len(names), *shape]."""
        every = every_name(self.names, names)
        if every != self.names:
            self.names = every
            self.series.widen(self._dtype())
        rows = np.empty(len(places), self.series.dtype)
        rows["tick"], rows["step"], rows["timeline"] = places[:, 0], places[:, 1], timeline
        rows["values"] = placed(blocks, names, every)
        self.series.extend(rows)

    def values(self, snapshot: Snapshot, name: str) -> Array:
        """Return one metric's values [n, *shape]."""
        return snapshot.column(partial(metric_rows, index=self.names.index(name)))


def every_name(known: tuple[str, ...], names: Sequence[str]) -> tuple[str, ...]:
    """Return the known names followed by new ones."""
    return (*known, *(name for name in names if name not in known))


def placed(blocks: Array, names: Sequence[str], every: Sequence[str]) -> Array:
    """Return blocks [k, m, ...] of the metrics `names` as blocks of `every` metric, NaN in those that are not there."""
    if tuple(names) == tuple(every):
        return blocks
    full = np.full((len(blocks), len(every), *blocks.shape[2:]), np.nan, np.float32)
    full[:, [every.index(name) for name in names]] = blocks
    return full


def metric_rows(rows: Array, index: int) -> Array:
    """Return metric number `index` of rows with `values` [n, m, ...]: NaN where the rows are older than the metric."""
    values: Array = rows["values"]
    if index < values.shape[1]:
        return values[:, index]
    return np.full((len(values), *values.shape[2:]), np.nan, np.float32)


def host(values: Any) -> Array:
    """Return an array, tensor or number as a numpy array, without a copy where it is in host memory already."""
    if isinstance(values, np.ndarray):
        return values
    if hasattr(values, "detach"):
        values = values.detach().float().cpu().numpy()
    return np.asarray(values)
