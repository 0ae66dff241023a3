"""Copies of where training stands: each with its moment, and with what stop points remember there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tdb.captures import is_tensor
from tdb.travel.spill import Spill
from tdb.travel.taking import Moment, Taking

if TYPE_CHECKING:
    from tdb.loop_side import LoopSide
    from tdb.step import Position
    from tdb.travel.checkpoints import Checkpoint, Checkpoints
    from tdb.travel.course import Course
    from tdb.travel.reach import Reach


class Copies:
    """Takes checkpoints of a loop.

    Args:
        loop: the loop's side of the controller.
        reach: what is copied.
        course: says which boundary the loop is at.

    Attributes:
        taking: knows when the next one is due.
    """

    def __init__(self, loop: LoopSide, reach: Reach, course: Course) -> None:
        self.taking = Taking()
        self._loop = loop
        self._reach = reach
        self._course = course

    @property
    def checkpoints(self) -> Checkpoints:
        """What was copied."""
        return self.taking.checkpoints

    def begin(self) -> None:
        """A loop begins here, or goes back from here on only: there is no way to what was before."""
        self.taking.begin(self._loop.position.tick)

    def take(self, name: str = "", *, kept: bool = False) -> Checkpoint:
        """Copy everything, with what the user has changed here.

        Raises:
            StateError: training cannot go back in place.
        """
        return self.taking.take(self._reach.need(), self._moment(self._edits_here()), name, kept=kept)

    def take_unless_there(self, *, again: bool) -> None:
        """Copy everything, unless that was done here before; what the user has changed here is yet to be repeated.

        Args:
            again: training has been here before, or may have been.
        """
        tick = self._loop.position.tick
        if not again or not self.checkpoints.has(tick, self._course.timeline, edits=0):
            self.taking.take(self._reach.need(), self._moment(edits=0))

    def part(self) -> None:
        """Training is about to leave where it stands: at the end of its branch, everything is kept as it is."""
        branches, position = self._course.branches, self._loop.position
        branches.note(position)
        branch = branches.now
        if branch.head.tick != position.tick:
            return
        if branch.parting is not None:
            self.checkpoints.forget(branch.parting)
        branch.parting = self.taking.take_again(self._reach.need(), self._moment(self._edits_here()))

    def spill_to(self, directory: Path | None) -> None:
        """Let checkpoints that do not fit into memory go to files in a folder, or nowhere.

        Raises:
            TdbError: nothing can be written there; nothing has changed then.
        """
        self.checkpoints.spill_to(Spill(directory) if directory is not None else None)

    def resize(self, limit: int) -> None:
        """Let the checkpoints take another number of bytes; those that exceed it go at once."""
        self.checkpoints.limit = limit
        self.checkpoints.thin(self._loop.position.tick)

    def _moment(self, edits: int) -> Moment:
        loop, check = self._loop, self._loop.question.check
        memory = check.remembered() if check is not None else None
        return Moment(_owned(loop.position), self._course.timeline, edits, memory, loop.served())

    def _edits_here(self) -> int:
        branches = self._course.branches
        return len(branches.edits_at(self._loop.position.tick)) if branches.edits else 0


def _owned(position: Position) -> Position:
    loss = position.loss
    return position._replace(loss=loss.clone()) if is_tensor(loss) else position
