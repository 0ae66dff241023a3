"""Arrays as colours: scales, painting, mosaics of images, block means. Everything here is numpy in, numpy out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tdb.results import Array

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

Pixels = NDArray[np.uint8]
"""[..., 4]: red, green, blue and opacity."""

GAP_GRAY = 176


class Scale(NamedTuple):
    """Which values get the first and the last colour of which of matplotlib's maps."""

    low: float
    high: float
    color_map: str

    @property
    def not_finite(self) -> str:
        """The colour of what is not finite: one that the map does not have."""
        return "#00c853" if self.color_map == DIVERGING else "#ff00ff"


DIVERGING, MAGNITUDE, GRAY = "RdBu_r", "viridis", "gray"


def scale_of(
    values: Array, *, signed: bool, limits: tuple[float, float] | None = None, unsigned_map: str = MAGNITUDE
) -> Scale:
    """Return the scale for `values`: centred on zero if they are signed, else from their least to their greatest.

    Only finite values count. Where all are equal, zero is the other end, so that a blank image is black.
    """
    color_map = DIVERGING if signed else unsigned_map
    if limits is not None:
        return Scale(float(limits[0]), float(limits[1]), color_map)
    low, high = finite_range(values)
    if signed:
        reach = max(-low, high) or 1.0
        return Scale(-reach, reach, color_map)
    if low == high:
        low, high = min(low, 0.0), max(high, 0.0) or float(low == 0)
    return Scale(low, high, color_map)


def color_map(scale: Scale) -> Colormap:
    """Return a scale's map for matplotlib, with its colour for what is not finite."""
    from matplotlib import colormaps

    return colormaps[scale.color_map].with_extremes(bad=scale.not_finite)


@cache
def _table(color_map: str) -> Pixels:
    """Return the 256 colours of one of matplotlib's maps [256, 4]."""
    from matplotlib import colormaps

    colors: Pixels = np.round(colormaps[color_map](np.arange(256)) * 255).astype(np.uint8)
    return colors


def hex_color(color: str) -> list[int]:
    """Return "#rrggbb" as red, green, blue and full opacity."""
    return [*bytes.fromhex(color.removeprefix("#")), 255]


def paint(values: Array, scale: Scale) -> Pixels:
    """Return the colours [..., 4] of `values` [...]; beyond the scale's ends the end colours, not finite its own."""
    table = np.concatenate([_table(scale.color_map), [hex_color(scale.not_finite)]]).astype(np.uint8)
    place = (values.astype(np.float64) - scale.low) / ((scale.high - scale.low) or 1.0)
    finite = np.isfinite(values)
    index = np.where(finite, np.clip(np.where(finite, place, 0.0), 0, 1) * 255, 256)
    pixels: Pixels = table[np.round(index).astype(np.intp)]
    return pixels


def paint_rgb(images: Array) -> tuple[Pixels, tuple[float, float] | None]:
    """Return [..., 3] colour images as pixels, and the range that was stretched to 0..1, or None.

    Bytes and values from 0 to 1 are taken as they are; anything else (normalised inputs) is stretched.
    """
    if images.dtype == np.uint8:
        values, stretched = images / 255, None
    else:
        scale = scale_of(images, signed=False)
        stretched = None if scale.low >= 0 and scale.high <= 1 else (scale.low, scale.high)
        values = images.astype(np.float64)
        if stretched:
            values = (values - scale.low) / (scale.high - scale.low)
    finite = np.isfinite(values)
    color = np.round(np.where(finite, values, 0.0) * 255).astype(np.uint8)
    pixels = np.concatenate([color, np.full((*color.shape[:-1], 1), 255, np.uint8)], axis=-1)
    pixels[~finite.all(axis=-1)] = hex_color("#ff00ff")
    return pixels, stretched


def mosaic(tiles: Pixels, columns: int, *, gap: int = 1, strip: int = 0) -> Pixels:
    """Return tiles [N, H, W, 4] side by side, row by row, as one raster.

    Args:
        tiles: the images.
        columns: how many stand in a row.
        gap: width of the grey line around every tile.
        strip: height of the transparent strip above every row, for text.
    """
    count, height, width = tiles.shape[:3]
    rows = -(-count // columns)
    raster = np.zeros((rows, strip + height + 2 * gap, columns, width + 2 * gap, 4), np.uint8)
    framed = np.full((rows * columns, height + 2 * gap, width + 2 * gap, 4), GAP_GRAY, np.uint8)
    framed[..., 3] = 255
    framed[:count, gap : gap + height, gap : gap + width] = tiles
    framed[count:] = 0
    raster[:, strip:] = framed.reshape(rows, columns, *framed.shape[1:]).transpose(0, 2, 1, 3, 4)
    pixels: Pixels = raster.reshape(rows * raster.shape[1], columns * raster.shape[3], 4)
    return pixels


def enlarged(pixels: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return an image [..., H, W, C] with every pixel repeated `factor` times each way."""
    return pixels.repeat(factor, axis=-3).repeat(factor, axis=-2) if factor > 1 else pixels


def block_size(shape: Sequence[int], most: tuple[int, int] = (512, 512)) -> tuple[int, int]:
    """Return how many rows and columns of a matrix make a block, if there is room for `most` blocks each way."""
    rows, columns = (max(1, -(-length // blocks)) for length, blocks in zip(shape, most, strict=True))
    return rows, columns


def block_means(values: Array, size: tuple[int, int]) -> Array:
    """Return the means of the blocks of `size` rows and columns of a matrix [R, C].

    A block that holds a value that is not finite is NaN: a mean over the rest would hide it. The last block of a
    row or column may be smaller than the others.
    """
    if size == (1, 1):
        return values
    starts = [np.arange(0, length, step) for length, step in zip(values.shape, size, strict=True)]
    counts = [np.diff([*start, length]) for start, length in zip(starts, values.shape, strict=True)]
    with np.errstate(invalid="ignore", over="ignore"):
        sums = np.add.reduceat(np.add.reduceat(values, starts[1], axis=1, dtype=np.float64), starts[0], axis=0)
        means = sums / np.outer(*counts)
    return np.where(np.isfinite(means), means, np.nan)


def finite_range(values: Array) -> tuple[float, float]:
    """Return the least and the greatest finite value, (0, 0) if there is none."""
    if values.size == 0:
        return 0.0, 0.0
    low, high = float(values.min()), float(values.max())
    if np.isfinite(low) and np.isfinite(high):
        return low, high
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
