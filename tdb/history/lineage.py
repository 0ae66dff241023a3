"""Which recorded rows a branch of the run consists of: its own, and those of the branch it was forked from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tdb.results import Array

FOREVER = 2**62


class Ticks(NamedTuple):
    """Boundaries in a row: all ticks of a timeline from `first` to `last`."""

    timeline: int
    first: int
    last: int


class Lineage:
    """A branch as the spans of ticks that lead to where it stands, and on to where it has been.

    Ticks are never used twice, so when training goes on in an older branch its ticks jump: a branch has a span for
    each time that it was run on.

    Attributes:
        timeline: the branch's own.
        spans: in the order of their steps.
        cursor: the tick at which training stands: what comes after it has been, but is not looked at.
    """

    def __init__(self, timeline: int, spans: tuple[Ticks, ...], cursor: int = FOREVER) -> None:
        self.timeline = timeline
        self.spans = spans
        self.cursor = cursor

    def holds(self, timeline: int, tick: int) -> bool:
        """Return whether a boundary is one of this branch, past or to come."""
        return any(each.timeline == timeline and each.first <= tick <= each.last for each in self.spans)

    def passes(self, tick: int) -> bool:
        """Return whether the boundary `tick`, of whatever timeline, is one of this branch; no tick is used twice."""
        return any(each.first <= tick <= each.last for each in self.spans)

    def count(self, tick: int) -> int:
        """Return how many boundaries of this branch there are up to `tick`: it grows by one where ticks jump, too."""
        if len(self.spans) == 1:  # as most are: this is asked at every step
            return tick - self.spans[0].first + 1
        return sum(min(each.last, tick) - each.first + 1 for each in self.spans if each.first <= tick)

    def owner(self, tick: int) -> int:
        """Return the timeline of the boundary `tick` of this branch."""
        return next((each.timeline for each in self.spans if each.first <= tick <= each.last), self.timeline)

    def chosen(self, timelines: Array, ticks: Array, *, ahead: bool = False) -> Array:
        """Return [n] bool: which rows belong to this branch, up to the cursor, or with `ahead` beyond it too."""
        found = np.zeros(len(ticks), dtype=bool)
        for timeline, first, last in self.spans:
            found |= (timelines == timeline) & (ticks >= first) & (ticks <= last)
        return found if ahead else found & (ticks <= self.cursor)

    def after(self, tick: int) -> int | None:
        """Return the tick of the boundary after `tick`; None if nobody has been there yet."""
        for number, each in enumerate(self.spans):
            if each.first <= tick <= each.last:
                if tick < each.last:
                    return tick + 1
                return self.spans[number + 1].first if number + 1 < len(self.spans) else None
        return self.spans[0].first if self.spans and tick < self.spans[0].first else None

    def span_end(self, tick: int) -> int:
        """Return the last tick of the span that `tick` lies in."""
        return next((each.last for each in self.spans if each.first <= tick <= each.last), tick)

    def cut(self, tick: int) -> tuple[Ticks, ...]:
        """Return the spans up to `tick`, that boundary included."""
        return tuple(each._replace(last=min(each.last, tick)) for each in self.spans if each.first <= tick)
