"""The columns of a table as text, before anything is known of where they will stand."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tdb.results import Table
from tdb.views import theme
from tdb.views.lines import text_width
from tdb.views.number import OF_ITS_OWN, as_column, cell_texts, printable, shared_format


@dataclass(frozen=True)
class Column:
    """A column as text: one text a row, then one a summary row.

    Attributes:
        name: the header.
        cells: a text a row.
        foot: a text a summary row.
        right: whether it stands at the right, as numbers do.
        styles: a rich style a row, or empty.
    """

    name: str
    cells: Sequence[str]
    foot: Sequence[str] = ()
    right: bool = False
    styles: Sequence[str] = ()

    @cached_property
    def width(self) -> int:
        """How many columns of a terminal its texts need, the header left aside."""
        return max(map(text_width, (*self.cells, *self.foot)), default=0)

    def style(self, row: int) -> str:
        """Return the style of the cell in `row`."""
        return self.styles[row] if self.styles else ""


def columns_of(table: Table, *, full: bool = False, ascii_only: bool = False) -> list[Column]:
    """Return the columns of `table` as text.

    The status comes last, as a glyph and a word. The names of the summary rows stand in the first column, or in one
    of their own where the first has a summary itself.
    """
    columns = [_column(table, name, full=full, ascii_only=ascii_only) for name in table.columns]
    labels = list(table.summary)
    status_styles = [theme.status_look(word).style for word in table.status]
    if columns and not any(columns[0].foot):
        first = columns[0]
        columns[0] = Column(first.name, first.cells, labels, first.right, first.styles or status_styles)
    elif labels:
        columns.insert(0, Column("", [""] * len(table), labels))
    if table.status:
        words = [printable(theme.status_text(word), ascii_only=ascii_only) for word in table.status]
        columns.append(Column("status", words, [""] * len(labels), styles=status_styles))
    return columns


def _column(table: Table, name: str, *, full: bool, ascii_only: bool) -> Column:
    values = as_column(table.columns[name])
    summary = [row.get(name) for row in table.summary.values()]
    real = values.dtype.kind == "f"
    summary_numbers = np.asarray(
        [value for value in summary if value is not None], dtype=values.dtype if real else np.float64
    )
    pattern = shared_format(np.concatenate([values, summary_numbers]) if real else summary_numbers)
    if table.mixed:
        pattern = OF_ITS_OWN
    summary_texts = iter(cell_texts(summary_numbers, full=full, number_format=pattern))
    styles: Sequence[str] = ()
    if real and not np.isfinite(values).all():
        styles = np.where(np.isfinite(values), "", theme.NOT_FINITE).tolist()
    return Column(
        name=printable(name, ascii_only=ascii_only),
        cells=cell_texts(values, full=full, number_format=pattern if real else "", ascii_only=ascii_only),
        foot=["" if value is None else next(summary_texts) for value in summary],
        right=values.dtype.kind in "iuf",
        styles=styles,
    )


def note_of(table: Table) -> str:
    """Return the line under a table: its note, and how many rows hold NaN or infinities."""
    real = [values for values in map(as_column, table.columns.values()) if values.dtype.kind == "f"]
    counts = []
    for word, test in (("NaN", np.isnan), ("inf", np.isinf)):
        rows = int(np.any([test(values) for values in real], axis=0).sum()) if real else 0
        if rows:
            counts.append(f"{word} in {rows} row{'s' if rows > 1 else ''}")
    return "; ".join(filter(None, [table.note, ", ".join(counts)]))


def csv_text(table: Table) -> str:
    """Return a table as CSV: a header, a line a row, every number with all its digits, the status last."""
    values = [as_column(column) for column in table.columns.values()]
    texts = [cell_texts(column, full=True) if column.dtype.kind in "biufc" else column.tolist() for column in values]
    names = list(table.columns)
    if table.status:
        names.append("status")
        texts.append(list(table.status))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(zip(*texts, strict=True))
    return out.getvalue()
