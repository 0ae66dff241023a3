"""What the colours of a picture mean: a bar beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tdb.views import canvas
from tdb.views.canvas import Box
from tdb.views.raster import Scale, paint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BAR_WIDTH = 0.85
"""Inches to keep free at the right of a picture for its bar."""

TALLEST_BAR = 3.0


def paint_bar(figure: Figure, beside: Box, scale: Scale, name: str = "") -> None:
    """Paint the bar of `scale` at the right of the box `beside`, with its ends and its middle as numbers."""
    height = min(beside.height, TALLEST_BAR)
    left = beside.left + beside.width + 0.1
    axes = canvas.axes_in(figure, Box(left, beside.bottom + beside.height - height, 0.12, height))
    values = np.linspace(scale.low, scale.high, 256)
    span = (scale.low, scale.high) if scale.low < scale.high else (scale.low - 0.5, scale.high + 0.5)
    axes.imshow(paint(values[:, None], scale), aspect="auto", origin="lower", extent=(0, 1, *span))
    ticks = [span[0], (span[0] + span[1]) / 2, span[1]]
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks(ticks, canvas.tick_texts(ticks))
    axes.set_label("colour bar")
    if name:
        axes.set_ylabel(name, fontsize=canvas.NOTE_SIZE, color=canvas.INK)
        axes.yaxis.set_label_position("right")
