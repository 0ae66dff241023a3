"""Any picture as a matplotlib Figure: its title and notes, the picture itself, and what its colours mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from types import ModuleType
from typing import TYPE_CHECKING

from tdb.results import Curves, Histogram, Images, Matrix, Page, Picture, Profiles, Scatter
from tdb.views import canvas, curves, histogram, images, matrix, profiles, scatter
from tdb.views.canvas import DPI, MARGIN, Box, View
from tdb.views.colorbar import BAR_WIDTH, paint_bar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODULES: dict[type, ModuleType] = {
    Images: images,
    Matrix: matrix,
    Scatter: scatter,
    Curves: curves,
    Profiles: profiles,
    Histogram: histogram,
}
"""Each has `view(picture)`, the picture ready to be painted, and `remarks(picture)`, what else there is to say."""

NARROWEST = 4.0
"""Inches that a title gets at least."""


def draw(picture: Picture, figure: Figure | None = None) -> Figure:
    """Return a figure of `picture`: a new one that belongs to no window, or `figure`, cleared and resized for it."""
    from matplotlib.figure import Figure

    ready = view_of(picture)
    if figure is None:
        figure = Figure(figsize=(ready.width, ready.height), dpi=DPI)
    else:
        figure.clear()
        figure.set_size_inches(ready.width, ready.height)
    ready.paint(figure, Box(0, 0, ready.width, ready.height))
    return figure


def caption(picture: Picture) -> str:
    """Return the one line that says what a picture shows, so that it can be read without the picture."""
    return "; ".join(filter(None, [picture.caption or picture.title, *_remarks(picture)]))


def _remarks(picture: Picture) -> list[str]:
    if isinstance(picture, Page):
        return [remark for part in picture.pictures for remark in _remarks(part)]
    said: list[str] = MODULES[type(picture)].remarks(picture)
    return said


def view_of(picture: Picture) -> View:
    """Return a picture ready to be painted, with its header, the bar of its colours and its margins."""
    return _page(picture) if isinstance(picture, Page) else _framed(picture, MODULES[type(picture)].view(picture))


def _framed(picture: Picture, body: View) -> View:
    """Return `body` with the header of its picture, a bar if it has a scale, and margins."""
    captioned = isinstance(picture, Page) and all(part.caption for part in picture.pictures)
    notes = list(filter(None, ["" if captioned else picture.caption, "; ".join(body.remarks)]))
    width = max(body.width + (BAR_WIDTH if body.scale else 0), NARROWEST)
    height = body.height + canvas.header_height(picture.title, notes, width)

    def paint(figure: Figure, box: Box) -> Box:
        inner = box.inset(MARGIN, MARGIN, MARGIN, MARGIN)
        room = canvas.write_header(figure, inner, picture.title, notes)
        place = body.paint(figure, room.inset(right=BAR_WIDTH if body.scale else 0))
        if body.scale:
            paint_bar(figure, place, body.scale, body.scale_name)
        return box

    return View(width + 2 * MARGIN, height + 2 * MARGIN, paint)


def _page(page: Page) -> View:
    """Return the pictures of a page side by side, `columns` in a row, under the page's own header."""
    rows = [page.pictures[at : at + page.columns] for at in range(0, len(page.pictures), page.columns)]
    views = [_row(row) for row in rows]

    def paint(figure: Figure, box: Box) -> Box:
        top = box.bottom + box.height
        for row in views:
            left = box.left
            for part in row:
                part.paint(figure, Box(left, top - part.height, part.width, part.height))
                left += part.width
            top -= max(part.height for part in row)
        return box

    width = max((sum(part.width for part in row) for row in views), default=0.0)
    return _framed(page, View(width, sum(max(part.height for part in row) for row in views), paint))


def _row(pictures: Sequence[Picture]) -> list[View]:
    """Return pictures that stand side by side; one has no bar where its neighbour at the right has the same scale."""
    bodies = [None if isinstance(part, Page) else MODULES[type(part)].view(part) for part in pictures]
    scales = [body and body.scale for body in bodies]
    views = []
    for part, body, following in zip_longest(pictures, bodies, scales[1:]):
        if body is None:
            views.append(view_of(part))
        else:
            views.append(_framed(part, replace(body, scale=None) if body.scale == following else body))
    return views
