"""Lines over steps.

Smoothing is a *trailing* mean: a point stands for itself and what came before it, never for what came after, so a
smoothed line cannot show an effect before its cause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, compress
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tdb.counted import counted
from tdb.errors import UsageError, did_you_mean
from tdb.history import between
from tdb.over_time.find import nothing_recorded
from tdb.results import Curves, Matrix, Table

if TYPE_CHECKING:
    from tdb.history import History
    from tdb.results import Array
    from tdb.watches import Watches

Lines: TypeAlias = "dict[str, tuple[Array, Array]]"


TWO_WATCHED = ("a pair takes two watched features", "Example: watch 0 15 31")


def trailing_mean(values: Array, window: int) -> Array:
    """Return the mean of each value and the `window` - 1 recorded before it [n], float64.

    The first values have fewer before them, and take the mean of what there is. What is not finite is left out; where
    a window holds nothing finite, the mean is NaN.

    Raises:
        UsageError: `window` is less than 1.
    """
    if window < 1:
        raise UsageError(f"smooth takes a number of steps from 1, not {window}", "Example: loss smooth 50")
    finite = np.isfinite(values)
    sums = _trailing_sum(np.where(finite, values, 0.0), window)
    counts = _trailing_sum(finite.astype(np.float64), window)
    means = np.full(len(values), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def _trailing_sum(values: Array, window: int) -> Array:
    """Return the sum of each value and the `window` - 1 before it, missing ones 0 (van Herk's two passes).

    Every window is the end of one block and the beginning of the next, so nothing need be subtracted: in a difference
    of running sums one loss of 1e30 would drown all that come after it.
    """
    count = len(values)
    window = max(1, min(window, count))
    blocks = np.zeros((-(-count // window) + 1, window))
    blocks.reshape(-1)[window : window + count] = values
    beginnings = np.cumsum(blocks, axis=1)
    endings = np.cumsum(blocks[:, ::-1], axis=1)[:, ::-1]
    # The window of the last entry of a block is that block: its ending would count it twice.
    earlier = np.zeros_like(blocks)
    earlier[1:, :-1] = endings[:-1, 1:]
    summed: Array = (beginnings + earlier).reshape(-1)[window : window + count]
    return summed


def loss_curve(
    history: History,
    first: int | None = None,
    last: int | None = None,
    smooth: int = 1,
    log: bool = False,
    marks: Mapping[int, str] | None = None,
) -> Curves:
    """Return the loss over steps, and its trailing mean over `smooth` recorded steps beside it.

    Raises:
        UsageError: nothing is recorded from `first` to `last`.
    """
    steps, losses = history.loss()
    lines: Lines = {"loss": (steps, losses)}
    if smooth != 1:
        lines[f"mean of the last {smooth}"] = (steps, trailing_mean(losses, smooth))
    return _curves(lines, "loss", first, last, log=log, marks=marks or {}, gaps=history.left_out())


def trajectory_curves(
    watches: Watches,
    metric: str,
    ids: Sequence[int] = (),
    first: int | None = None,
    last: int | None = None,
    smooth: int = 1,
    log: bool = False,
    marks: Mapping[int, str] | None = None,
    gaps: Sequence[int] | Array = (),
) -> Curves:
    """Return one metric of watched features over steps, a line a feature and segment; all trajectories if no `ids`.

    The second segment of feature 31 (it was unwatched and watched again) is the line "31 (2)", in the same colour.

    Raises:
        UsageError: no such metric, a feature that was never watched, or nothing recorded from `first` to `last`.
    """
    known = watches.metric_names()
    if metric not in known:
        hint = did_you_mean(metric, known) or f"Metrics: {', '.join(known)}"
        raise UsageError(f"no metric {metric!r} in the trajectories", hint)
    lines: Lines = {}
    colors: dict[str, int] = {}
    for feature in ids or watches.features():
        trajectory = watches.trajectory(feature)
        for segment in np.unique(trajectory["segment"]):
            label = str(feature) if segment == 1 else f"{feature} ({segment})"
            here = trajectory["segment"] == segment
            lines[label] = (trajectory["step"][here], _smoothed(trajectory[metric][here], smooth))
            colors[label] = feature
    return _curves(lines, metric, first, last, log, marks or {}, colors, gaps)


def pair_curves(
    watches: Watches,
    ids: Sequence[int] = (),
    first: int | None = None,
    last: int | None = None,
    smooth: int = 1,
    marks: Mapping[int, str] | None = None,
    gaps: Sequence[int] | Array = (),
) -> Curves:
    """Return the weight cosines of all pairs among `ids` (the features watched now, if none) over steps.

    Raises:
        UsageError: fewer than two features, a pair never watched together, or nothing from `first` to `last`.
    """
    features = list(ids or watches.get_watched())
    if len(features) < 2:
        raise UsageError(*TWO_WATCHED)
    lines: Lines = {}
    for one, other in combinations(features, 2):
        steps, cosines = watches.pair(one, other)
        lines[f"{one}-{other}"] = (steps, _smoothed(cosines, smooth))
    return _curves(lines, "weight cosine", first, last, marks=marks or {}, gaps=gaps)


def pair_matrix(watches: Watches) -> Matrix:
    """Return the weight cosines between the watched features at the last recorded step, [n, n].

    Raises:
        UsageError: fewer than two features are watched, or no step was taken since.
    """
    step, cosines = watches.cosines()
    ids = watches.get_watched()
    if len(ids) < 2:
        raise UsageError(*TWO_WATCHED)
    caption = f"weight cosines of {counted(len(ids), 'watched feature')} at step {step:,}"
    apart = np.where(np.triu(np.ones_like(cosines), 1) > 0, cosines, np.nan)
    if np.isfinite(apart).any():
        i, j = np.unravel_index(np.nanargmax(apart), apart.shape)
        caption += f": mean {np.nanmean(apart):.4g}, most alike {ids[i]} and {ids[j]} ({apart[i, j]:.4g})"
    return Matrix(
        cosines,
        caption=caption,
        title=f"watched pairs, step {step:,}",
        row_name="feature",
        column_name="feature",
        row_ids=ids,
        column_ids=ids,
        limits=(-1.0, 1.0),
    )


def curves_table(curves: Curves) -> Table:
    """Return the points of all lines as a table: a row a step, a column a line, NaN where a line has no point."""
    steps = np.unique(np.concatenate([steps for steps, _ in curves.lines.values()]))
    columns: dict[str, Array] = {curves.x_name: steps}
    for label, (own, values) in curves.lines.items():
        columns[label] = np.full(len(steps), np.nan)
        columns[label][np.searchsorted(steps, own)] = values
    return Table(columns, note=f"{counted(len(steps), 'row')}, {curves.y_name} by {curves.x_name}", title=curves.title)


def _smoothed(values: Array, smooth: int) -> Array:
    return values if smooth == 1 else trailing_mean(values, smooth)


def _curves(
    lines: Lines,
    name: str,
    first: int | None,
    last: int | None,
    log: bool = False,
    marks: Mapping[int, str] | None = None,
    colors: Mapping[str, int] | None = None,
    gaps: Sequence[int] | Array = (),
) -> Curves:
    """Cut all lines to the steps asked for, and say in one line what they show."""
    shown: Lines = {}
    for label, (steps, values) in lines.items():
        here = between(steps, first, last)
        shown[label] = (steps[here], values[here])
    taken = np.concatenate([np.empty(0, np.int64), *(steps for steps, _ in shown.values())])
    if not len(taken):
        raise nothing_recorded(name, first, last)
    return Curves(
        shown,
        y_name=name,
        marks=dict(compress(marks.items(), between(np.array([*marks], np.int64), first, last))) if marks else {},
        colors=colors or {},
        gaps=gaps,
        log=log,
        caption=f"{name} {_at(int(taken.min()), int(taken.max()))}: {_told(shown)}",
        title=name,
    )


def _at(first: int, last: int) -> str:
    return f"at step {first:,}" if first == last else f"over steps {first:,} to {last:,}"


def _told(lines: Lines) -> str:
    """Say how a single line ran, or where several have arrived."""
    if len(lines) > 2:
        ends = {label: values[-1] for label, (_, values) in lines.items() if len(values) and np.isfinite(values[-1])}
        if not ends:
            return f"{len(lines)} lines, none with a finite end"
        low, high = min(ends, key=lambda label: ends[label]), max(ends, key=lambda label: ends[label])
        return (
            f"{len(lines)} lines, at the end from {ends[low]:.4g} ({_named(low)}) to {ends[high]:.4g} ({_named(high)})"
        )
    parts = []
    for label, (steps, values) in lines.items():
        finite = np.isfinite(values)
        if not finite.any():
            parts.append(f"{_named(label)} is nowhere finite")
            continue
        if len(values) == 1:
            parts.append(f"{_named(label)} {values[0]:.4g}")
            continue
        least, most = (steps[finite][pick(values[finite])] for pick in (np.argmin, np.argmax))
        known = values[finite]
        parts.append(
            f"{_named(label)} {values[0]:.4g} to {values[-1]:.4g}, least {known.min():.4g} at step {least:,}, "
            f"most {known.max():.4g} at step {most:,}"
        )
    return "; ".join(parts)


def _named(label: str) -> str:
    """Return the label of a line as it reads beside numbers."""
    return f"feature {label}" if label.partition(" ")[0].isdigit() else label
