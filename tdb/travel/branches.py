"""Branches of a run: each a timeline of its own from where it was forked."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tdb.errors import UsageError, did_you_mean
from tdb.history.lineage import FOREVER, Lineage, Ticks
from tdb.step import Position

if TYPE_CHECKING:
    from tdb.travel.checkpoints import Checkpoint

MAIN = "main"
IN_STEP = 1000  # ticks: a multiple of all that `record.every` is likely to be


@dataclass
class Branch:
    """One branch.

    Attributes:
        name: what the user calls it.
        lineage: its rows in history.
        parent: the name of the branch it was forked from; empty for the first.
        forked_at: the step at which it was; None for the first.
        ancestors: the timelines of the branches it was forked from, the first of them first.
        inherited: how many of the user's changes there were then.
        floor: the step before the first that was taken on it or on those it was forked from.
        head: the last boundary that was reached on it.
        parting: what everything was there, when it was last left.
    """

    name: str
    lineage: Lineage
    parent: str = ""
    forked_at: int | None = None
    ancestors: tuple[int, ...] = ()
    inherited: int = 0
    floor: int = 0
    head: Position = field(default_factory=Position)
    parting: Checkpoint | None = None

    @property
    def timeline(self) -> int:
        """The number under which history keeps it."""
        return self.lineage.timeline


@dataclass(frozen=True)
class Edit:
    """Something the user has changed while training stood at a boundary.

    Attributes:
        timeline: the branch it was changed on.
        tick: the boundary.
        step: its step.
        text: what was typed; Python with the "!" that says so.
        apply: does it again, in the training thread.
        is_ahead: it concerns the step ahead, and is no part of the state that a checkpoint keeps.
    """

    timeline: int
    tick: int
    step: int
    text: str
    apply: Callable[[], Any]
    is_ahead: bool = False


class Forked(Protocol):
    """A branch, wherever it is known."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    @property
    def parent(self) -> str:
        """The name of the branch it was forked from; empty for the first."""

    @property
    def forked_at(self) -> int | None:
        """The step at which it was; None for the first."""


Known = TypeVar("Known", bound=Forked)


def named(branches: Iterable[Known], name: str) -> Known:
    """Return the branch of a name.

    Raises:
        UsageError: there is none.
    """
    found = {each.name: each for each in branches}
    if name not in found:
        raise UsageError(f"no branch {name!r}", did_you_mean(name, found) or f"Branches: {', '.join(found)}")
    return found[name]


def free_name(taken: Container[str], kind: str = "fork") -> str:
    """Return a name that no branch has: the kind and a number."""
    return next(name for number in range(1, 10**9) if (name := f"{kind}-{number}") not in taken)


def name_of_fork(taken: Container[str], name: str) -> str:
    """Return the name of a branch that is to begin: the one given, or a free one if it is empty.

    Raises:
        UsageError: there is a branch of this name already.
    """
    if name in taken:
        raise UsageError(f"there is a branch {name!r} already", f"`switch {name}` goes there")
    return name or free_name(taken)


def parted_at(branches: Iterable[Forked], one: Forked, other: Forked) -> int:
    """Return the last step that two branches of these have in common."""
    known = {each.name: each for each in branches}

    def shared_with(branch: Forked) -> dict[str, int]:
        steps = {branch.name: FOREVER}
        while branch.parent in known and branch.forked_at is not None:
            steps[branch.parent] = min(steps[branch.name], branch.forked_at)
            branch = known[branch.parent]
        return steps

    here, there = shared_with(one), shared_with(other)
    return max((min(step, there[name]) for name, step in here.items() if name in there), default=0)


class Branches:
    """All branches, the one that training is on, and what the user has changed on each.

    Attributes:
        now: the branch that training is on.
        highest: the last tick that was ever used.
        edits: in the order in which they were made.
    """

    def __init__(self) -> None:
        self.begin(Position(), 0)

    def begin(self, first: Position, timeline: int) -> None:
        """A loop begins at `first`: nothing is forked of it, and its steps have a timeline of their own."""
        self.now = Branch(MAIN, Lineage(timeline, (Ticks(timeline, first.tick, FOREVER),)), floor=first.step)
        self.highest = first.tick
        self.edits: list[Edit] = []
        self._all = {MAIN: self.now}
        self._timelines = timeline

    def __iter__(self) -> Iterator[Branch]:
        return iter(self._all.values())

    def __len__(self) -> int:
        return len(self._all)

    def name_of(self, timeline: int) -> str:
        """Return the name of a branch by its timeline."""
        return next((each.name for each in self if each.timeline == timeline), str(timeline))

    def get(self, name: str) -> Branch:
        """Return a branch.

        Raises:
            UsageError: there is none of this name.
        """
        return named(self, name)

    def note(self, position: Position) -> None:
        """Training stands at `position` of the present branch."""
        self.highest = max(self.highest, position.tick)
        if position.tick >= self.now.head.tick:
            self.now.head = position

    def fork(self, name: str, position: Position) -> Branch:
        """Begin a branch at `position` of the present one, and make it the present one; without a name, a free one.

        Raises:
            UsageError: there is a branch of this name already.
        """
        name = name_of_fork(self._all, name)
        parent = self.now
        self.leave(position)
        self._timelines += 1
        spans = (
            *parent.lineage.cut(position.tick),
            Ticks(self._timelines, self._unused_after(position.tick), FOREVER),
        )
        lineage = Lineage(self._timelines, spans)
        ancestors = (*parent.ancestors, parent.timeline)
        branch = Branch(name, lineage, parent.name, position.step, ancestors, len(self.edits), parent.floor, position)
        self._all[name] = self.now = branch
        return branch

    def load(self, position: Position) -> tuple[Branch, Position]:
        """Begin a branch that inherits nothing, and make it the present one.

        Args:
            position: where its first step sets out from, but for the tick.

        Returns:
            The branch, and this boundary with a tick that nobody has used.
        """
        name = free_name(self._all, "loaded")
        self._timelines += 1
        tick = self._unused_after(self.highest)
        position = position._replace(tick=tick)
        lineage = Lineage(self._timelines, (Ticks(self._timelines, tick, FOREVER),))
        branch = Branch(name, lineage, self.now.name, position.step, floor=position.step, head=position)
        self._all[name] = self.now = branch
        self.highest = tick
        return branch, position

    def leave(self, position: Position) -> None:
        """The present branch is left where training stands: it has no boundaries to come but those it has been at."""
        self.note(position)
        self.now.lineage.spans = self.now.lineage.cut(self.now.head.tick)
        self.now.lineage.cursor = FOREVER

    def go_on(self, tick: int) -> int:
        """The present branch goes on from the boundary `tick` where nobody has been: return the tick of the next."""
        lineage = self.now.lineage
        last = lineage.spans[-1]
        if last.last < FOREVER or last.timeline != lineage.timeline:
            lineage.spans = (*lineage.spans, Ticks(lineage.timeline, self._unused_after(tick), FOREVER))
        return max(lineage.spans[-1].first, tick + 1)

    def _unused_after(self, tick: int) -> int:
        """Return the first tick that nobody has used and that is in step with the one after `tick`.

        What is recorded every so many ticks is then recorded at the same steps of all branches.
        """
        return self.highest + 1 + (tick - self.highest) % IN_STEP

    def edits_of_now(self) -> list[Edit]:
        """Return what was changed on the way to the end of the present branch, in that order."""
        return sorted((edit for number, edit in enumerate(self.edits) if self._is_ours(number, edit)), key=_step)

    def edits_at(self, tick: int) -> list[Edit]:
        """Return what was changed at a boundary of the present branch, or of those it was forked from before that."""
        return [edit for number, edit in enumerate(self.edits) if edit.tick == tick and self._is_ours(number, edit)]

    def next_edit(self, tick: int) -> int | None:
        """Return the first tick after `tick` at which something was changed."""
        ticks = [
            edit.tick for number, edit in enumerate(self.edits) if edit.tick > tick and self._is_ours(number, edit)
        ]
        return min(ticks, default=None)

    def _is_ours(self, number: int, edit: Edit) -> bool:
        if edit.timeline == self.now.timeline:
            return True
        forked_after = edit.timeline in self.now.ancestors and number < self.now.inherited
        return forked_after and self.now.lineage.passes(edit.tick)


def _step(edit: Edit) -> int:
    return edit.step
