"""Full chunks, and which rows of them go: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tdb.results import Array


class Sealed(NamedTuple):
    """A full chunk, never written again; it was thinned `level` times, so about one row in 2**level is left."""

    level: int
    rows: Array


def row_count(chunks: Iterable[Sealed]) -> int:
    """Return how many rows all chunks hold."""
    return sum(len(rows) for _, rows in chunks)


def size(chunks: Iterable[Sealed]) -> int:
    """Return how many bytes all chunks take."""
    return sum(rows.nbytes for _, rows in chunks)


def densest_pair(chunks: Sequence[Sealed]) -> slice | None:
    """Choose two neighbours: the oldest of the lowest level that has two, or the newest if all levels differ.

    Levels never rise from old to new, because this is the only choice ever made; so two of one level are neighbours. A
    chunk that is alone is chosen alone, None if there is nothing in it to choose from.
    """
    if len(chunks) < 2:
        return slice(0, 1) if chunks and len(chunks[0].rows) > 1 else None
    levels = [chunk.level for chunk in chunks]
    shared = [level for level in levels if levels.count(level) > 1]
    first = levels.index(min(shared)) if shared else len(chunks) - 2
    return slice(first, first + 2)


def gather(chunks: Sequence[Sealed], chosen: Array, found: Array) -> None:
    """Copy the chosen rows of neighbouring chunks to `found`; `chosen` [n] bool counts through all of them.

    Rows go straight to their place: temporary arrays of this size would leave the heap in fragments.
    """
    seen = taken = 0
    for _, rows in chunks:
        index = np.flatnonzero(chosen[seen : seen + len(rows)])
        np.take(cast_rows(rows, found.dtype), index, out=found[taken : taken + len(index)], mode="clip")
        seen, taken = seen + len(rows), taken + len(index)


def every_second(rows: Array) -> Array:
    """Return `rows` [n] bool with every second of those that are True made False, beginning with the second."""
    chosen = rows.copy()
    chosen[np.flatnonzero(rows)[1::2]] = False
    return chosen


def replaced(chunks: tuple[Sealed, ...], pair: slice, rows: Array) -> tuple[Sealed, ...]:
    """Return `chunks` with `rows` in place of a pair that was thinned."""
    level = max(chunk.level for chunk in chunks[pair]) + 1
    middle = (Sealed(level, rows),) if len(rows) else ()
    return (*chunks[: pair.start], *middle, *chunks[pair.stop :])


def cast_rows(rows: Array, dtype: np.dtype[Any]) -> Array:
    """Return `rows` as `dtype`, whose fields may be longer along their first axis: NaN in what is added."""
    if rows.dtype == dtype:
        return rows
    wide = np.empty(len(rows), dtype)
    for name in dtype.names or ():
        if wide[name].shape == rows[name].shape:
            wide[name] = rows[name]
        else:
            wide[name] = np.nan
            wide[name][:, : rows[name].shape[1]] = rows[name]
    return wide
