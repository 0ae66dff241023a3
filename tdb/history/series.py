"""Rows of one kind, in chunks: appended at the end, thinned in the older half, read as columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tdb.history.thinning import Sealed, cast_rows, densest_pair, every_second, gather, replaced, row_count, size

if TYPE_CHECKING:
    from torch import Tensor

    from tdb.history.budget import Budget
    from tdb.results import Array


class Chunk:
    """The chunk that is being filled: its first `length` rows are published."""

    __slots__ = ("device_losses", "length", "rows", "waiting")

    def __init__(self, rows: Array) -> None:
        self.rows = rows
        self.length = 0
        self.device_losses: Tensor | None = None
        self.waiting: Array | None = None

    def leave_on_device(self, loss: Tensor) -> None:
        """Keep the next row's loss on its device: a copy is queued there, and nothing waits for it.

        A copy, because a loop may write its next loss into the same memory (CUDA graphs do).
        """
        if self.device_losses is None:
            self.waiting = np.zeros(len(self.rows), dtype=bool)
            self.device_losses = loss.detach().new_empty(len(self.rows))
        assert self.waiting is not None
        self.device_losses[self.length].copy_(loss.detach().reshape(()))
        self.waiting[self.length] = True

    def recorded(self) -> Array:
        """Return the published rows; the losses that were left on a device come over in one copy."""
        length = self.length
        rows = self.rows[:length]
        if self.device_losses is None or self.waiting is None:
            return rows
        waiting = self.waiting[:length]
        rows = rows.copy()
        rows["loss"][waiting] = self.device_losses[:length].cpu().double().numpy()[waiting]
        return rows


class State(NamedTuple):
    """All chunks of a series at one moment: `kept` are the pinned rows that thinning set aside."""

    sealed: tuple[Sealed, ...]
    kept: tuple[Sealed, ...]
    open: Chunk


class Snapshot:
    """The rows of a series as they stood at one moment, in the order of their ticks."""

    def __init__(self, parts: Sequence[Array], sort: bool) -> None:
        self._parts = tuple(parts)
        self._order: Array | None = None
        if sort:
            self._order = np.argsort(self.column("tick"), kind="stable")

    def column(self, pick: str | Callable[[Array], Array]) -> Array:
        """Return one column as an owned array: a field by name, or what `pick` makes of each chunk's rows."""
        values = [part[pick] if isinstance(pick, str) else pick(part) for part in self._parts]
        joined = np.concatenate(values)
        return joined if self._order is None else joined[self._order]

    def rows_after(self, tick: int, dtype: np.dtype[Any]) -> Array:
        """Return the rows after `tick` as an owned array of `dtype`, in the order of their ticks."""
        # What was not set aside is in the order of its ticks: a look at the last row of each part is enough.
        newest = np.max if self._order is not None else _last
        parts = [part[part["tick"] > tick] for part in self._parts if len(part) and newest(part["tick"]) > tick]
        rows = np.concatenate([np.empty(0, dtype), *(cast_rows(part, dtype) for part in parts)])
        return rows if self._order is None else rows[np.argsort(rows["tick"], kind="stable")]


class Series:
    """Rows of one kind: appended at the end, thinned in the older half, read as columns.

    Args:
        budget: the bytes that this series shares with others.
        dtype: a structured type with a field `tick` that grows from row to row.
    """

    def __init__(self, budget: Budget, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.nbytes = 0
        self._budget = budget
        self._state = State((), (), Chunk(np.empty(0, dtype)))
        budget.admit(self)

    def __len__(self) -> int:
        sealed, kept, chunk = self._state
        return row_count(sealed) + row_count(kept) + chunk.length

    def room(self) -> Chunk:
        """Return the chunk that takes the next row; a full one is sealed and a new one begun."""
        chunk = self._state.open
        if chunk.length < len(chunk.rows):
            return chunk
        capacity = min(self._budget.rows_in_a_chunk(self.dtype), max(16, len(self)))
        self._budget.make_room(capacity * self.dtype.itemsize)
        return self._begin(capacity)

    def append(self, row: tuple[Any, ...]) -> None:
        """Write one row; readers see it when it is whole."""
        chunk = self._state.open
        if chunk.length == len(chunk.rows):
            chunk = self.room()
        chunk.rows[chunk.length] = row
        chunk.length += 1

    def extend(self, rows: Array) -> None:
        """Write many rows of this series' dtype."""
        while len(rows):
            chunk = self.room()
            taken = min(len(rows), len(chunk.rows) - chunk.length)
            chunk.rows[chunk.length : chunk.length + taken] = rows[:taken]
            chunk.length += taken
            rows = rows[taken:]

    def widen(self, dtype: np.dtype[Any]) -> None:
        """Go on with a dtype whose fields are as wide or wider; rows written before are NaN there."""
        self.dtype = dtype
        self.seal()

    def seal(self) -> None:
        """Close the chunk that is being filled and give back what it does not use."""
        self._begin(0)

    def snapshot(self) -> Snapshot:
        """Return what is recorded now."""
        sealed, kept, chunk = self._state
        return Snapshot([*(rows for _, rows in sealed + kept), chunk.recorded()], sort=bool(kept))

    def levels(self) -> list[Sealed]:
        """Return the rows that were not set aside, oldest first, with how often they were thinned."""
        sealed, _, chunk = self._state
        return [*sealed, Sealed(0, chunk.recorded())]

    def thin(self, share: float = 0.5) -> bool:
        """Let every second row go in one or two chunks of the oldest `share` of rows; tell whether any could."""
        sealed, kept, chunk = self._state
        if size(kept) > size(sealed) and (pair := densest_pair(kept)):
            staying = every_second(np.ones(row_count(kept[pair]), dtype=bool))
            self._publish(State(sealed, replaced(kept, pair, self._gathered(kept[pair], staying)), chunk))
            return True
        most = share * (row_count(sealed) + chunk.length)
        older = np.cumsum([len(rows) for _, rows in sealed]) <= most
        pair = densest_pair(sealed[: int(older.sum())])
        if pair is None:
            return False
        ticks = np.concatenate([rows["tick"] for _, rows in sealed[pair]])
        pinned = np.isin(ticks, self._budget.marks.snapshot().column("tick"))
        kept = self._set_aside(kept, self._gathered(sealed[pair], pinned))
        rows = self._gathered(sealed[pair], every_second(~pinned))
        self._publish(State(replaced(sealed, pair, rows), kept, chunk))
        return True

    def _gathered(self, chunks: Sequence[Sealed], chosen: Array) -> Array:
        found = self._budget.allocate(int(np.count_nonzero(chosen)), self.dtype)
        gather(chunks, chosen, found)
        return found

    def _set_aside(self, kept: tuple[Sealed, ...], rows: Array) -> tuple[Sealed, ...]:
        if not len(rows):
            return kept
        most = self._budget.rows_in_a_chunk(self.dtype)
        if kept and kept[-1].level == 0 and len(kept[-1].rows) + len(rows) <= most:
            return (*kept[:-1], Sealed(0, np.concatenate([cast_rows(kept[-1].rows, self.dtype), rows])))
        return (*kept, Sealed(0, rows))

    def _begin(self, capacity: int) -> Chunk:
        sealed, kept, chunk = self._state
        if chunk.length:
            rows = chunk.recorded()
            # A view of a chunk that is not full would hold the whole of it.
            sealed = (*sealed, Sealed(0, rows if len(rows) == len(chunk.rows) else rows.copy()))
        chunk = Chunk(self._budget.allocate(capacity, self.dtype))
        self._publish(State(sealed, kept, chunk))
        return chunk

    def _publish(self, state: State) -> None:
        nbytes = size(state.sealed) + size(state.kept) + state.open.rows.nbytes
        self._budget.used += nbytes - self.nbytes
        self.nbytes = nbytes
        self._state = state


def _last(values: Array) -> Any:
    return values[-1]
