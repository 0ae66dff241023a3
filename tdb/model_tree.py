"""The tree of a model laid out for 80 columns: which modules are shown, and how their numbers are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tdb.errors import TdbError, did_you_mean
from tdb.model_view import ModuleRow
from tdb.results import Table, Text

MOST_ROWS = 40
"""About a screen: levels of the tree are shown as long as they fit."""

MOST_LISTED = 8
LISTED = 3
UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def chosen_rows(rows: Sequence[ModuleRow], subtree: str, depth: int | None) -> tuple[list[ModuleRow], int]:
    """Return the rows of a subtree that are shown, and how many lie below them.

    Args:
        rows: of the whole model.
        subtree: the name of a module, or "" for the model.
        depth: how many levels below it; None for as many as fit a screen, and at least one.

    Raises:
        TdbError: there is no such module.
    """
    paths = {row.path: row for row in rows}
    if subtree not in paths:
        near = did_you_mean(subtree, [path for path in paths if path])
        first = ", ".join(row.path for row in rows if row.depth == 1)
        raise TdbError(f"no module {subtree!r}", near or f"The first level: {first}")
    root = paths[subtree]
    inside = [row for row in rows if row is root or not subtree or row.path.startswith(f"{subtree}.")]
    if depth is None:
        depth = 1
        deepest = max(row.depth for row in inside) - root.depth
        while depth < deepest and sum(row.depth <= root.depth + depth + 1 for row in inside) <= MOST_ROWS:
            depth += 1
    shown = [row for row in inside if row.depth <= root.depth + depth]
    return shown, len(inside) - len(shown)


def tree_table(rows: Sequence[ModuleRow], everything: Sequence[ModuleRow], note: str) -> Table:
    """Return rows as a table for the eye, narrow enough for 80 columns; its `exact` is the one for files.

    Args:
        rows: what is shown.
        everything: the whole model: something wrong below what is shown is marked at the module that holds it.
        note: the line under the table.
    """
    top = rows[0].depth
    deepest = max(row.depth for row in rows)
    wrong = [row.path for row in everything if row.problems]
    names = [_name(row, row.depth - top, wrong, folded=row.children > 0 and row.depth == deepest) for row in rows]
    columns = {"module": names}
    for header, texts in (
        ("params", [_count(row.parameters) for row in rows]),
        ("|w|", [_number(row.weight_norm) for row in rows]),
        ("grad", [_number(row.grad_norm) for row in rows]),
        ("update", [_number(row.update_ratio) for row in rows]),
        ("mean", [_number(row.mean, row) for row in rows]),
        ("std", [_number(row.std, row) for row in rows]),
        ("zeros", [_share(row) for row in rows]),
    ):
        if any(texts):
            width = max(map(len, (header, *texts)))
            columns[header.rjust(width)] = [text.rjust(width) for text in texts]
    return Table(columns, note=note, exact=exact_table(rows))


def exact_table(rows: Sequence[ModuleRow]) -> Table:
    """Return rows as a table for programs: whole names and numbers."""
    numbers = ("parameters", "weight_norm", "grad_norm", "update_ratio", "mean", "std", "zeros", "calls")
    return Table(
        {
            "module": [row.path for row in rows],
            "kind": [row.kind for row in rows],
            **{name: [getattr(row, name) for row in rows] for name in numbers},
            "problems": ["; ".join(row.problems) for row in rows],
            "remarks": ["; ".join(row.remarks) for row in rows],
        }
    )


def remarks_text(rows: Sequence[ModuleRow]) -> list[Text]:
    """Return what there is to say of single modules: what is wrong first, a line each, then what is good to know."""
    problems = _gathered((row.path, f"! {{}}: {problem}") for row in rows for problem in row.problems)
    remarks = _gathered((row.path, f"{{}}: {remark}") for row in rows for remark in row.remarks)
    lines = problems[:MOST_LISTED] + (
        [f"! and {len(problems) - MOST_LISTED} more"] if len(problems) > MOST_LISTED else []
    )
    return [Text("\n".join([*lines, *remarks]))] if lines or remarks else []


def _gathered(said: Iterable[tuple[str, str]]) -> list[str]:
    """Return a line for each thing that is said, with the first modules that it is said of."""
    paths: dict[str, list[str]] = {}
    for path, line in said:
        paths.setdefault(line, []).append(path or "the model")
    return [
        line.format(", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else ""))
        for line, names in paths.items()
    ]


def _name(row: ModuleRow, level: int, wrong: Sequence[str], *, folded: bool) -> str:
    name = row.path.rpartition(".")[2] if level else row.path
    inside = folded and any(path.startswith(f"{row.path}." if row.path else "") for path in wrong)
    mark = "! " if row.problems or inside else ""
    return f"{'  ' * level}{mark}{' '.join(filter(None, [name, row.kind]))}{' +' if folded else ''}"


def _count(number: int) -> str:
    for unit, letter in UNITS:
        if number >= unit:
            return f"{number / unit:.3g}{letter}"
    return str(number) if number else ""


def _number(value: float | None, of_output: ModuleRow | None = None) -> str:
    """Return a number in two digits; of a part of an output only, with "~" before it."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "inf"
    return f"{'' if of_output is None or of_output.exact else '~'}{value:.2g}"


def _share(row: ModuleRow) -> str:
    return "" if row.zeros is None else f"{row.zeros:.0%}"
