"""Pure views: a part of a result in, a rich renderable, plain text or a matplotlib figure out. Nothing here prints.

    renderable(part, width=80)      Table, Facts, Text or TensorValue for a terminal, with colours
    plain_text(part)                the same for a pipe: aligned, whole, without colours
    draw(picture)                   Images, Matrix, Scatter, Curves, Profiles, Histogram or Page as a Figure
    caption(picture)                what the picture shows, on one line

`tdb.views.sketch` and `tdb.views.terminal` show pictures inside a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tdb.results import Facts, Table, TensorValue, Text
from tdb.views.columns import csv_text
from tdb.views.facts import facts_lines, text_lines
from tdb.views.figure import caption, draw
from tdb.views.lines import Line, plain, styled
from tdb.views.table import table_lines
from tdb.views.tensor import tensor_lines

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["caption", "csv_text", "draw", "plain_text", "renderable"]

TextPart = Table | Facts | Text | TensorValue


def renderable(part: TextPart, *, width: int, ascii_only: bool = False) -> RenderableType:
    """Return a part as a rich renderable of at most `width` columns. Text from a user is never taken as markup.

    Args:
        part: a table, facts, a text or a tensor; pictures are for `draw`.
        width: columns of the terminal.
        ascii_only: nothing but ASCII, for terminals whose encoding cannot do more.
    """
    return styled(_lines(part, width, full=False, ascii_only=ascii_only))


def plain_text(part: TextPart, *, full: bool = True, ascii_only: bool = False) -> str:
    """Return a part as text for a pipe or a file: aligned columns, nothing cut off, no styles.

    Args:
        part: a table, facts, a text or a tensor.
        full: numbers with all their digits; otherwise the numbers of a column share one format, as on a terminal.
        ascii_only: nothing but ASCII.
    """
    return plain(_lines(part, None, full=full, ascii_only=ascii_only))


def _lines(part: TextPart, width: int | None, *, full: bool, ascii_only: bool) -> Iterator[Line]:
    match part:
        case Table():
            return table_lines(part, width, full=full, ascii_only=ascii_only)
        case Facts():
            return facts_lines(part, width, full=full, ascii_only=ascii_only)
        case TensorValue():
            return tensor_lines(part, width, ascii_only=ascii_only)
        case Text():
            return text_lines(part, width, ascii_only=ascii_only)
