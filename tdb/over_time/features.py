"""One metric of all features over time: how many are dead or win, how unequal they are, and the whole as a heatmap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tdb.counted import counted
from tdb.errors import UsageError
from tdb.over_time.find import nothing_recorded, recorded
from tdb.results import Curves, Matrix, Page, Table

if TYPE_CHECKING:
    from tdb.history import History
    from tdb.panel import StatusRule
    from tdb.results import Array

COUNTS = ("dead", "contender", "winner", "unknown")


def gini(values: Array) -> Array:
    """Return the Gini coefficient over the last axis: 0 where all are equal, 1 - 1/D where one has all.

    1 - 2 sum(cumsum(sorted values)) / (D sum(values)) + 1/D, in float64. It is a measure of shares: NaN where a value
    is negative or not a number, and where all are zero.

    Args:
        values: [..., D].
    """
    values = np.sort(np.asarray(values, np.float64), axis=-1)
    count = values.shape[-1]
    total = values.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = 1 - 2 * np.cumsum(values, axis=-1).sum(axis=-1) / (count * total) + 1 / count
    return np.where((values >= 0).all(axis=-1) & (total > 0), found, np.nan)


def top_share(values: Array, count: int = 5) -> Array:
    """Return the share of the `count` largest in the sum over the last axis, in float64; NaN as in `gini`.

    Args:
        values: [..., D].
        count: all of them, if there are fewer.
    """
    values = np.sort(np.asarray(values, np.float64), axis=-1)
    total = values.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        share: Array = values[..., -count:].sum(axis=-1) / total
    return np.where((values >= 0).all(axis=-1) & (total > 0), share, np.nan)


def feature_summary(
    history: History,
    metric: str,
    status: StatusRule | None = None,
    first: int | None = None,
    last: int | None = None,
) -> Table:
    """Return a row for each step that recorded `metric`: dead, contender and winner counts, mean, gini, top-5 share.

    Features are counted by the metric that `status` names, whatever `metric` is; without a rule there are no counts.
    Where that is not a number at any of the steps, there is a count of unknown features, too.

    Raises:
        UsageError: no such metric, it has no value a feature, or nothing is recorded from `first` to `last`.
    """
    names = [metric] if status is None else [metric, status.metric]
    steps, found = recorded(history, names, first, last)
    values = _of_features(metric, found[metric], first, last)
    columns: dict[str, Array] = {"step": steps}
    if status is not None:
        deciding = found[status.metric]
        dead = deciding < status.dead_below
        winner = ~dead & (deciding > status.winner_above)
        columns["dead"], columns["winner"] = dead.sum(axis=1), winner.sum(axis=1)
        unknown = np.isnan(deciding)
        columns["contender"] = (~dead & ~winner & ~unknown).sum(axis=1)
        if unknown.any():
            columns["unknown"] = unknown.sum(axis=1)
        columns = {name: columns[name] for name in ("step", *COUNTS) if name in columns}
    with np.errstate(invalid="ignore"):  # the mean of both infinities is NaN, and that is what to show
        columns["mean"] = values.mean(axis=1, dtype=np.float64)
    columns |= {"gini": gini(values), "top5_share": top_share(values)}
    by = f", features counted by {status.metric}" if status is not None else ""
    note = f"{counted(len(steps), 'recorded step')} from {steps[0]:,} to {steps[-1]:,}{by}"
    return Table(columns, note=note, title=f"{metric} of {counted(values.shape[1], 'feature')}")


def summary_page(table: Table, metric: str) -> Page:
    """Return what `feature_summary` found as curves: the counts, the mean, and the two measures of inequality."""
    steps = np.asarray(table.columns["step"])

    def curves(names: tuple[str, ...], y_name: str) -> Curves:
        lines = {name: (steps, np.asarray(table.columns[name])) for name in names}
        ends = ", ".join(f"{name} {values[0]:.4g} to {values[-1]:.4g}" for name, (_, values) in lines.items())
        return Curves(lines, y_name=y_name, caption=ends, title=y_name)

    counts = tuple(name for name in COUNTS if name in table.columns)
    pictures = [curves(counts, "features")] if counts else []
    pictures += [curves(("mean",), f"mean {metric}"), curves(("gini", "top5_share"), f"inequality of {metric}")]
    caption = "; ".join(picture.caption for picture in pictures)
    return Page(pictures, columns=1, caption=f"{table.title}, {table.note}; {caption}", title=table.title)


def heat(history: History, metric: str, first: int | None = None, last: int | None = None) -> Matrix:
    """Return a metric over the run as [D, n]: a row a feature, a column a recorded step.

    Raises:
        UsageError: as in `feature_summary`.
    """
    steps, found = recorded(history, [metric], first, last)
    values = _of_features(metric, found[metric], first, last)
    known = values[np.isfinite(values)]
    extent = f"values {known.min():.4g} to {known.max():.4g}" if known.size else "none of them finite"
    return Matrix(
        np.ascontiguousarray(values.T),
        caption=f"{metric} of {counted(values.shape[1], 'feature')} at {counted(len(steps), 'recorded step')} from "
        f"{steps[0]:,} to {steps[-1]:,}: {extent}",
        title=f"{metric} over steps",
        row_name="feature",
        column_name="step",
        row_ids=np.arange(values.shape[1]),
        column_ids=steps,
        signed=bool(known.size and known.min() < 0),
    )


def _of_features(metric: str, values: Array, first: int | None, last: int | None) -> Array:
    if values.ndim != 2:
        raise UsageError(
            f"{metric} is one value a step, not one a feature", f"`find {metric} > 0` and `loss` look at it"
        )
    if not len(values):
        raise nothing_recorded(metric, first, last)
    return values
