"""Many distributions as rows of a heatmap: negative values at the left, zeros in the middle, positive at the right."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.results import Array, Distributions
from tdb.views import canvas
from tdb.views.canvas import Box, View
from tdb.views.raster import Pixels, Scale, hex_color, paint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW, WIDTH, MIDDLE = 0.19, 7.0, 0.5
MOST_ROWS = 120
TEXT: dict[str, Any] = canvas.TINY_TEXT | {"va": "center"}
SCALE = Scale(0.0, 1.0, "viridis")


def remarks(picture: Distributions) -> list[str]:
    """Return what has to be said of the data beside the caption."""
    more = len(picture.names) - MOST_ROWS
    return ["each row has its own brightest colour"] + ([f"{more} more rows are not drawn"] if more > 0 else [])


def relative(picture: Distributions) -> Array:
    """Return the shares [n, 2 B] relative to the largest of each row."""
    largest = picture.shares.max(axis=1, keepdims=True, initial=0.0)
    scaled: Array = picture.shares / np.where(largest > 0, largest, 1.0)
    return scaled


def rows_with_zeros(picture: Distributions, middle: int, *, gray: bool = False) -> Pixels:
    """Return a row of pixels for each distribution, the share of zeros as `middle` grey ones between the halves."""
    values = relative(picture)
    half = values.shape[1] // 2
    scale = SCALE._replace(color_map="gray") if gray else SCALE
    pixels = paint(values, scale)
    zeros = paint(picture.zeros[:, None], Scale(0.0, 1.0, "gray")).repeat(middle, axis=1)
    if not gray:
        zeros[picture.wrong > 0] = hex_color("#ff00ff")
    whole: Pixels = np.concatenate([pixels[:, :half], zeros, pixels[:, half:]], axis=1)
    return whole


def view(picture: Distributions) -> View:
    """Return the distributions ready to be painted."""
    if not picture.names:
        return canvas.nothing("nothing to show")
    count = min(len(picture.names), MOST_ROWS)
    left = max(canvas.text_inches(name, canvas.LABEL_SIZE) for name in picture.names[:count]) + 0.1
    return View(left + WIDTH + 0.9, count * ROW + 0.6, partial(_paint, picture, left), remarks(picture))


def _paint(picture: Distributions, left: float, figure: Figure, box: Box) -> Box:
    count = min(len(picture.names), MOST_ROWS)
    half = picture.shares.shape[1] // 2
    place = Box(box.left + left, box.bottom + 0.6, WIDTH, count * ROW)
    side = (WIDTH - MIDDLE) / 2
    values = relative(picture)[:count]
    low, high = picture.exponents
    decades = np.arange(low, high + 1, max(1, (high - low) // 4))
    for start, part, flip in ((0.0, values[:, :half], True), (side + MIDDLE, values[:, half:], False)):
        axes = canvas.axes_in(figure, Box(place.left + start, place.bottom, side, place.height))
        extent = (high, low, count - 0.5, -0.5) if flip else (low, high, count - 0.5, -0.5)
        axes.imshow(paint(part, SCALE), aspect="auto", interpolation="nearest", extent=extent)
        axes.set_xticks(decades, [f"{'-' if flip else ''}1e{decade}" for decade in decades])
        axes.set_yticks([])
        axes.set_ylim(count - 0.5, -0.5)
    for row in range(count):
        y = place.bottom + place.height - (row + 0.5) * ROW
        canvas.write(figure, place.left - 0.06, y, picture.names[row], ha="right", **TEXT)
        zero = f"{picture.zeros[row]:.0%}"
        strong = "bold" if picture.zeros[row] > 0.9 else "normal"
        middle = place.left + side + MIDDLE / 2
        canvas.write(figure, middle, y, zero, ha="center", fontweight=strong, **TEXT)
        if picture.wrong[row]:
            text = f"{picture.wrong[row]:,} NaN/inf"
            at = place.left + WIDTH + 0.06
            canvas.write(figure, at, y, text, fontweight="bold", **(TEXT | {"color": "#c00000"}))
    canvas.write(figure, place.left + side + MIDDLE / 2, place.bottom - 0.35, "zeros", ha="center", va="top")
    return place
