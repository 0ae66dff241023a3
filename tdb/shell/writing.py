"""Answers as files: what each suffix makes of a result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tdb.errors import UsageError
from tdb.files import must_be_replaceable, replacing, written_whole
from tdb.results import Curves, Facts, Page, Part, Result, Table, TensorValue, Text
from tdb.serialise import dumps, to_json
from tdb.shell.figures import FORMATS

if TYPE_CHECKING:
    from tdb.shell.figures import FigureSink

SUFFIXES = (".csv", ".json", ".txt", *FORMATS)
SUFFIXES_OF_WORDS = (".json", ".txt")

Textual: TypeAlias = Table | Facts | Text | TensorValue


def data_of(result: Result) -> Any:
    """Return what programs are told of a result."""
    if result.data is not None:
        return result.data
    parts = [to_json(part) for part in result.parts]
    return parts[0] if len(parts) == 1 else parts


def must_be_possible(path: Path, suffixes: Sequence[str]) -> None:
    """Make sure that an answer can be written to `path`, before what is asked for is done.

    Args:
        path: where to.
        suffixes: what files the answer can be.

    Raises:
        UsageError: no answer can be such a file, or not this one.
        TdbError: no file can be there.
    """
    if path.suffix.lower() not in suffixes:
        which = "this" if path.suffix.lower() in SUFFIXES else "an"
        hint = f"It can be: {' '.join(suffixes)}"
        raise UsageError(f"{which} answer cannot be written as {path.suffix.lower() or str(path)!r}", hint)
    must_be_replaceable(path)


def write(result: Result, path: Path, sink: FigureSink) -> str:
    """Write a result to a file, as its suffix says, and return the path.

    Raises:
        UsageError: this answer cannot be such a file.
        TdbError: the file cannot be written; one that was there is as it was.
    """
    ways = dict(_ways(result, path, sink))
    suffix = path.suffix.lower()
    if suffix not in ways:
        raise UsageError(f"this answer cannot be written as {suffix or path.name!r}", f"It can be: {' '.join(ways)}")
    return ways[suffix]()


def _ways(result: Result, path: Path, sink: FigureSink) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield each suffix that an answer can be written with, and what writes it."""
    pictures = [part for part in result.parts if not isinstance(part, Textual)]
    pictures = pictures or ([result.drawn] if result.drawn is not None else [])
    tensors = [part.values for part in result.parts if isinstance(part, TensorValue)]
    tables = list(_tables(result.parts))
    if tables:
        yield ".csv", lambda: _csv(tables, path)
    yield ".json", lambda: written_whole(path, dumps(data_of(result)) + "\n")
    yield ".txt", lambda: written_whole(path, _text(result.parts))
    if pictures:
        picture = pictures[0] if len(pictures) == 1 else Page(pictures, columns=2)
        for suffix in FORMATS:
            yield suffix, lambda: sink.save(picture, path)
    elif len(tensors) == 1:
        yield ".npy", lambda: _array(tensors[0], path)


def _text(parts: Sequence[Part]) -> str:
    from tdb.views import plain_text

    return "".join(plain_text(part) for part in parts if isinstance(part, Textual))


def _array(values: Any, path: Path) -> str:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, values, allow_pickle=False)
    return str(path)


def _csv(tables: Sequence[Table], path: Path) -> str:
    """Write a table, or several of the same columns one below the other, each under its title in a first column."""
    from tdb.views import csv_text

    if len(tables) == 1:
        return written_whole(path, csv_text(tables[0]))
    if any(list(table.columns) != list(tables[0].columns) for table in tables):
        raise UsageError(f"these {len(tables)} tables have different columns, .csv takes one", "Write .json or .txt")
    titles = [table.title for table in tables]
    columns = {
        name: np.concatenate([np.asarray(table.columns[name]) for table in tables]) for name in tables[0].columns
    }
    return written_whole(path, csv_text(Table({"table": np.repeat(titles, list(map(len, tables))), **columns})))


def _tables(parts: Sequence[Part]) -> Iterator[Table]:
    """Yield the tables of an answer, or else the points of the lines that it draws."""
    from tdb.over_time import curves_table

    tables = [part for part in parts if isinstance(part, Table)]
    pictures = [each for part in parts for each in (part.pictures if isinstance(part, Page) else [part])]
    curves = [part for part in pictures if isinstance(part, Curves)]
    if not tables:
        yield from map(curves_table, curves)
    for table in tables:
        yield replace(table.exact, title=table.exact.title or table.title) if table.exact is not None else table
