"""A grid of images in one raster: 128 axes would take fifteen times as long as one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from tdb.queries import not_finite_text
from tdb.results import Array, Images
from tdb.views import canvas
from tdb.views.canvas import DPI, Box, View
from tdb.views.raster import (
    DIVERGING,
    GRAY,
    Pixels,
    Scale,
    enlarged,
    mosaic,
    paint,
    paint_rgb,
    scale_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDEST, TALLEST, LARGEST_TILE = 960, 830, 224
"""Pixels of the whole grid, and of one image."""


@dataclass(frozen=True)
class Grid:
    """How a grid is laid out. Its raster is what is shown, `shrink` times as large in pixels of the figure.

    Attributes:
        columns: images in a row.
        rows: rows of images.
        enlarge: how often each pixel of an image is repeated in the raster, each way.
        shrink: below 1 where even the images as they are take too much room.
        strip: pixels of the raster above each row, for the texts over its images.
        left: pixels of the figure for the names of the rows.
        right: pixels of the figure for the scales of the rows.
        texts: what stands over each image, or empty where it would not fit.
    """

    columns: int
    rows: int
    enlarge: int
    shrink: float
    strip: int
    left: int
    right: int
    texts: Sequence[str]


def is_color(images: Array) -> bool:
    """Return whether the images are [N, H, W, 3] rather than [N, H, W]."""
    return images.ndim == 4


def columns_for(count: int) -> int:
    """Return how many of `count` images stand in a row: a number that divides them evenly if there is a fair one."""
    if count <= 6:
        return max(count, 1)
    least = math.isqrt(count - 1) + 1
    return next((columns for columns in range(least, 2 * least) if count % columns == 0), least)


def layout(picture: Images) -> Grid:
    """Return the layout of a picture's grid. A grid of one column is laid on its side: its rows become columns."""
    count, height, width = picture.images.shape[:3]
    on_side = picture.columns == 1 and len(picture.rows) > 0
    columns = count if on_side else picture.columns or columns_for(count)
    rows = -(-count // columns)
    texts = side_texts(picture) if on_side else list(picture.labels)
    left = right = 0
    if picture.rows and not on_side:
        left = _text_pixels(picture.rows, canvas.NOTE_SIZE) + 8
        right = _text_pixels(scale_texts(picture), canvas.LABEL_SIZE) + 8
    lines = max((text.count("\n") + 1 for text in texts), default=0)
    strip = round(lines * canvas.line_inches(canvas.LABEL_SIZE) * DPI) + 3 if lines else 0
    fit = min(
        (WIDEST - left - right - 2 * columns) / (columns * width),
        (TALLEST - rows * (strip + 2)) / (rows * height),
        LARGEST_TILE / max(height, width),
    )
    if _text_pixels(texts, canvas.LABEL_SIZE) > fit * width:
        texts, strip = [], 0
    enlarge = max(math.floor(fit), 1)
    shrink = 1.0 if fit >= 1 else max(fit, 1 / max(height, width))
    return Grid(columns, rows, enlarge, shrink, round(strip / shrink), left, right, texts)


def scale_texts(picture: Images) -> list[str]:
    """Return the scale of each row, if rows have their own."""
    return [f"±{scale:.3g}" for scale in picture.scales]


def side_texts(picture: Images) -> list[str]:
    """Return what stands over each image of a column laid on its side: the row's name, the label, the scale."""
    parts = zip_longest(picture.rows, picture.labels, scale_texts(picture), fillvalue="")
    texts = [("" if label.startswith(name) else name, label, scale) for name, label, scale in parts]
    return ["\n".join(filter(None, lines)) for lines in texts][: len(picture.images)]


def _text_pixels(texts: Sequence[str], size: float) -> int:
    return round(max((canvas.text_inches(text, size) for text in texts), default=0) * DPI)


def scale(picture: Images) -> Scale | None:
    """Return the scale that all images share; None for images in colour and for rows with scales of their own."""
    if is_color(picture.images) or len(picture.scales):
        return None
    return scale_of(picture.images, signed=picture.signed, unsigned_map=GRAY)


def pixels(picture: Images, *, in_gray: bool = False) -> Pixels:
    """Return the images in their colours [N, H, W, 4], or all from black to white where there are no colours."""
    images = picture.images
    if is_color(images):
        return paint_rgb(images)[0]
    color_map = DIVERGING if picture.signed and not in_gray else GRAY
    shared = scale(picture)
    if shared:
        return paint(images, shared._replace(color_map=color_map))
    columns = picture.columns or columns_for(len(images))
    scales = [Scale(-limit if picture.signed else 0.0, limit, color_map) for limit in picture.scales]
    return np.stack([paint(image, scales[at // columns]) for at, image in enumerate(images)])


def remarks(picture: Images) -> list[str]:
    """Return what has to be said of the data beside the caption: values that are not finite, a stretched range."""
    color = "green" if picture.signed and not is_color(picture.images) else "magenta"
    said = [not_finite_text(picture.images, color)]
    stretched = paint_rgb(picture.images)[1] if is_color(picture.images) and picture.images.size else None
    if stretched:
        said.append(f"values {stretched[0]:.3g} to {stretched[1]:.3g} stretched to 0..1")
    return list(filter(None, said))


def view(picture: Images) -> View:
    """Return the grid ready to be painted."""
    if picture.images.size == 0:
        return canvas.nothing("no images")
    grid = layout(picture)
    raster = mosaic(enlarged(pixels(picture), grid.enlarge), grid.columns, strip=grid.strip)
    tall, wide = (length * grid.shrink / DPI for length in raster.shape[:2])
    width = wide + (grid.left + grid.right) / DPI
    return View(width, tall, partial(_paint, picture, grid, raster), remarks(picture), scale(picture))


def _paint(picture: Images, grid: Grid, raster: Pixels, figure: Figure, box: Box) -> Box:
    """Paint the grid into the upper left of `box`; return what its images fill."""
    tall, wide = (length * grid.shrink / DPI for length in raster.shape[:2])
    place = Box(box.left + grid.left / DPI, box.bottom + box.height - tall, wide, tall)
    axes = canvas.axes_in(figure, place)
    axes.imshow(raster, interpolation="nearest" if grid.shrink == 1 else "hanning", aspect="auto")
    axes.set_axis_off()
    _write_texts(picture, grid, axes, raster.shape)
    axes.format_coord = partial(_read_value, picture, grid)  # type: ignore[method-assign]
    return place


def _write_texts(picture: Images, grid: Grid, axes: Axes, shape: tuple[int, ...]) -> None:
    """Write the text over each image, and at each row its name and its scale."""
    tall, wide = shape[0] // grid.rows, shape[1] // grid.columns
    tops = [divmod(at, grid.columns) for at in range(len(grid.texts))]
    canvas.write_many(axes, [(column * wide, row * tall + grid.strip - 3) for row, column in tops], grid.texts)
    if not grid.left:
        return
    for row, name in enumerate(picture.rows):
        middle = row * tall + (tall + grid.strip) / 2
        axes.text(-8, middle, name, ha="right", va="center", **canvas.SMALL_TEXT)
    for row, text in enumerate(scale_texts(picture)):
        middle = row * tall + (tall + grid.strip) / 2
        axes.text(shape[1] + 8, middle, text, va="center", **canvas.TINY_TEXT)


def _read_value(picture: Images, grid: Grid, x: float, y: float) -> str:
    """Return what is under the mouse: which image, which of its pixels, and its value."""
    height, width = picture.images.shape[1:3]
    column, left = divmod(round(x), width * grid.enlarge + 2)
    row, top = divmod(round(y), height * grid.enlarge + 2 + grid.strip)
    at = row * grid.columns + column
    i, j = (top - grid.strip - 1) // grid.enlarge, (left - 1) // grid.enlarge
    if not (0 <= column < grid.columns and 0 <= at < len(picture.images) and 0 <= i < height and 0 <= j < width):
        return ""
    label = picture.labels[at] if at < len(picture.labels) else str(at)
    return f"image {label}  row {i}, column {j}: {np.array2string(picture.images[at, i, j], precision=4)}"
