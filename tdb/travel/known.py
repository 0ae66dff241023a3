"""What history knows of the steps ahead, once training has gone back: each is compared with it, bit for bit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tdb.captures import number
from tdb.results import Table

if TYPE_CHECKING:
    from tdb.history import History
    from tdb.history.lineage import Lineage
    from tdb.results import Array
    from tdb.step import Position

MOST_KEPT = 100
ONLY_WHERE_CAPTURED = "update_norm"
"""A metric of every layer that only a captured step has: there the others come from other kernels, too."""


class Difference(NamedTuple):
    """Something that came out otherwise when a step was taken again.

    Attributes:
        step: the step.
        what: "loss", or a metric with the feature in which it differs most.
        was: what history has.
        now: what came of it this time.
    """

    step: int
    what: str
    was: float
    now: float

    def __str__(self) -> str:
        return f"step {self.step}: {self.what} {self.now:.9g}, was {self.was:.9g} ({self.now - self.was:+.3g})"


class Comparison:
    """How steps that were taken again have come out.

    Attributes:
        losses: how many losses were compared.
        metrics: how many sets of metrics.
        differences: the first that were found.
        count: how many there are in all.
    """

    def __init__(self) -> None:
        self.losses = self.metrics = self.count = 0
        self.differences: list[Difference] = []
        self._is_told = False

    def news(self) -> str:
        """Return what is to be said of a step that has come out otherwise: of the first one, and once; else nothing."""
        if self._is_told or not self.count:
            return ""
        self._is_told = True
        return f"not as before: {self.differences[0]}"

    def add(self, difference: Difference) -> None:
        """Take note of a difference."""
        self.count += 1
        if len(self.differences) < MOST_KEPT:
            self.differences.append(difference)

    def compare_loss(self, step: int, was: float, now: float) -> None:
        """Compare the loss of a step."""
        self.losses += 1
        if not _same(np.array(was), np.array(now)):
            self.add(Difference(step, "loss", was, now))

    def compare_metric(self, step: int, name: str, was: Array, now: Array) -> None:
        """Compare the values [D] of a metric at a step; of those that differ, the one that does most is noted."""
        now = np.asarray(now, np.float32)
        if was.shape != now.shape or _same(was, now) or np.isnan(was).all():  # NaN throughout: it was not recorded
            return
        with np.errstate(invalid="ignore"):
            sizes = np.where(differs(was, now), np.abs(now.astype(float) - was) + 1e-300, 0)
        feature = int(np.nanargmax(sizes))
        self.add(Difference(step, f"{name}[{feature}]", float(was[feature]), float(now[feature])))

    def table(self) -> Table:
        """Return the differences, one a row."""
        rows = self.differences
        return Table(
            {
                "step": [each.step for each in rows],
                "what": [each.what for each in rows],
                "was": [each.was for each in rows],
                "now": [each.now for each in rows],
                "difference": [each.now - each.was for each in rows],
            },
            note=f"{len(rows)} of {self.count} differences",
        )


class Known:
    """What is recorded of a branch after one of its boundaries.

    Attributes:
        until: the last tick that history knows of.
        names: the metrics that are recorded.
    """

    def __init__(self, history: History, lineage: Lineage, tick: int, comparison: Comparison) -> None:
        rows, self.names, blocks = history.after(tick, lineage)
        self.until = int(rows["tick"][-1]) if len(rows) else tick
        self.comparison = comparison
        self._losses = dict(zip(rows["tick"].tolist(), rows["loss"].tolist(), strict=True))
        ticks = [] if blocks is None else blocks["tick"].tolist()
        self._blocks: dict[int, Array] = {}
        for place, each in enumerate(ticks):
            assert blocks is not None
            self._blocks[each] = blocks["values"][place]
        self._ticks: Iterator[int] = iter(ticks)
        self._next: int | None = next(self._ticks, None)

    def has_metrics(self, tick: int) -> bool:
        """Return whether metrics of this tick are recorded."""
        return tick in self._blocks

    def next_metrics(self, tick: int) -> int | None:
        """Return the first tick after `tick` with recorded metrics, or None; asked with growing ticks."""
        while self._next is not None and self._next <= tick:
            self._next = next(self._ticks, None)
        return self._next

    def was_captured(self, tick: int) -> bool:
        """Return whether the metrics of this tick are those of a captured step."""
        block = self._blocks.get(tick)
        if block is None or ONLY_WHERE_CAPTURED not in self.names:
            return False
        place = self.names.index(ONLY_WHERE_CAPTURED)
        return place < len(block) and not bool(np.isnan(block[place]).all())

    def compare_loss(self, position: Position) -> None:
        """Compare the loss of a step."""
        was = self._losses.get(position.tick)
        if was is None:
            return
        value = number(position.loss)
        self.comparison.compare_loss(position.step, was, np.nan if value is None else value)

    def compare_metrics(self, position: Position, names: tuple[str, ...], block: Array) -> None:
        """Compare the metrics [m, D] of a step with those that are recorded of it, if those are of its kind."""
        recorded = self._blocks.get(position.tick)
        if recorded is None or (ONLY_WHERE_CAPTURED in names) != self.was_captured(position.tick):
            return
        self.comparison.metrics += 1
        for name, values in zip(names, block, strict=True):
            if name not in self.names or self.names.index(name) >= len(recorded):
                continue
            self.comparison.compare_metric(position.step, name, recorded[self.names.index(name)], values)


def _same(one: Array, other: Array) -> bool:
    """Return whether two arrays of one dtype have the same bits; any NaN is the same as any other."""
    return not bool(np.any(differs(one, other)))


def differs(one: Array, other: Array) -> Array:
    """Return where the bits of two arrays differ; any NaN is the same as any other."""
    differs: Array = (one != other) & ~(np.isnan(one) & np.isnan(other)) | (np.signbit(one) != np.signbit(other)) & (
        one == other
    )
    return differs


def rows_that_differ(one: Array, other: Array) -> Array:
    """Return which rows [n] of two arrays [n] or [n, D] differ in any bit; see `differs`."""
    where = differs(one, other)
    by_row: Array = where.reshape(len(where), math.prod(where.shape[1:]))
    return np.asarray(by_row.any(axis=1))
