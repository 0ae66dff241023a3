"""Points, one a feature: status by marker and colour, as many labels as stand clear of one another."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tdb.counted import counted
from tdb.queries import not_finite_text
from tdb.results import Array, Scatter
from tdb.views import canvas, theme
from tdb.views.canvas import Box, View
from tdb.views.raster import Scale, color_map, scale_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LABELS = 64
MARKER_AREA = 42
REACH = 12
"""Pixels around a point within which a click means it."""


def shown(picture: Scatter) -> NDArray[np.bool_]:
    """Return which points [n] the axes can show: finite ones, and positive ones only where axes are logarithmic."""
    x, y = np.asarray(picture.x, np.float64), np.asarray(picture.y, np.float64)
    finite = np.isfinite(x) & np.isfinite(y)
    if not picture.log:
        return finite
    with np.errstate(invalid="ignore"):
        return finite & (x > 0) & (y > 0)


def remarks(picture: Scatter) -> list[str]:
    """Return how many points cannot be shown and why, and how many colours are not finite."""
    finite = np.isfinite(np.asarray(picture.x, np.float64)) & np.isfinite(np.asarray(picture.y, np.float64))
    not_positive = int(finite.sum() - shown(picture).sum())
    said = []
    if not finite.all():
        said.append(f"{(~finite).sum()} of {counted(len(finite), 'point')} not shown: NaN or inf")
    if not_positive:
        said.append(f"{not_positive} of {counted(len(finite), 'point')} not shown: not positive, on logarithmic axes")
    if picture.color is not None:
        colors = not_finite_text(np.asarray(picture.color), "magenta")
        said.append(f"{picture.color_name}: {colors}" if colors else "")
    return list(filter(None, said))


def scale(picture: Scatter) -> Scale | None:
    """Return the scale of the points' colours, or None if only their status colours them."""
    return None if picture.color is None else scale_of(np.asarray(picture.color, np.float64), signed=False)


def view(picture: Scatter) -> View:
    """Return the points ready to be painted."""
    if not shown(picture).any():
        return replace(canvas.nothing("no points to show"), remarks=remarks(picture))
    return View(7.2, 5.2, partial(_paint, picture), remarks(picture), scale(picture), picture.color_name)


def _paint(picture: Scatter, figure: Figure, box: Box) -> Box:
    """Paint the points into `box`; return what their axes fill."""
    keep = shown(picture)
    place = box.inset(left=0.8, bottom=0.5, right=0.1, top=0.35 if len(picture.status) else 0.1)
    axes = canvas.axes_in(figure, place)
    points = np.column_stack([picture.x, picture.y]).astype(np.float64)[keep]
    if picture.log:
        axes.set_xscale("log")
        axes.set_yscale("log")
    _draw_points(picture, points, keep, axes)
    axes.margins(0.08)
    axes.autoscale_view()  # labels are placed by where their points come to lie
    canvas.name_axes(axes, picture.x_name, picture.y_name)
    canvas.open_frame(axes)
    _label(points, [str(name) for name, kept in zip(picture.ids, keep, strict=True) if kept], axes)
    return place


def _draw_points(picture: Scatter, points: Array, keep: NDArray[np.bool_], axes: Axes) -> None:
    """Draw the points [n, 2] that are kept, those of one status with one marker."""
    words = np.array(picture.status or [""] * len(keep))[keep]
    colors = None if picture.color is None else np.asarray(picture.color, np.float64)[keep]
    bar = scale(picture)
    area = MARKER_AREA * min(1.0, (MOST_LABELS / len(points)) ** 0.5)
    for word in set(words.tolist()):
        look = theme.status_look(word) if word else theme.NO_STATUS
        same = words == word
        x, y = points[same, 0], points[same, 1]
        drawn = axes.scatter(x, y, s=area, marker=look.marker, linewidths=0.9, label=word, color=look.color)
        if colors is not None and bar is not None:
            drawn.set(array=colors[same], cmap=color_map(bar), clim=(bar.low, bar.high), edgecolor=look.color)
    if picture.status:
        _explain(Counter(words.tolist()), axes, filled=colors is None)


def _explain(counts: Mapping[str, int], axes: Axes, *, filled: bool) -> None:
    """Say above the axes which marker stands for which status, and how many there are of each."""
    from matplotlib.lines import Line2D

    known = list(theme.STATUS)
    samples = []
    for word in sorted(counts, key=lambda word: known.index(word) if word in known else len(known)):
        look = theme.status_look(word)
        sample = Line2D([], [], marker=look.marker, color=look.color, linestyle="none", label=f"{word} {counts[word]}")
        samples.append(sample)
        if not filled:
            sample.set_markerfacecolor("none")
    axes.legend(
        handles=samples,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        borderaxespad=0.2,
        ncols=len(samples),
        fontsize=canvas.NOTE_SIZE,
        frameon=False,
    )


def _label(points: Array, names: list[str], axes: Axes) -> None:
    """Write names beside points [n, 2] where they cover neither a point nor one another.

    The points farthest from the middle of all come first: where many lie close together, those are labelled that
    stand out.
    """
    at = axes.transData.transform(points)
    middle = np.median(at, axis=0)
    taken = np.column_stack([at - 4, at + 4])
    inside = axes.get_window_extent()
    dpi = axes.figure.dpi  # that of the screen, in a window
    height = canvas.line_inches(canvas.LABEL_SIZE) * dpi * 0.8
    for index in np.argsort(-np.hypot(*(at - middle).T), kind="stable")[:MOST_LABELS]:
        width = canvas.text_inches(names[index], canvas.LABEL_SIZE) * dpi
        for dx, dy in _offsets(width, height):
            left, bottom = at[index] + (dx, dy)
            box = np.array([left, bottom, left + width, bottom + height])
            clear = (taken[:, :2] >= box[2:]).any(axis=1) | (taken[:, 2:] <= box[:2]).any(axis=1)
            if clear.all() and inside.x0 <= left and left + width <= inside.x1 and inside.y0 <= bottom:
                taken = np.vstack([taken, box])
                offset = (dx * 72 / dpi, dy * 72 / dpi)
                axes.annotate(names[index], points[index], offset, textcoords="offset points", **canvas.TINY_TEXT)
                break


def _offsets(width: float, height: float) -> list[tuple[float, float]]:
    """Return where a label of this size may stand, in pixels from its point to its lower left corner, best first."""
    near = 6.0
    return [
        (near, -height / 2),
        (-width / 2, near),
        (-near - width, -height / 2),
        (-width / 2, -near - height),
        (near - 2, near - 2),
        (2 - near - width, near - 2),
        (near - 2, 2 - near - height),
        (2 - near - width, 2 - near - height),
    ]


def nearest_id(picture: Scatter, axes: Axes, x: float, y: float) -> int | None:
    """Return the id of the point nearest to (x, y), in pixels of the figure, or None if none is near."""
    points = np.column_stack([picture.x, picture.y]).astype(np.float64)[shown(picture)]
    distances = np.hypot(*(axes.transData.transform(points) - (x, y)).T)
    if not len(distances) or distances.min() > REACH:
        return None
    return int(np.asarray(picture.ids)[shown(picture)][distances.argmin()])
