"""The checkpoints that are kept: within a budget, half of it even over the run, half ever denser toward the present.

Even alone leaves the present, where one goes back most, as coarse as the past; geometric alone leaves the past with a
handful. So each half has its own rule of what goes when it is full:

    even     the stride in ticks doubles, and what does not lie on it becomes one of the others
    recent   the one goes whose neighbours lie closest for how long ago they were
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

from tdb.errors import TdbError
from tdb.history.lineage import Lineage
from tdb.step import Position
from tdb.travel.files import read
from tdb.travel.slots import Path, Slots
from tdb.travel.snapshot import Snapshot
from tdb.travel.thinning import closest, missed_least

if TYPE_CHECKING:
    from tdb.travel.spill import Spill


MOST_IN_FILES = 16
"""Files together may be so many times as large as what is in memory."""


@dataclass(eq=False)
class Checkpoint:
    """One copy of everything.

    Attributes:
        position: the boundary it was taken at.
        timeline: the branch it was taken on.
        file: where the copy is, if it did not fit into memory.
        edits: how many of the user's changes at this boundary it has in it.
        memory: what stop points remembered.
        name: given by the user, or empty.
        kept: thinning never takes it.
        nbytes: of its tensors, shared ones too.
    """

    position: Position
    timeline: int
    _copy: Snapshot | None
    edits: int = 0
    memory: Any = None
    name: str = ""
    kept: bool = False
    file: File | None = None
    nbytes: int = field(init=False)
    _parts: Mapping[Path, Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.nbytes = sum(each.nbytes for each in self.snapshot.tensors.values())

    @property
    def snapshot(self) -> Snapshot:
        """The copy.

        Raises:
            StateError: it is in a file that is gone, or damaged.
        """
        if self._copy is not None:
            return self._copy
        assert self.file is not None
        return read(self.file)[0]

    @property
    def in_memory(self) -> Snapshot | None:
        """The copy, unless it is in a file, or gone."""
        return self._copy

    @property
    def parts(self) -> Mapping[Path, Any]:
        """The states of its parts, without their tensors; wherever the copy is."""
        return self._parts if self._copy is None else self._copy.values

    def give(self) -> Snapshot | None:
        """Return the copy in memory, and have it there no longer; None if it is in a file."""
        given, self._copy = self._copy, None
        if given is not None:
            self._parts = {path: value for path, value in given.values.items() if path[0] == "part"}
        return given

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
        spill: where those go that do not fit, if anywhere.
        notices: what has to be said of that.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.slots = Slots()
        self.stride = 1
        self._kept: list[Checkpoint] = []
        self._even: list[Checkpoint] = []
        self._recent: list[Checkpoint] = []
        self._even_bytes = 0
        self.spill: Spill | None = None
        self.notices: list[str] = []
        self._in_files: list[Checkpoint] = []

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[Checkpoint]:
        return iter(sorted(self._all(), key=_moment))

    def _all(self) -> list[Checkpoint]:
        return [*self._kept, *self._even, *self._recent, *self._in_files]

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
        last: Checkpoint | None = None
        for some in (sorted(self._kept, key=_moment), self._even, self._recent, self._in_files):
            for each in reversed(some):  # there are many, and the newest stand last in each list
                if last is not None and _moment(each) <= _moment(last):
                    break
                if each.position.step < step and lineage.holds(each.timeline, each.tick):
                    last = each
                    break
        return last

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
        """Let go one that was kept by wish, or whose file is gone."""
        for each in (self._kept, self._in_files):
            if checkpoint in each:
                each.remove(checkpoint)
        self._release(checkpoint)

    def spill_to(self, spill: Spill | None) -> None:
        """Let those that do not fit go to a folder, or nowhere; those that were in another one are gone."""
        for each in self._in_files:
            self._release(each)
        self._in_files = []
        if self.spill is not None:
            self.spill.close()
        self.spill = spill

    def clear(self) -> None:
        """Forget all."""
        for each in self:
            self._release(each)
        self._kept, self._even, self._recent, self._in_files = [], [], [], []
        self.stride, self._even_bytes = 1, 0

    def thin(self, now: int) -> None:
        """Let go what does not fit; what is kept by wish stays, even beyond the budget."""
        while self.slots.used > self.limit:
            if self._recent and (self._even_bytes <= self.limit / 2 or len(self._even) < 2):
                self._let_go(self._recent.pop(missed_least([each.tick for each in self._recent], now)))
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

    def _let_go(self, checkpoint: Checkpoint) -> None:
        """It does not fit into memory: it goes to a file, or it is gone."""
        is_written = self._is_written(checkpoint)
        self._release(checkpoint)
        if not is_written:
            return
        place = len(self._in_files)
        while place and self._in_files[place - 1].tick > checkpoint.tick:
            place -= 1
        self._in_files.insert(place, checkpoint)
        room = MOST_IN_FILES * self.limit
        while sum(each.nbytes for each in self._in_files) > room and len(self._in_files) > 1:
            self._release(self._in_files.pop(closest([each.tick for each in self._in_files])))

    def _is_written(self, checkpoint: Checkpoint) -> bool:
        if self.spill is None:
            return False
        try:
            return self.spill.takes(checkpoint)
        except TdbError as error:
            self.spill.stop()
            self.notices.append(f"checkpoints do not go to files any more: {error}")
            return False

    def _release(self, checkpoint: Checkpoint) -> None:
        copy = checkpoint.give()
        if copy is not None:
            self.slots.release(copy.tensors)
        elif checkpoint.file is not None and self.spill is not None:
            self.spill.remove(checkpoint.file)


def _moment(checkpoint: Checkpoint) -> tuple[int, int]:
    return checkpoint.position.tick, checkpoint.edits
