"""The distribution of an array's finite values."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tdb.queries import not_finite_text
from tdb.results import Array, Histogram
from tdb.views import canvas
from tdb.views.canvas import Box, View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST_BINS, MOST_BINS = 10, 100


def remarks(picture: Histogram) -> list[str]:
    """Return how many values are not finite, if any."""
    return list(filter(None, [not_finite_text(picture.values)]))


def view(picture: Histogram) -> View:
    """Return the histogram ready to be painted."""
    finite = picture.values[np.isfinite(picture.values)]
    if finite.size == 0:
        return replace(canvas.nothing("no finite values"), remarks=remarks(picture))
    return View(7.0, 3.8, partial(_paint, picture, finite), remarks(picture))


def bins(values: Array, most: int = MOST_BINS) -> tuple[Array, Array]:
    """Return the counts [n] and the edges [n + 1] of a histogram of finite `values`.

    Few integers have a bar each. Otherwise the bins are as wide as Freedman and Diaconis (1981) propose, twice the
    interquartile range over the cube root of the count, but there are at least 10 and at most `most`.
    """
    values = values.astype(np.float64)
    low, high = values.min(), values.max()
    if low == high:
        reach = max(0.5, abs(low) / 100)
        edges = np.array([low - reach, high + reach])
    elif high - low < most and (values == np.round(values)).all():
        edges = np.arange(low - 0.5, high + 1)
    else:
        quarter, three_quarters = np.percentile(values, [25, 75])
        width = 2 * (three_quarters - quarter) / np.cbrt(values.size)
        count = np.clip((high - low) / width, FEWEST_BINS, most) if width > 0 else most
        edges = np.histogram_bin_edges(values, int(count))
    return np.histogram(values, edges)


def _paint(picture: Histogram, finite: Array, figure: Figure, box: Box) -> Box:
    """Paint the histogram into `box`; return what its axes fill."""
    from matplotlib.ticker import MaxNLocator

    counts, edges = bins(finite.ravel())
    place = box.inset(left=0.75, bottom=0.55, right=0.15, top=0.1)
    axes = canvas.axes_in(figure, place)
    axes.stairs(counts, edges, fill=True, color="#4c78a8")
    axes.set_yscale("log" if picture.log else "linear")
    axes.set_ylim(bottom=0.8 if picture.log else 0)
    if not picture.log:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    canvas.name_axes(axes, picture.name, f"how many of {finite.size:,}")
    axes.margins(x=0.02)
    canvas.open_frame(axes)
    return place
