"""The checkpoints that are kept: within a budget, half of it even over the run, half ever denser toward the present.

Even alone leaves the present, where one goes back most, as coarse as the past; geometric alone leaves the past with a
handful. So each half has its own rule of what goes when it is full:

    even     the stride in ticks doubles, and what does not lie on it becomes one of the others
    recent   the one goes whose neighbours lie closest for how long ago they were
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tdb.history.lineage import Lineage
from tdb.step import Position
from tdb.travel.slots import Slots
from tdb.travel.state import Snapshot


@dataclass(eq=False)
class Checkpoint:
    """One copy of everything.

    Attributes:
        position: the boundary it was taken at.
        timeline: the branch it was taken on.
        snapshot: the copy.
        edits: how many of the user's changes at this boundary it has in it.
        memory: what stop points remembered.
        name: given by the user, or empty.
        kept: thinning never takes it.
        nbytes: of its tensors, shared ones too.
    """

    position: Position
    timeline: int
    snapshot: Snapshot
    edits: int = 0
    memory: Any = None
    name: str = ""
    kept: bool = False
    nbytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.nbytes = sum(each.nbytes for each in self.snapshot.tensors.values())

    @property
    def tick(self) -> int:
        """The tick of its boundary."""
        return self.position.tick


class Checkpoints:
    """Checkpoints within a budget.

    Args:
        limit: bytes that they may take together.

    Attributes:
        stride: the least distance in ticks of those that are even over the run.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.slots = Slots()
        self.stride = 1
        self._kept: list[Checkpoint] = []
        self._even: list[Checkpoint] = []
        self._recent: list[Checkpoint] = []
        self._even_bytes = 0

    def __len__(self) -> int:
        return len(self._kept) + len(self._even) + len(self._recent)

    def __iter__(self) -> Iterator[Checkpoint]:
        return iter(sorted([*self._kept, *self._even, *self._recent], key=lambda each: (each.tick, each.edits)))

    def add(self, checkpoint: Checkpoint, now: int) -> None:
        """Keep a checkpoint; what then exceeds the budget goes, seen from the boundary `now`."""
        if checkpoint.kept:
            self._kept.append(checkpoint)
        elif not self._even or checkpoint.tick - self._even[-1].tick >= self.stride:
            self._even.append(checkpoint)
            self._even_bytes += checkpoint.nbytes
        else:
            place = len(self._recent)
            while place and self._recent[place - 1].tick > checkpoint.tick:
                place -= 1
            self._recent.insert(place, checkpoint)
        self.thin(now)

    def before(self, step: int, lineage: Lineage) -> Checkpoint | None:
        """Return the last one on a branch that was taken before `step`, or None."""
        there = [each for each in self if each.position.step < step and lineage.holds(each.timeline, each.tick)]
        return there[-1] if there else None

    def has(self, tick: int, timeline: int, edits: int) -> bool:
        """Return whether there is one of this boundary, with so many of the user's changes, that thinning may take."""
        return any(
            each.tick == tick and each.timeline == timeline and each.edits == edits
            for each in (*reversed(self._recent), *reversed(self._even))
        )

    def named(self, name: str) -> Checkpoint | None:
        """Return the one of this name, or None."""
        return next((each for each in self._kept if each.name == name), None)

    def forget(self, checkpoint: Checkpoint) -> None:
        """Let go one that was kept by wish."""
        self._kept.remove(checkpoint)
        self._release(checkpoint)

    def clear(self) -> None:
        """Forget all."""
        for each in self:
            self._release(each)
        self._kept, self._even, self._recent = [], [], []
        self.stride, self._even_bytes = 1, 0

    def thin(self, now: int) -> None:
        """Let go what does not fit; what is kept by wish stays, even beyond the budget."""
        while self.slots.used > self.limit:
            if self._recent and (self._even_bytes <= self.limit / 2 or len(self._even) < 2):
                self._release(self._recent.pop(_missed_least(self._recent, now)))
            elif len(self._even) > 1:
                self._widen()
            else:
                return

    def _widen(self) -> None:
        """Double the stride; what no longer lies on it is one of the recent ones from now on."""
        least = min(later.tick - earlier.tick for earlier, later in zip(self._even, self._even[1:], strict=False))
        self.stride = max(2 * self.stride, least + 1)
        even: list[Checkpoint] = []
        others: list[Checkpoint] = []
        for each in self._even:
            (even if not even or each.tick - even[-1].tick >= self.stride else others).append(each)
        self._even, self._even_bytes = even, sum(each.nbytes for each in even)
        self._recent = sorted([*self._recent, *others], key=lambda each: each.tick)

    def _release(self, checkpoint: Checkpoint) -> None:
        self.slots.release(checkpoint.snapshot.tensors)


def _missed_least(recent: list[Checkpoint], now: int) -> int:
    """Return the place of the one whose neighbours lie closest for how long ago they were."""
    if len(recent) < 3:
        return 0
    ticks = np.fromiter((each.tick for each in recent), np.int64, len(recent))
    gaps = (ticks[2:] - ticks[:-2]) / np.maximum(1, abs(now - ticks[:-2]))
    return 1 + int(gaps.argmin())
