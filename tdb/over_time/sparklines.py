"""Lines as text, for a terminal that shows no figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tdb.counted import counted
from tdb.results import Curves, Table

if TYPE_CHECKING:
    from tdb.results import Array

BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Array, width: int = 40) -> str:
    """Return `values` [n] as at most `width` characters, the lowest block for the least, the highest for the most.

    A character stands for the mean of its share of values; a blank for a share without a finite one.
    """
    shares = np.array_split(np.asarray(values, np.float64), max(1, min(width, len(values))))
    means = np.array([share[np.isfinite(share)].mean() if np.isfinite(share).any() else np.nan for share in shares])
    known = means[np.isfinite(means)]
    if not len(known):
        return " " * len(means)
    span = known.max() - known.min()
    heights = (means - known.min()) / (span if span > 0 else 1.0) * (len(BLOCKS) - 1)
    return "".join(" " if np.isnan(height) else BLOCKS[round(height)] for height in heights)


def sparkline_table(curves: Curves, width: int = 40) -> Table:
    """Return a row for each line: its first and last value, its least and greatest finite one, its course as text."""
    columns: dict[str, list[object]] = {name: [] for name in ("line", "first", "last", "min", "max", "course")}
    most = 0
    for label, (_, values) in curves.lines.items():
        known = values[np.isfinite(values)]
        ends = [*(values[[0, -1]] if len(values) else (np.nan, np.nan))]
        ends += (known.min(), known.max()) if len(known) else (np.nan, np.nan)
        for name, value in zip(columns, (label, *map(float, ends), sparkline(values, width)), strict=True):
            columns[name].append(value)
        most = max(most, len(values))
    each = f"; a mark is the mean of {most / width:.3g} of them" if most > width else ""
    return Table(
        columns,
        note=f"{counted(len(curves.lines), 'line')} of at most {counted(most, 'point')}{each}",
        title=curves.title,
    )
