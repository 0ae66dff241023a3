"""A matrix as a heatmap, by the means of blocks where it has more rows or columns than the screen has pixels."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tdb.queries import not_finite_counts, not_finite_text
from tdb.results import Array, Matrix
from tdb.views import canvas
from tdb.views.canvas import Box, View
from tdb.views.raster import (
    Scale,
    block_means,
    block_size,
    color_map,
    finite_range,
    paint,
    scale_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDEST, TALLEST, LARGEST_CELL = 8.0, 5.2, 0.46
LEAST = 2.0
"""Inches that a side with many cells gets at least, even if they are not square then."""

FEW_CELLS = 144
"""Matrices of no more cells have their values written in."""

VISIBLE = 0.05
"""Inches below which a cell of its own colour is easily overlooked."""

MOST_RINGS = 200
MOST_TICKS = 20
STRIDES = [step * 10**power for power in range(9) for step in (1, 2, 5)]


def remarks(picture: Matrix) -> list[str]:
    """Return what has to be said of the data: values that are not finite, and the size of blocks."""
    rows, columns = block_size(picture.values.shape)
    blocks = "" if (rows, columns) == (1, 1) else f"each point is the mean of a block of {rows} x {columns}"
    color = "green" if picture.signed else "magenta"
    return list(filter(None, [not_finite_text(picture.values, color), blocks]))


def _ids(picture: Matrix) -> tuple[list[str], list[str]]:
    """Return the names of rows and columns as they stand: their ids, or else their places."""
    rows, columns = picture.values.shape
    return _names(picture.row_ids, rows), _names(picture.column_ids, columns)


def _names(ids: Sequence[int] | Array, count: int) -> list[str]:
    return [str(name) for name in (ids if len(ids) else range(count))]


def _body_size(picture: Matrix) -> tuple[float, float]:
    """Return the width and height in inches of the cells alone: square ones, unless that made a side too short."""
    rows, columns = (max(length, 1) for length in picture.values.shape)
    cell = min(WIDEST / columns, TALLEST / rows, LARGEST_CELL)
    width, height = (max(length * cell, min(length * LARGEST_CELL, LEAST)) for length in (columns, rows))
    return width, height


def _margins(picture: Matrix) -> tuple[float, float]:
    """Return the inches for the names and ids of the rows at the left, and of the columns below."""
    widest = max((canvas.text_inches(name, canvas.TICK_SIZE) for name in _ids(picture)[0]), default=0)
    return widest + 0.35, 0.45


def view(picture: Matrix) -> View:
    """Return the matrix ready to be painted. Without limits, its colours span what is painted: the means of blocks."""
    if picture.values.size == 0:
        return canvas.nothing("an empty matrix")
    means = block_means(picture.values, block_size(picture.values.shape))
    scale = scale_of(means, signed=picture.signed, limits=picture.limits)
    width, height = _body_size(picture)
    left, bottom = _margins(picture)
    return View(width + left, height + bottom, partial(_paint, picture, means, scale), remarks(picture), scale)


def _paint(picture: Matrix, means: Array, scale: Scale, figure: Figure, box: Box) -> Box:
    """Paint the matrix into the upper left of `box`; return what its cells fill."""
    width, height = _body_size(picture)
    place = Box(box.left + _margins(picture)[0], box.bottom + box.height - height, width, height)
    blocks = block_size(picture.values.shape)
    axes = canvas.axes_in(figure, place)
    axes.imshow(
        means,
        cmap=color_map(scale),
        vmin=scale.low,
        vmax=scale.high,
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, means.shape[1] * blocks[1] - 0.5, means.shape[0] * blocks[0] - 0.5, -0.5),
    )
    rows, columns = picture.values.shape
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    _name_axes(picture, axes, place)
    if means.size <= FEW_CELLS:
        _write_values(means, scale, axes)
    elif min(width / columns, height / rows) < VISIBLE:
        _ring(picture.values, scale, axes)
    axes.format_coord = partial(_read_value, picture)  # type: ignore[method-assign]
    return place


def _name_axes(picture: Matrix, axes: Axes, place: Box) -> None:
    """Name the axes and as many of the rows and columns as fit."""
    row_ids, column_ids = _ids(picture)
    widest = max(canvas.text_inches(name, canvas.TICK_SIZE) for name in column_ids)
    for ids, room, axis in (
        (column_ids, place.width / (widest + 0.12), axes.xaxis),
        (row_ids, place.height / canvas.line_inches(canvas.TICK_SIZE), axes.yaxis),
    ):
        stride = next(stride for stride in STRIDES if len(ids) / stride <= max(min(room, MOST_TICKS), 1))
        consecutive = ids[0].isdigit() and int(ids[-1]) - int(ids[0]) == len(ids) - 1
        shown = range(-int(ids[0]) % stride if consecutive else 0, len(ids), stride)
        axis.set_ticks(shown, [ids[at] for at in shown])
    canvas.name_axes(axes, picture.column_name, picture.row_name)


def _write_values(values: Array, scale: Scale, axes: Axes) -> None:
    """Write each value into its cell, light on dark colours and dark on light ones."""
    low, high = finite_range(values)
    pattern = "%.2f" if 0.1 <= max(-low, high) < 100 else "%.2g"
    luminance = paint(values, scale)[..., :3] @ np.array([0.299, 0.587, 0.114])
    for (row, column), value in np.ndenumerate(values):
        ink = "white" if luminance[row, column] < 128 else canvas.INK
        axes.text(column, row, pattern % value, ha="center", va="center", fontsize=canvas.LABEL_SIZE, color=ink)


def _ring(values: Array, scale: Scale, axes: Axes) -> None:
    """Draw a ring around values that are not finite, where there are few and their cells are tiny."""
    if not not_finite_counts(values):
        return
    rows, columns = np.nonzero(~np.isfinite(values))
    if len(rows) <= MOST_RINGS:
        axes.plot(columns, rows, "o", markersize=8, markerfacecolor="none", markeredgecolor=scale.not_finite)


def _read_value(picture: Matrix, x: float, y: float) -> str:
    """Return what is under the mouse: the row, the column and the value itself, not the mean of a block."""
    row, column = round(y), round(x)
    if not (0 <= row < picture.values.shape[0] and 0 <= column < picture.values.shape[1]):
        return ""
    rows, columns = _ids(picture)
    where = f"{picture.row_name} {rows[row]}, {picture.column_name} {columns[column]}"
    return f"{where}: {picture.values[row, column]:.4g}"
