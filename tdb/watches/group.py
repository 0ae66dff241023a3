"""The steps during which one set of features was watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.counted import size_in_words
from tdb.errors import UsageError
from tdb.history.metrics import every_name, metric_rows, placed
from tdb.history.series import Series

if TYPE_CHECKING:
    from tdb.history.budget import Budget
    from tdb.results import Array


class Group:
    """The steps during which one set of features was watched.

    Products are raw: `products` [n, n] of the rows with each other, `initial` [n] with the rows of the beginning.

    Attributes:
        ids: the features.
        segments: one for each: how many times it had begun to be watched.
        began: one for each: the step at which it had, the last time.
        first: the step after which this set of them was watched.
    """

    def __init__(
        self,
        budget: Budget,
        names: tuple[str, ...],
        initial: dict[int, Array],
        segments: tuple[int, ...],
        began: tuple[int, ...],
        first: int,
    ) -> None:
        self.ids = tuple(initial)
        self.segments, self.began, self.first = segments, began, first
        self.names = names
        self._initial = np.stack(list(initial.values()))
        self._lengths = np.sqrt(np.vecdot(self._initial, self._initial, dtype=np.float64))
        dtype = self._dtype(len(names))
        if not budget.holds(dtype.itemsize):
            raise UsageError(
                f"one step of {len(self.ids)} watched features takes {size_in_words(dtype.itemsize)}, more than history"
                " has room for",
                "Watch fewer, or raise history.budget",
            )
        self.series = Series(budget, dtype)
        self.newest = -1  # tick of the last row
        self._recorded: list[tuple[int, int]] = []  # first and last tick of steps in a row that are

    def _dtype(self, metrics: int) -> np.dtype[Any]:
        n = len(self.ids)
        fields = [("products", "f4", (n, n)), ("initial", "f4", (n,)), ("values", "f4", (metrics, n))]
        return np.dtype([("tick", "i8"), ("step", "i8"), ("timeline", "i4"), *fields], align=True)

    def cannot_take(self, tick: int) -> bool:
        """Return whether training has gone back to a step that is not recorded here, and can't be: ticks only grow."""
        return tick < self.newest and not any(first <= tick <= last for first, last in self._recorded)

    def append(self, timeline: int, places: Array, rows: Array, names: tuple[str, ...], blocks: Array | None) -> None:
        """Write k rows; arguments as in `Watches.append`."""
        rows = self._flat(rows)
        blocks = self._fitting(names, blocks, len(rows))
        # Training may have gone back, and take steps again that are recorded already.
        new = places[:, 0] > self.newest
        records = np.empty(len(places), self.series.dtype)
        records["tick"], records["step"], records["timeline"] = places[:, 0], places[:, 1], timeline
        records["values"] = blocks
        with np.errstate(over="ignore", invalid="ignore"):  # exploding weights are what one watches for
            np.vecdot(rows[:, :, None], rows[:, None], out=records["products"])
            np.vecdot(rows, self._initial, out=records["initial"])
        self.series.extend(records if new.all() else records[new])
        if new.any():
            self._take_note(int(places[new.argmax(), 0]), int(places[-1, 0]))

    def _take_note(self, first: int, last: int) -> None:
        """Steps from one tick to another were written."""
        if self._recorded and self.newest + 1 == first:
            first, _ = self._recorded.pop()
        self._recorded.append((first, last))
        self.newest = last

    def close(self) -> None:
        """No more will come."""
        self.series.seal()

    def steps(self, of_branch: Callable[[Array, Array], Array] | None) -> Array:
        """Return the steps of its rows [n], as far as they are of the branch that training is on; see `Watches`."""
        snapshot = self.series.snapshot()
        steps: Array = snapshot.column("step")
        return steps if of_branch is None else steps[of_branch(snapshot.column("timeline"), snapshot.column("tick"))]

    def trajectory(self, feature: int, names: Sequence[str]) -> dict[str, Array]:
        """Return the columns of one feature [n]; of the metrics in `names`, NaN for those this group never had."""
        index = self.ids.index(feature)
        snapshot = self.series.snapshot()
        columns = {name: snapshot.column(name) for name in ("step", "timeline", "tick")}
        columns["segment"] = np.full(len(columns["step"]), self.segments[index])
        squares = snapshot.column(lambda rows: rows["products"][:, index, index]).astype(np.float64)
        products = snapshot.column(lambda rows: rows["initial"][:, index])
        columns["weight_cos_to_init"] = quotient(products, np.sqrt(squares) * self._lengths[index])
        for name in names:
            position = self.names.index(name) if name in self.names else len(self.names)
            columns[name] = snapshot.column(partial(metric_rows, index=position))[:, index]
        return columns

    def pair(self, one: int, other: int) -> dict[str, Array]:
        """Return step, timeline, tick and cos [n] of two features of this group."""
        i, j = self.ids.index(one), self.ids.index(other)
        snapshot = self.series.snapshot()
        products = snapshot.column(lambda rows: rows["products"][:, [i, j, i], [i, j, j]]).astype(np.float64)
        first, second, both = products.T
        columns = {name: snapshot.column(name) for name in ("step", "timeline", "tick")}
        return columns | {"cos": quotient(both, np.sqrt(first) * np.sqrt(second))}

    def _flat(self, rows: Array) -> Array:
        """Return rows [k, n, ...] as [k, n, F]."""
        shape = (len(rows), *self._initial.shape)
        if rows.shape[1:2] != shape[1:2] or rows.size != len(rows) * self._initial.size:
            expected = " x ".join(map(str, self._initial.shape))
            raise UsageError(
                f"rows of shape {list(rows.shape[1:])} for {len(self.ids)} watched features", f"Expected {expected}"
            )
        return rows.reshape(shape)

    def _fitting(self, names: tuple[str, ...], blocks: Array | None, count: int) -> Array:
        """Return blocks with a row for each of this group's metrics; new ones widen the group."""
        if blocks is None:
            return np.full((count, len(self.names), len(self.ids)), np.nan, np.float32)
        if blocks.shape[1:] != (len(names), len(self.ids)):
            raise UsageError(
                f"a block of shape {list(blocks.shape[1:])} for {len(names)} metrics of {len(self.ids)} watched"
                " features",
                f"Expected {len(names)} x {len(self.ids)}",
            )
        every = every_name(self.names, names)
        if every != self.names:
            self.names = every
            self.series.widen(self._dtype(len(every)))
        return placed(blocks, names, every)


def quotient(products: Array, norms: Array) -> Array:
    """Return cosines: `products` / `norms` within -1..1, NaN where a norm is zero or not finite."""
    cosines = np.full(np.shape(products), np.nan)
    np.divide(products, norms, out=cosines, where=(norms > 0) & np.isfinite(norms))
    return np.clip(cosines, -1, 1, out=cosines)
