"""A table laid out in lines: for a terminal of some width, or for a pipe."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from tdb.results import Table
from tdb.views import theme
from tdb.views.columns import Column, columns_of, note_of
from tdb.views.fold import fold_header
from tdb.views.lines import Line, Span, folded, pad, prose, text_width
from tdb.views.number import printable

GAPS = ("  ", " ")
"""Between columns; the narrow one where it keeps a table in one piece."""

NARROWEST_HEADER = 5
WIDE_TEXT, NARROW_TEXT = 24, 12
"""Text columns wider than this are wrapped, down to this, before columns are moved below one another; or to the second
where that does not fit either."""


def table_lines(
    table: Table, width: int | None = None, *, full: bool = False, ascii_only: bool = False
) -> Iterator[Line]:
    """Yield the lines of `table`.

    Args:
        table: what to show.
        width: columns of the terminal, into which headers are folded; where that is not enough, the columns come in
            several blocks, each with the first column and the status. None folds nothing and rules no lines.
        full: every number with all its digits.
        ascii_only: nothing but ASCII.
    """
    columns = columns_of(table, full=full, ascii_only=ascii_only)
    if table.title:
        yield from prose(printable(table.title, ascii_only=ascii_only), theme.HEADER, width)
    if width is None:
        yield from _block([Laid(column, [column.name]) for column in columns], GAPS[0], rule="")
    else:
        blocks, gap = _blocks(columns, width, keyed=bool(table.status))
        for number, block in enumerate(blocks):
            if number:
                yield [("", "")]
            for line in _block(block, gap, rule="-" if ascii_only else "─"):
                yield from folded(line, width)
    note = note_of(table)
    if note:
        yield from prose(printable(note, ascii_only=ascii_only), theme.DIM, width)


@dataclass(frozen=True)
class Laid:
    """A column in its place, with its header in lines."""

    column: Column
    header: Sequence[str]

    @property
    def width(self) -> int:
        """How many columns of the terminal it takes."""
        return max(self.column.width, *map(text_width, self.header))

    def padded(self, texts: Sequence[str], height: int | None = None) -> list[str]:
        """Return the texts filled to the column's width, under as many blank ones as make up `height`."""
        blank = [""] * ((height or len(texts)) - len(texts))
        width = self.width
        return [pad(text, width, right=self.column.right) for text in (*blank, *texts)]


def _blocks(columns: list[Column], width: int, *, keyed: bool) -> tuple[list[list[Laid]], str]:
    """Return the columns in the fewest blocks that fit `width`, and the gap to set between columns.

    Where not even one column beside the first and the status fits, each stands beside the first alone.
    """
    for narrowest in (WIDE_TEXT, NARROW_TEXT):
        wrapped = _wrapped(columns, width, narrowest)
        last = len(wrapped) - 1 if keyed else len(wrapped)
        key, rest, status = wrapped[:1], wrapped[1:last], wrapped[last:]
        for count, gap in product(range(1, max(len(rest), 1) + 1), GAPS):
            parts = np.array_split(np.arange(len(rest)), count)
            blocks = [_fitted([*key, *(rest[index] for index in part), *status], width, gap) for part in parts]
            if all(blocks):
                return blocks, gap
    alone = [[*key, each] for each in (*rest, *status)] or [key]
    return [[_narrowest(column) for column in block] for block in alone], GAPS[1]


def _narrowest(column: Column) -> Laid:
    return Laid(column, fold_header(column.name, max(column.width, NARROWEST_HEADER)))


def _fitted(columns: Sequence[Column], width: int, gap: str) -> list[Laid]:
    """Return the columns with headers folded no more than `width` asks for; nothing if they cannot fit."""
    bodies = [column.width for column in columns]
    room = width - len(gap) * (len(columns) - 1)
    for limit in range(max((len(column.name) for column in columns), default=0), NARROWEST_HEADER - 1, -1):
        headers = [fold_header(column.name, max(limit, body)) for column, body in zip(columns, bodies, strict=True)]
        laid = [Laid(column, header) for column, header in zip(columns, headers, strict=True)]
        if sum(column.width for column in laid) <= room:
            return laid
    return []


def _wrapped(columns: list[Column], width: int, narrowest: int) -> list[Column]:
    """Return the columns with wide texts wrapped, the widest first, as far as `width` asks for.

    What is left of a wrapped text stands in rows of its own, blank in the other columns.
    """
    needed = [max(column.width, NARROWEST_HEADER) for column in columns]
    pieces: dict[int, list[list[str]]] = {}
    for index in sorted(range(len(columns)), key=lambda index: -needed[index]):
        excess = sum(needed) + len(GAPS[0]) * (len(columns) - 1) - width
        least = narrowest if index else WIDE_TEXT  # a row has to be known by its first cell
        if excess <= 0 or columns[index].right or needed[index] <= least:
            continue
        needed[index] = max(least, needed[index] - excess)
        pieces[index] = [textwrap.wrap(cell, needed[index]) or [""] for cell in columns[index].cells]
    if not pieces:
        return columns
    heights = [max(map(len, row)) for row in zip(*pieces.values(), strict=True)]
    return [
        replace(
            column,
            cells=_stacked(pieces.get(index) or [[cell] for cell in column.cells], heights),
            styles=[style for style, height in zip(column.styles, heights, strict=True) for _ in range(height)]
            if column.styles
            else (),
        )
        for index, column in enumerate(columns)
    ]


def _stacked(rows: Sequence[Sequence[str]], heights: Sequence[int]) -> list[str]:
    """Return the lines of all rows one after the other, each row filled with blank ones to its height."""
    return [line for row, height in zip(rows, heights, strict=True) for line in (*row, *[""] * (height - len(row)))]


def _block(block: list[Laid], gap: str, rule: str) -> Iterator[Line]:
    """Yield header, rows and summary of columns that stand side by side."""
    height = max((len(laid.header) for laid in block), default=0)
    ruler = [(rule * (sum(laid.width + len(gap) for laid in block) - len(gap)), theme.DIM)]
    if any(laid.column.name.strip() for laid in block):
        for cells in zip(*(laid.padded(laid.header, height) for laid in block), strict=True):
            yield [(gap.join(cells), theme.HEADER)]
        if rule:
            yield ruler
    for row, cells in enumerate(zip(*(laid.padded(laid.column.cells) for laid in block), strict=True)):
        if row == 0 or "".join(cells).strip():  # in this block nothing is left of the row
            yield _row(cells, [laid.column.style(row) for laid in block], gap)
    if block and block[0].column.foot:
        if rule:
            yield ruler
        for cells in zip(*(laid.padded(laid.column.foot) for laid in block), strict=True):
            yield [(gap.join(cells), "")]


def _row(cells: Sequence[str], styles: Sequence[str], gap: str) -> Line:
    """Return one row as a line; cells of no style share a span."""
    spans: list[Span] = []
    for index, (cell, style) in enumerate(zip(cells, styles, strict=True)):
        space = gap if index else ""
        spans += [(space, ""), (cell, style)] if style else [(space + cell, "")]
    return spans
