"""Places on a figure, in inches: every picture is painted into a box, alone or beside others.

Positions are computed here rather than left to matplotlib's layout engines: those cost more than the drawing, and
labels that must not overlap need to know where they will be.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.textpath import TextPath

    from tdb.views.raster import Scale

DPI = 100
TITLE_SIZE, NOTE_SIZE, TICK_SIZE, LABEL_SIZE = 11.0, 8.0, 8.0, 7.0
INK, FAINT = "#202020", "#606060"
MARGIN = 0.1
SMALL_TEXT: dict[str, Any] = {"fontsize": NOTE_SIZE, "color": INK, "parse_math": False}
"""How text is written, with dollar signs that are no mathematics."""

TINY_TEXT = SMALL_TEXT | {"fontsize": LABEL_SIZE}


class Box(NamedTuple):
    """A rectangle of a figure, in inches from its lower left corner."""

    left: float
    bottom: float
    width: float
    height: float

    def inset(self, left: float = 0, bottom: float = 0, right: float = 0, top: float = 0) -> Box:
        """Return the box without a margin at each side."""
        width, height = self.width - left - right, self.height - bottom - top
        return Box(self.left + left, self.bottom + bottom, width, height)


@dataclass(frozen=True)
class View:
    """A picture ready to be painted: all that had to be computed of its data is done.

    Attributes:
        width: inches that the picture itself takes, without its header and the bar of its colours.
        height: the same upwards.
        paint: paints the picture into a box of a figure and returns the box that its axes fill.
        remarks: what has to be said of the data beside the caption, values that are not finite above all.
        scale: what its colours mean, if they are a scale that a bar can show.
        scale_name: what those colours show.
    """

    width: float
    height: float
    paint: Callable[[Figure, Box], Box]
    remarks: Sequence[str] = ()
    scale: Scale | None = None
    scale_name: str = ""


def axes_in(figure: Figure, box: Box) -> Axes:
    """Return new axes that fill `box`."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((box.left / width, box.bottom / height, box.width / width, box.height / height))
    axes.tick_params(which="both", labelsize=TICK_SIZE, colors=INK)
    return axes


def write(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
    """Write `text` at (x, y) inches; dollar signs in it are no mathematics."""
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, text, **(SMALL_TEXT | style))


def text_inches(text: str, size: float) -> float:
    """Return about how wide `text` is at `size` points: 0.6 of the size a character, as in DejaVu Sans."""
    return 0.6 * size / 72 * max(map(len, text.split("\n")))


def line_inches(size: float) -> float:
    """Return the height of a line of text at `size` points."""
    return 1.4 * size / 72


def _wrapped(text: str, width: float, size: float) -> list[str]:
    return textwrap.wrap(text, max(int(width / (0.6 * size / 72)), 10))


def header_height(title: str, notes: Sequence[str], width: float) -> float:
    """Return the height in inches that `write_header` takes for these texts over `width` inches."""
    titles = _wrapped(title, width, TITLE_SIZE)
    lines = [line for note in notes for line in _wrapped(note, width, NOTE_SIZE)]
    gap = MARGIN if titles or lines else 0
    return len(titles) * line_inches(TITLE_SIZE) + len(lines) * line_inches(NOTE_SIZE) + gap


def write_header(figure: Figure, box: Box, title: str, notes: Sequence[str]) -> Box:
    """Write a title and the notes under it at the top of `box`, wrapped to its width; return what is left of it."""
    y = box.bottom + box.height
    lines = [(line, TITLE_SIZE, INK, "bold") for line in _wrapped(title, box.width, TITLE_SIZE)]
    lines += [(line, NOTE_SIZE, FAINT, "normal") for note in notes for line in _wrapped(note, box.width, NOTE_SIZE)]
    for text, size, color, weight in lines:
        write(figure, box.left, y, text, fontsize=size, color=color, fontweight=weight, va="top")
        y -= line_inches(size)
    return box.inset(top=header_height(title, notes, box.width))


def nothing(why: str) -> View:
    """Return the view of a picture that has nothing to draw."""
    return View(4.0, 1.0, partial(_say, why))


def _say(text: str, figure: Figure, box: Box) -> Box:
    """Write `text` into the middle of `box`."""
    x, y = box.left + box.width / 2, box.bottom + box.height / 2
    write(figure, x, y, text, color=FAINT, fontsize=10, ha="center", va="center")
    return box


def write_many(axes: Axes, places: Sequence[tuple[float, float]], texts: Sequence[str]) -> None:
    """Write texts at places in the axes' data, the last line of each on the place, as one collection of outlines.

    A Text artist takes 0.4 ms to draw, 128 of them longer than the images they name.
    """
    from matplotlib.collections import PathCollection
    from matplotlib.transforms import Affine2D

    lines = [
        (_outline(line, level), place)
        for text, place in zip(texts, places, strict=True)
        for level, line in enumerate(reversed(text.split("\n")))
        if line.strip()
    ]
    if not lines:
        return
    outlines = PathCollection(
        [outline for outline, _ in lines],
        offsets=[place for _, place in lines],
        offset_transform=axes.transData,
        transform=Affine2D().scale(1 / 72) + axes.figure.dpi_scale_trans,
        facecolors=INK,
        linewidths=0,
        clip_on=False,
    )
    outlines.set_label("\n".join(texts))
    axes.add_artist(outlines)


@lru_cache(maxsize=1024)
def _outline(text: str, level: int) -> TextPath:
    """Return the outlines of a line of small text, `level` lines above the origin."""
    from matplotlib.textpath import TextPath

    plain = text.replace("$", r"\$")  # a dollar sign in a label is no mathematics
    return TextPath((0, level * line_inches(LABEL_SIZE) * 72), plain, size=LABEL_SIZE, usetex=False)


def open_frame(axes: Axes) -> None:
    """Leave only the left and the lower line of the axes' frame, and a faint grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)


def name_axes(axes: Axes, x_name: str, y_name: str) -> None:
    """Name both axes; dollar signs in the names are no mathematics."""
    axes.set_xlabel(x_name, fontsize=NOTE_SIZE, color=INK, parse_math=False)
    axes.set_ylabel(y_name, fontsize=NOTE_SIZE, color=INK, parse_math=False)


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """Return the numbers at the ends and the middle of a scale, as fine as three digits of what they span."""
    span = max(ticks) - min(ticks)
    if not 1e-4 <= span < 1e6:
        return [f"{tick:.3g}" for tick in ticks]
    decimals = max(0, 2 - math.floor(math.log10(span)))
    texts = [f"{tick:.{decimals}f}" for tick in ticks]
    return [text.rstrip("0").rstrip(".") if "." in text else text for text in texts]
