"""Colours and blocks, against loops and against matplotlib's own colour maps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib import colormaps
from matplotlib.colors import Normalize

from tdb.queries import not_finite_counts, not_finite_text
from tdb.views.raster import (
    GAP_GRAY,
    Scale,
    block_means,
    block_size,
    finite_range,
    hex_color,
    mosaic,
    paint,
    paint_rgb,
    scale_of,
)
from tdb.views.terminal import color_256

SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=23)


@given(
    arrays.arrays(np.float32, SHAPES, elements=st.floats(-9, 9, width=32)),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_block_means_are_the_means_of_the_blocks(values: np.ndarray, rows: int, columns: int) -> None:
    size = block_size(values.shape, (rows, columns))
    means = block_means(values, size)
    assert means.shape[0] <= rows
    assert means.shape[1] <= columns
    for row in range(means.shape[0]):
        for column in range(means.shape[1]):
            block = values[row * size[0] : (row + 1) * size[0], column * size[1] : (column + 1) * size[1]]
            assert means[row, column] == pytest.approx(np.mean(block, dtype=np.float64), abs=1e-6)


def test_a_block_with_a_value_that_is_not_finite_is_not_finite() -> None:
    values = np.zeros((10, 10))
    values[3, 7], values[9, 0] = np.nan, np.inf
    means = block_means(values, (5, 5))
    assert np.isnan(means).tolist() == [[False, True], [True, False]]


def test_signed_scales_are_centred_on_zero_and_others_span_the_finite_values() -> None:
    values = np.array([-0.5, np.nan, 2.0, np.inf])
    assert scale_of(values, signed=True) == Scale(-2.0, 2.0, "RdBu_r")
    assert scale_of(values, signed=False) == Scale(-0.5, 2.0, "viridis")
    assert scale_of(values, signed=True, limits=(-1, 1)) == Scale(-1.0, 1.0, "RdBu_r")


@pytest.mark.parametrize(
    ("values", "low", "high"), [([0.0], 0, 1), ([3.0], 0, 3), ([-3.0], -3, 0), ([np.nan], 0, 1), ([], 0, 1)]
)
def test_the_scale_of_a_constant_reaches_to_zero(values: list[float], low: float, high: float) -> None:
    assert scale_of(np.array(values), signed=False)[:2] == (low, high)


@given(
    arrays.arrays(np.float64, st.integers(1, 40), elements=st.floats(-10, 10)),
    st.sampled_from(["RdBu_r", "viridis", "gray"]),
)
def test_painting_is_what_matplotlib_does(values: np.ndarray, color_map: str) -> None:
    scale = Scale(-3.0, 3.0, color_map)
    expected = colormaps[color_map](Normalize(-3, 3, clip=True)(values), bytes=True)
    # matplotlib cuts the map into 256 equal parts, tdb rounds to the nearest of 256 colours: one colour apart at most.
    assert np.abs(paint(values, scale).astype(int) - expected).max() <= 10


def test_what_is_not_finite_has_a_colour_that_the_map_does_not_have() -> None:
    for color_map in ("RdBu_r", "viridis", "gray"):
        scale = Scale(-1.0, 1.0, color_map)
        odd = paint(np.array([np.nan, np.inf, -np.inf]), scale)
        assert odd.tolist() == [hex_color(scale.not_finite)] * 3
        usual = paint(np.linspace(-1, 1, 256), scale).astype(int)
        assert np.abs(usual - odd[0]).sum(axis=1).min() > 100


def test_zero_is_white_in_a_signed_scale() -> None:
    assert paint(np.zeros(1), Scale(-5.0, 5.0, "RdBu_r"))[0, :3].min() > 240


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2), st.integers(0, 3))
def test_a_mosaic_has_each_tile_in_its_place(
    count: int, columns: int, height: int, width: int, gap: int, strip: int
) -> None:
    tiles = np.random.default_rng(count).integers(0, 255, (count, height, width, 4)).astype(np.uint8)
    raster = mosaic(tiles, columns, gap=gap, strip=strip)
    rest = np.ones(raster.shape[:2], bool)
    for at in range(count):
        row, column = divmod(at, columns)
        top = row * (strip + height + 2 * gap) + strip
        left = column * (width + 2 * gap)
        frame = raster[top : top + height + 2 * gap, left : left + width + 2 * gap]
        assert (frame[gap : gap + height, gap : gap + width] == tiles[at]).all()
        if gap:
            assert (frame[0, :, :3] == GAP_GRAY).all()
        rest[top : top + height + 2 * gap, left : left + width + 2 * gap] = False
    assert (raster[rest] == 0).all()


def test_colour_images_are_taken_as_they_are_or_stretched() -> None:
    as_is, stretched = paint_rgb(np.array([[[[0.0, 0.5, 1.0]]]]))
    assert (as_is[0, 0, 0].tolist(), stretched) == ([0, 128, 255, 255], None)
    bytes_, _ = paint_rgb(np.array([[[[0, 100, 255]]]], np.uint8))
    assert bytes_[0, 0, 0].tolist() == [0, 100, 255, 255]
    normalised, stretched = paint_rgb(np.array([[[[-1.0, 0.0, 3.0]]]]))
    assert (normalised[0, 0, 0].tolist(), stretched) == ([0, 64, 255, 255], (-1.0, 3.0))
    odd, _ = paint_rgb(np.array([[[[0.0, np.nan, 1.0]]]]))
    assert odd[0, 0, 0].tolist() == [255, 0, 255, 255]


@given(arrays.arrays(np.float32, st.integers(0, 20), elements=st.floats(width=32)))
def test_counts_and_range_are_those_of_a_loop(values: np.ndarray) -> None:
    finite = [value for value in values.tolist() if np.isfinite(value)]
    counts = not_finite_counts(values)
    assert counts.get("NaN", 0) == sum(map(math.isnan, values.tolist()))
    assert sum(counts.values()) == len(values) - len(finite)
    assert finite_range(values) == ((min(finite), max(finite)) if finite else (0.0, 0.0))


def test_what_is_not_finite_is_said_in_words() -> None:
    assert not_finite_text(np.array([np.nan, np.nan, np.inf, 1.0]), "green") == "2 NaN, 1 inf in green"
    assert not_finite_text(np.array([1.0, 2.0]), "green") == ""
    assert not_finite_text(np.array([1, 2])) == ""


def xterm_colors() -> np.ndarray:
    """The 240 fixed colours of xterm, from 16 on."""
    levels = (0, 95, 135, 175, 215, 255)
    cube = [(red, green, blue) for red in levels for green in levels for blue in levels]
    return np.array(cube + [(level, level, level) for level in range(8, 248, 10)])


@given(st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255)))
def test_a_colour_becomes_a_near_one_of_the_256(rgb: tuple[int, int, int]) -> None:
    distances = np.square(xterm_colors() - rgb).sum(axis=1)
    chosen = int(color_256(np.array(rgb))) - 16
    # Each channel is rounded by itself and the grey by its mean: that is the nearest of the cube and of the greys.
    assert distances[chosen] == distances.min()
