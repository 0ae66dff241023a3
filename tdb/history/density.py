"""How densely steps are recorded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tdb.history.thinning import Sealed


class Span(NamedTuple):
    """Steps that are recorded equally densely: `rows` from `first` to `last`; every second one went `halved` times."""

    first: int
    last: int
    rows: int
    halved: int = 0

    @property
    def every(self) -> int:
        """The distance of neighbours: 1 where every step is recorded."""
        return max(1, round((self.last - self.first) / (self.rows - 1))) if self.rows > 1 else 1

    def __str__(self) -> str:
        if self.rows == 1:
            return f"step {self.first:,}"
        return f"every {_ordinal(self.every)}step from {self.first:,} to {self.last:,}"


def spans(chunks: Iterable[Sealed]) -> list[Span]:
    """Return one span for each run of chunks that were thinned equally often, in their order."""
    found: list[Span] = []
    for chunk in chunks:
        if not len(chunk.rows):
            continue
        first, last, rows = int(chunk.rows["step"][0]), int(chunk.rows["step"][-1]), len(chunk.rows)
        if found and found[-1].halved == chunk.level:
            before = found.pop()
            first, rows = before.first, before.rows + rows
        found.append(Span(first, last, rows, chunk.level))
    return found


def _ordinal(number: int) -> str:
    if number == 1:
        return ""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending} "
