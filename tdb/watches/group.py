"""The steps during which one set of features was watched."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.errors import UsageError
from tdb.history.budget import MIB
from tdb.history.metrics import every_name, host, metric_rows, placed
from tdb.history.series import Series, Snapshot

if TYPE_CHECKING:
    from tdb.history.budget import Budget
    from tdb.results import Array

# The rows that wait for their products should stay in the processor's cache.
WAITING_BYTES = 2**18
MOST_WAITING = 64


class Group:
    """The steps during which one set of features was watched.

    Products are raw: `products` [n, n] of the rows with each other, `initial` [n] with the rows of the beginning.
    """

    def __init__(
        self, budget: Budget, names: tuple[str, ...], initial: dict[int, Array], segments: tuple[int, ...]
    ) -> None:
        self.ids = tuple(initial)
        self.segments = segments
        self.names = names
        self._initial = np.stack(list(initial.values()))
        self._lengths = np.sqrt(np.vecdot(self._initial, self._initial, dtype=np.float64))
        dtype = self._dtype(len(names))
        if not budget.holds(dtype.itemsize):
            size = dtype.itemsize / MIB
            raise UsageError(
                f"one step of {len(self.ids)} watched features takes {size:.1f} MiB, more than history has room for",
                "Watch fewer, or raise history.budget",
            )
        self.series = Series(budget, dtype)
        self.newest = -1  # tick of the last row
        self._rounds = 0
        self._prepare()

    def _dtype(self, metrics: int) -> np.dtype[Any]:
        n = len(self.ids)
        fields = [("products", "f4", (n, n)), ("initial", "f4", (n,)), ("values", "f4", (metrics, n))]
        return np.dtype([("tick", "i8"), ("step", "i8"), ("timeline", "i4"), *fields], align=True)

    def _prepare(self) -> None:
        self._nothing = np.full((len(self.names), len(self.ids)), np.nan, np.float32)
        self._given = self.names
        most = max(1, min(MOST_WAITING, WAITING_BYTES // self._initial.nbytes))
        # Apart, because products are a quarter faster on rows that lie together.
        self._rows = np.empty((most, *self._initial.shape), np.float32)
        self._records = np.empty(most, self.series.dtype)
        self._known = self._records[["tick", "step", "timeline", "values"]]
        self._count = 0

    def append(self, timeline: int, tick: int, step: int, rows: Array, names: tuple[str, ...], block: Any) -> None:
        """Write one row; it waits for its products with its neighbours."""
        if tick <= self.newest:
            return  # training has gone back, and takes a step again that is recorded already
        if rows.shape != self._initial.shape:
            rows = self._flat(rows)
        if block is None:
            block = self._nothing
        else:
            block = host(block)
            if names is not self._given or block.shape != self._nothing.shape:
                block = self._fitting(names, block)
        count = self._count
        self._rows[count] = rows
        self._known[count] = (tick, step, timeline, block)
        self._count, self.newest = count + 1, tick
        if count + 1 == len(self._rows):
            self._flush()

    def close(self) -> None:
        """Take in what waits; no more will come."""
        self._flush()
        self.series.seal()
        self._rows = self._rows[:0].copy()

    def snapshot(self) -> Snapshot:
        """Return all rows; the products of those that still wait are taken here."""
        while True:
            rounds = self._rounds
            count = self._count
            records, rows = self._records[:count].copy(), self._rows[:count].copy()
            # The writer begins a new round before it writes over the rows of the last: then the copies may be torn.
            if rounds == self._rounds:
                break
        recorded = self.series.snapshot()
        ticks = recorded.column("tick")
        # The writer may have taken them in meanwhile.
        waiting = records["tick"] > (ticks[-1] if len(ticks) else -1)
        return recorded.extended(self._with_products(records[waiting], rows[waiting]))

    def trajectory(self, feature: int, names: Sequence[str]) -> dict[str, Array]:
        """Return the columns of one feature [n]; of the metrics in `names`, NaN for those this group never had."""
        index = self.ids.index(feature)
        snapshot = self.snapshot()
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
        snapshot = self.snapshot()
        products = snapshot.column(lambda rows: rows["products"][:, [i, j, i], [i, j, j]]).astype(np.float64)
        first, second, both = products.T
        columns = {name: snapshot.column(name) for name in ("step", "timeline", "tick")}
        return columns | {"cos": quotient(both, np.sqrt(first) * np.sqrt(second))}

    def _flat(self, rows: Array) -> Array:
        if len(rows) != len(self.ids) or rows.size != self._initial.size:
            expected = " x ".join(map(str, self._initial.shape))
            raise UsageError(
                f"rows of shape {list(rows.shape)} for {len(self.ids)} watched features", f"Expected {expected}"
            )
        return rows.reshape(self._initial.shape)

    def _fitting(self, names: tuple[str, ...], block: Array) -> Array:
        """Return `block` with a row for each of this group's metrics; new ones widen the group."""
        if block.shape != (len(names), len(self.ids)):
            raise UsageError(
                f"a block of shape {list(block.shape)} for {len(names)} metrics of {len(self.ids)} watched features",
                f"Expected {len(names)} x {len(self.ids)}",
            )
        if names == self.names:
            self._given = names  # the same tuple next time needs no comparison
            return block
        every = every_name(self.names, names)
        if every != self.names:
            self._flush()
            self.names = every
            self.series.widen(self._dtype(len(every)))
            self._prepare()
        return placed(block, [every.index(name) for name in names], len(every))

    def _flush(self) -> None:
        count = self._count
        self.series.extend(self._with_products(self._records[:count], self._rows[:count]))
        self._count = 0
        self._rounds += 1

    def _with_products(self, records: Array, rows: Array) -> Array:
        """Fill in the products of `rows` [k, n, F] and return the records."""
        with np.errstate(over="ignore", invalid="ignore"):  # exploding weights are what one watches for
            np.vecdot(rows[:, :, None], rows[:, None], out=records["products"])
            np.vecdot(rows, self._initial, out=records["initial"])
        return records


def quotient(products: Array, norms: Array) -> Array:
    """Return cosines: `products` / `norms` within -1..1, NaN where a norm is zero or not finite."""
    cosines = np.full(np.shape(products), np.nan)
    np.divide(products, norms, out=cosines, where=(norms > 0) & np.isfinite(norms))
    return np.clip(cosines, -1, 1, out=cosines)
