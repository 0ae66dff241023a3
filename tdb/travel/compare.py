"""Two branches side by side: pure functions of what history has of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tdb.results import Curves, Table
from tdb.travel.known import rows_that_differ

if TYPE_CHECKING:
    from tdb.results import Array

ROWS = 10


@dataclass(frozen=True)
class Pair:
    """One metric of two branches.

    Attributes:
        metric: its name.
        names: of the branches.
        lines: steps [n] and values [n] of each.
        steps: [k] the steps that both have.
        values: [2, k] their values there.
        first: the first common step at which anything differs, a single feature too; None if nothing does.
        forks: the steps at which the branches were forked.
    """

    metric: str
    names: tuple[str, str]
    lines: tuple[tuple[Array, Array], tuple[Array, Array]]
    steps: Array
    values: Array
    first: int | None
    forks: Sequence[int]

    def sentence(self) -> str:
        """Say where they first differ."""
        one, other = self.names
        if not len(self.steps):
            return f"{self.metric}: {one} and {other} have no recorded step in common"
        if self.first is None:
            return f"{self.metric}: {one} and {other} are the same at all {len(self.steps)} common steps, bit for bit"
        place = int(np.searchsorted(self.steps, self.first))
        values = f"{self.values[0, place]:.6g} and {self.values[1, place]:.6g}"
        return f"{self.metric}: {one} and {other} first differ at step {self.first}: {values}"

    def table(self) -> Table:
        """Return values at common steps: from the last at which they are the same, evenly to the last of all."""
        begin = 0 if self.first is None else max(0, int(np.searchsorted(self.steps, self.first)) - 1)
        rows = np.unique(np.linspace(begin, max(begin, len(self.steps) - 1), ROWS).astype(int))
        rows = rows[rows < len(self.steps)]
        return Table(self._at(rows), note=f"{len(rows)} of {len(self.steps)} common steps; {self.metric}")

    def whole_table(self) -> Table:
        """Return values at all common steps, for a file."""
        return Table(self._at(slice(None)), title=self.metric)

    def _at(self, rows: Array | slice) -> dict[str, Array]:
        one, other = self.values[:, rows]
        return {"step": self.steps[rows], self.names[0]: one, self.names[1]: other, "difference": other - one}

    def curves(self) -> Curves:
        """Return both as lines over the steps, from a little before the fork on: before that they are one."""
        end = max((int(steps[-1]) for steps, _ in self.lines if len(steps)), default=0)
        fork = min(self.forks, default=0)
        begin = fork - max(1, (end - fork) // 10)
        lines = {
            name: (steps[steps >= begin], values[steps >= begin])
            for name, (steps, values) in zip(self.names, self.lines, strict=True)
        }
        marks = dict.fromkeys(self.forks, "fork")
        return Curves(
            lines,
            self.metric,
            marks=marks,
            caption=f"{self.metric} of {' and '.join(self.names)}",
            title=f"{self.metric} by branch",
        )


def pair_of(
    metric: str, names: tuple[str, str], columns: Sequence[tuple[Array, Array]], forks: Sequence[int] = ()
) -> Pair:
    """Return a metric's steps and values [n] or [n, D] of two branches side by side."""
    (steps_one, one), (steps_other, other) = columns
    common, in_one, in_other = np.intersect1d(steps_one, steps_other, return_indices=True)
    a, b = one[in_one], other[in_other]
    differing = common[rows_that_differ(a, b)]
    first = int(differing[0]) if len(differing) else None
    lines = ((steps_one, _mean(one)), (steps_other, _mean(other)))
    return Pair(metric, names, lines, common, np.stack([_mean(a), _mean(b)]), first, tuple(forks))


def _mean(values: Array) -> Array:
    """Return one number a step: the mean over the features, where there are any."""
    return values if values.ndim == 1 else values.reshape(len(values), math.prod(values.shape[1:])).mean(axis=1)
