"""Vectors that are no images: a bar profile each, or the rows of a heatmap where they are many."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tdb.queries import not_finite_text
from tdb.results import Array, Matrix, Profiles
from tdb.views import canvas, matrix
from tdb.views.canvas import Box, View
from tdb.views.raster import finite_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 12
"""More vectors than this are the rows of a heatmap."""

HEIGHT, WIDTH = 1.15, 8.0
MOST_BARS = 1_600
"""Longer vectors have one bar for several elements, as high as the highest and as deep as the deepest of them."""

PLAIN, POSITIVE, NEGATIVE = "#4c78a8", "#b2182b", "#2166ac"
"""Near the ends of the diverging map: the same sign has the same colour in every picture."""


def remarks(picture: Profiles) -> list[str]:
    """Return how many values are not finite, if any."""
    if len(picture.values) > MOST:
        return matrix.remarks(_as_matrix(picture))
    return list(filter(None, [not_finite_text(picture.values, "green")]))


def _as_matrix(picture: Profiles) -> Matrix:
    return Matrix(picture.values, row_name="vector", column_name="element", signed=picture.signed)


def view(picture: Profiles) -> View:
    """Return the profiles ready to be painted."""
    if picture.values.size == 0:
        return canvas.nothing("no values")
    if len(picture.values) > MOST:
        return matrix.view(_as_matrix(picture))
    height = len(picture.values) * HEIGHT + 0.25
    return View(WIDTH + 0.8, height, partial(_paint, picture), remarks(picture))


def _paint(picture: Profiles, figure: Figure, box: Box) -> Box:
    """Paint the profiles one below the other into `box`; return what they fill."""
    shared = max(map(abs, finite_range(picture.values)))
    top = box.bottom + box.height
    for at, vector in enumerate(picture.values):
        axes = canvas.axes_in(figure, Box(box.left + 0.7, top - (at + 1) * HEIGHT + 0.2, WIDTH, HEIGHT - 0.4))
        label = "  ".join(picture.labels[at].split("\n")) if at < len(picture.labels) else ""
        axes.set_title(label, loc="left", fontsize=canvas.NOTE_SIZE, color=canvas.INK, pad=3, parse_math=False)
        _bars(axes, vector, picture.scales[at] if len(picture.scales) else shared, signed=picture.signed)
        if at + 1 < len(picture.values):
            axes.tick_params(labelbottom=False)
    return box


def _bars(axes: Axes, vector: Array, limit: float, *, signed: bool) -> None:
    """Draw one vector as bars from zero, with a mark below each value that is not finite."""
    from matplotlib.ticker import MaxNLocator

    finite = np.isfinite(vector)
    values = np.where(finite, vector, 0)
    starts = np.arange(0, len(vector), max(1, len(vector) // MOST_BARS))
    edges = np.append(starts, len(vector)) - 0.5
    colors = (POSITIVE, NEGATIVE) if signed else (PLAIN, PLAIN)
    for extreme, part, color in zip((np.maximum, np.minimum), ("up", "down"), colors, strict=True):
        heights = extreme.reduceat(extreme(values, 0), starts)
        axes.stairs(heights, edges, fill=True, color=color, label=part)
    axes.axhline(0, color=canvas.FAINT, linewidth=0.5)
    axes.plot(np.flatnonzero(~finite), np.zeros((~finite).sum()), "D", color="#00c853", markersize=4)
    ticks = sorted({-limit, 0.0, limit} if signed or values.min() < 0 else {0.0, limit})
    axes.set_xlim(-0.5, len(vector) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    room = 0.02 * limit or 1.0  # nothing but zeros have no scale
    axes.set_ylim(ticks[0] - room, limit + room)
    axes.set_yticks(ticks, canvas.tick_texts(ticks))
    axes.spines[["top", "right"]].set_visible(False)
