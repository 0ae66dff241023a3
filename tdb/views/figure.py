"""Any picture as a matplotlib Figure: its title and notes, the picture itself, and what its colours mean."""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from types import ModuleType
from typing import TYPE_CHECKING

from tdb.results import Curves, Distributions, Histogram, Images, Matrix, Page, Picture, Profiles, Scatter
from tdb.views import canvas, curves, distributions, histogram, images, matrix, profiles, scatter
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
    Distributions: distributions,
}
"""Each has `view(picture)`, the picture ready to be painted, and `remarks(picture)`, what else there is to say."""

NARROWEST, WIDEST_PAGE = 4.0, 16.0
"""Inches that a title gets at least, and that the pictures of a page take side by side at most."""


def draw(picture: Picture, figure: Figure | None = None, moment: str = "") -> Figure:
    """Return a figure of `picture`: a new one that belongs to no window, or `figure`, cleared and resized for it.

    Args:
        picture: what to draw.
        figure: a figure to draw into.
        moment: when and of what run that was seen, such as "seen at step 120, bcl-slow"; it stands under the caption.
    """
    from matplotlib.figure import Figure

    ready = view_of(picture, moment)
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


def view_of(picture: Picture, moment: str = "") -> View:
    """Return a picture ready to be painted, with its header, the bar of its colours and its margins; see `draw`."""
    return _framed(picture, _body(picture), moment)


def _body(picture: Picture) -> View:
    body: View = _page(picture) if isinstance(picture, Page) else MODULES[type(picture)].view(picture)
    return body


def _framed(picture: Picture, body: View, moment: str = "") -> View:
    """Return `body` with the header of its picture, a bar if it has a scale, and margins."""
    captioned = isinstance(picture, Page) and all(part.caption for part in picture.pictures)
    notes = list(filter(None, ["" if captioned else picture.caption, "; ".join(body.remarks), moment]))
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
    """Return the pictures of a page side by side, `columns` in a row or as many as fit, from the upper left."""
    rows = _rows(page)

    def paint(figure: Figure, box: Box) -> Box:
        top = box.bottom + box.height
        for row in rows:
            left = box.left
            for part in row:
                part.paint(figure, Box(left, top - part.height, part.width, part.height))
                left += part.width
            top -= max(part.height for part in row)
        return box

    width = max((sum(part.width for part in row) for row in rows), default=0.0)
    return View(width, sum(max(part.height for part in row) for row in rows), paint)


def _part(page: Page, part: Picture) -> View:
    """Return a picture of a page without its frame, smaller than alone if others are to stand beside it."""
    if isinstance(part, Curves) and page.columns > 1:
        return curves.view(part, curves.ON_A_PAGE)
    return _body(part)


def _rows(page: Page) -> list[list[View]]:
    """Return the pictures of a page, each with its frame, row by row.

    A picture has no bar where its neighbour at the right has the same scale.
    """
    rows: list[list[tuple[Picture, View]]] = [[]]
    width = 0.0
    for part in page.pictures:
        body = _part(page, part)
        needed = _framed(part, body).width
        if rows[-1] and (len(rows[-1]) == page.columns or width + needed > WIDEST_PAGE):
            rows.append([])
            width = 0.0
        rows[-1].append((part, body))
        width += needed
    return [
        [
            _framed(part, replace(body, scale=None) if following and body.scale == following[1].scale else body)
            for (part, body), following in zip_longest(row, row[1:])
        ]
        for row in rows
        if row
    ]
