"""Lines over steps, thinned so that every spike stays, with gaps where there is no finite value."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tdb.counted import counted
from tdb.results import Array, Curves
from tdb.views import canvas
from tdb.views.canvas import Box, View
from tdb.views.theme import STATUS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BUCKETS = 1_000
"""Into this many parts a line is thinned: the axes have fewer pixels."""

MOST_NAMED = 24
LARGEST_WITH_MARGIN = 1e200
"""A margin around larger values would lie beyond the largest float."""

FEW_MARKS = 30
"""More marks than this are ticks at the upper edge, so that they do not cover the lines."""

COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22")
DASHES = ("solid", "dashed", "dotted", "dashdot")


def look_of(number: int) -> tuple[str, str]:
    """Return the colour and the dashes of line `number`: the same in every chart, 40 different ones."""
    return COLORS[number % len(COLORS)], DASHES[number // len(COLORS) % len(DASHES)]


def line_look(picture: Curves, label: str, order: int) -> tuple[str, str]:
    """Return the colour and the dashes of one line: of a status those that it has in tables and scatter plots."""
    if label in STATUS:
        return STATUS[label].color, DASHES[0]
    return look_of(picture.colors.get(label, order))


def thin(steps: Array, values: Array, buckets: int = BUCKETS) -> tuple[Array, Array]:
    """Return a line [n] with at most five points for each of `buckets` equal parts, drawn alike at that width.

    Of each part the first and the last point stay, the least and the greatest, and the first that is not finite.
    """
    if len(values) <= 5 * buckets:
        return steps, values
    width = -(-len(values) // buckets)
    parts = np.pad(values.astype(np.float64), (0, -len(values) % width), constant_values=np.nan).reshape(-1, width)
    finite = np.isfinite(parts)
    starts = np.arange(0, parts.size, width)
    places = [
        np.zeros(len(parts), np.intp),
        np.full(len(parts), width - 1),
        np.where(finite, parts, np.inf).argmin(axis=1),
        np.where(finite, parts, -np.inf).argmax(axis=1),
        finite.argmin(axis=1),
    ]
    kept = np.unique([starts + place for place in places])
    kept = np.append(kept[kept < len(values) - 1], len(values) - 1)
    return steps[kept], values[kept]


def drawable(picture: Curves) -> dict[str, tuple[Array, Array]]:
    """Return the lines with NaN in the place of what the axes cannot show."""
    lines = {}
    for label, (steps, values) in _as_floats(picture).items():
        with np.errstate(invalid="ignore"):
            fit = np.isfinite(values) & ((values > 0) if picture.log else True)
        lines[label] = _broken(steps, np.where(fit, values, np.nan), np.asarray(picture.gaps, steps.dtype))
    return lines


def _broken(steps: Array, values: Array, gaps: Array) -> tuple[Array, Array]:
    """Return a line with NaN where a gap lies between two of its points."""
    if not len(gaps) or (np.diff(steps) <= 0).any():  # steps that were taken again are joined as they were recorded
        return steps, values
    places = np.searchsorted(steps, gaps)
    inside = (places > 0) & (places < len(steps))
    return np.insert(steps, places[inside], gaps[inside]), np.insert(values, places[inside], np.nan)


def remarks(picture: Curves) -> list[str]:
    """Return how many points are not finite, and the first of them, and how many a logarithmic axis cannot show."""
    said = []
    for word, test in (("NaN", np.isnan), ("inf", np.isinf)):
        found = [np.asarray(steps)[test(values)] for steps, values in _as_floats(picture).values()]
        count = sum(map(len, found))
        if count:
            first = min(steps[0] for steps in found if len(steps))
            said.append(f"{word} at {counted(count, 'point')}, first at {picture.x_name} {first:,}")
    if picture.log:
        count = sum(int((values <= 0).sum()) for _, values in _as_floats(picture).values())
        if count:
            said.append(f"{counted(count, 'point')} not shown: not positive, on a logarithmic axis")
    return said


def _as_floats(picture: Curves) -> Mapping[str, tuple[Array, Array]]:
    return {
        label: (np.asarray(steps), np.asarray(values, np.float64)) for label, (steps, values) in picture.lines.items()
    }


ALONE, ON_A_PAGE = (8.2, 4.2), (6.2, 3.2)
"""Inches of a chart and its names: two stand side by side on a page."""


def view(picture: Curves, size: tuple[float, float] = ALONE) -> View:
    """Return the chart ready to be painted; its legend comes beside what `size` says."""
    lines = drawable(picture)
    if not any(np.isfinite(values).any() for _, values in lines.values()):
        return replace(canvas.nothing("no values to show"), remarks=remarks(picture))
    width, height = size
    return View(width + _legend_width(picture), height, partial(_paint, picture, lines), remarks(picture))


def _legend_width(picture: Curves) -> float:
    names = list(picture.lines)[:MOST_NAMED]
    return 0.6 + canvas.text_inches(max(names, key=len), canvas.NOTE_SIZE) if len(names) > 1 else 0.1


def _paint(picture: Curves, lines: Mapping[str, tuple[Array, Array]], figure: Figure, box: Box) -> Box:
    """Paint the chart into `box`; return what its axes fill."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    place = box.inset(left=0.8, bottom=0.5, right=_legend_width(picture), top=0.1)
    axes = canvas.axes_in(figure, place)
    axes.set_yscale("log" if picture.log else "linear")
    for order, (label, (steps, values)) in enumerate(lines.items()):
        color, dashes = line_look(picture, label, order)
        x, y = thin(steps, values)
        alone = np.flatnonzero(_alone(y)).tolist()
        (line,) = axes.plot(x, y, color=color, linestyle=dashes, linewidth=1.2, label=label)
        if alone:
            line.set(marker="o", markersize=3, markevery=alone)
    _reach(picture, axes)
    diverged = max(np.nanmax(np.abs(values), initial=0) for _, values in lines.values()) > LARGEST_WITH_MARGIN
    axes.margins(y=0 if diverged else 0.05)
    if all(np.equal(np.mod(steps, 1), 0).all() for steps, _ in lines.values()):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if not picture.log and all(np.asarray(values).dtype.kind in "iu" for _, values in picture.lines.values()):
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    canvas.name_axes(axes, picture.x_name, picture.y_name)
    canvas.open_frame(axes)
    _mark(picture, axes)
    _name_lines(axes)
    return place


def _reach(picture: Curves, axes: Axes) -> None:
    """Let the axes reach over all steps, also those at which no line has a value that can be drawn."""
    steps = np.concatenate([np.asarray(steps) for steps, _ in picture.lines.values()])
    low, high = steps.min(), steps.max()
    margin = 0.01 * (high - low) or 0.5
    axes.set_xlim(low - margin, high + margin)


def _alone(values: Array) -> Array:
    """Return which values have no finite neighbour: a line would not show them."""
    finite = np.pad(np.isfinite(values), 1)
    alone: Array = finite[1:-1] & ~finite[:-2] & ~finite[2:]
    return alone


def _mark(picture: Curves, axes: Axes) -> None:
    """Draw a line at each marked step, with its word where there is room for it."""
    from matplotlib.collections import LineCollection

    low, high = axes.get_xlim()
    marks = {step: word for step, word in sorted(picture.marks.items()) if low <= step <= high}
    foot = 0.0 if len(marks) <= FEW_MARKS else 0.96
    upright = [[(step, foot), (step, 1)] for step in marks]
    across = axes.get_xaxis_transform()
    lines = LineCollection(upright, colors="#a0a0a0", linewidths=0.7, zorder=1, transform=across, label="marks")
    axes.add_collection(lines, autolim=False)
    pixels = axes.get_window_extent().width / (high - low)
    free = low
    room = canvas.line_inches(canvas.LABEL_SIZE) * axes.figure.dpi / pixels
    style = canvas.TINY_TEXT | {"rotation": 90, "va": "top"}
    height = foot - 0.01 if foot else 0.99
    for step, word in marks.items():
        if step >= free:
            beside_axis = step - room < low
            axes.text(step, height, word, transform=across, ha="left" if beside_axis else "right", **style)
            free = step + (2 * room if beside_axis else room)


def _name_lines(axes: Axes) -> None:
    """Name the lines in a legend beside the axes, the first of them if they are many."""
    from matplotlib.lines import Line2D

    handles = axes.get_lines()
    if len(handles) < 2:
        return
    named = handles[:MOST_NAMED]
    if len(handles) > MOST_NAMED:
        named = [*named, Line2D([], [], linestyle="none", label=f"and {len(handles) - MOST_NAMED} more")]
    legend = axes.legend(
        named,
        [f" {line.get_label()}" for line in named],  # matplotlib leaves out names that begin with an underscore
        loc="upper left",
        bbox_to_anchor=(1.005, 1.0),
        borderaxespad=0,
        frameon=False,
        fontsize=canvas.NOTE_SIZE if len(handles) <= 18 else canvas.LABEL_SIZE,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def within(picture: Curves, low: float, high: float) -> Curves:
    """Return the part of the lines whose steps lie in [low, high]."""
    lines = {}
    for label, (steps, values) in picture.lines.items():
        inside = (np.asarray(steps) >= low) & (np.asarray(steps) <= high)
        lines[label] = (np.asarray(steps)[inside], np.asarray(values)[inside])
    return replace(picture, lines=lines)
