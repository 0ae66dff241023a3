"""The course of a loop's steps: along what is known of their branch, after going back, or on from its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdb.history.lineage import FOREVER
from tdb.step import Clock, Position, Step
from tdb.travel.branches import Branch, Branches
from tdb.travel.known import Comparison, Known

if TYPE_CHECKING:
    from tdb.loop_side import LoopSide
    from tdb.travel.checkpoints import Checkpoint


class Course:
    """Says which boundary, of which branch, a loop is at, and which tick is next.

    Args:
        loop: the loop's side of the controller.

    Attributes:
        branches: what was forked.
    """

    def __init__(self, loop: LoopSide) -> None:
        self.branches = Branches()
        self._loop = loop

    def begin(self) -> None:
        """A loop begins where another one has ended."""
        loop = self._loop
        loop.recorder.known = None
        self.branches.begin(loop.position, max(loop.recorder.history.lineages, default=loop.timeline))
        loop.timeline = self.branches.now.timeline

    @property
    def floor(self) -> int:
        """The step before the first that can be gone back to: of this loop, or of what was loaded."""
        return self.branches.now.floor

    @property
    def furthest(self) -> int:
        """The last step that was taken on the present branch."""
        return max(self.branches.now.head.step, self._loop.position.step)

    @property
    def timeline(self) -> int:
        """The branch that the boundary at which training stands was first reached on."""
        return self.branches.now.lineage.owner(self._loop.position.tick)

    def fork(self, name: str) -> Branch:
        """Begin a branch where training stands.

        Raises:
            UsageError: there is a branch of this name.
        """
        loop, position = self._loop, self._loop.position
        branch = self.branches.fork(name, position)
        loop.recorder.known = None
        self._follow(branch)
        loop.tick_ahead = self.branches.go_on(position.tick)
        return branch

    def load(self, position: Position) -> Branch:
        """Begin a branch that inherits nothing, at a boundary of another run; its tick does not matter."""
        loop = self._loop
        self.branches.leave(loop.position)
        branch, loop.position = self.branches.load(position)
        loop.last.record = Step(Clock(branch.timeline, *loop.position[:2]))
        loop.recorder.known = None
        self._follow(branch)
        loop.tick_ahead = loop.position.tick + 1
        return branch

    def turn_to(self, branch: Branch) -> None:
        """Leave the present branch for another one, to go back to one of its boundaries."""
        if branch is not self.branches.now:
            self.branches.leave(self._loop.position)
            self.branches.now = branch

    def go_back(self, checkpoint: Checkpoint) -> Comparison:
        """Stand at a boundary of the present branch once more; return what will say how the steps after it come out."""
        loop, lineage, comparison = self._loop, self.branches.now.lineage, Comparison()
        loop.position = checkpoint.position
        if not checkpoint.tick:
            loop.last.record = Step(Clock(checkpoint.timeline, *checkpoint.position[:2]))
        self._follow(self.branches.now)
        known = Known(loop.recorder.history, lineage, checkpoint.tick, comparison)
        loop.recorder.known = known if known.until > checkpoint.tick else None
        lineage.cursor = checkpoint.tick if loop.recorder.known is not None else FOREVER
        loop.tick_ahead = lineage.after(checkpoint.tick) or self.branches.go_on(checkpoint.tick)
        return comparison

    def pass_known(self, position: Position, known: Known) -> None:
        """A step was taken again that is known from before: go on along what is known, or on from its end."""
        lineage = self.branches.now.lineage
        lineage.cursor = position.tick
        if position.tick >= known.until:
            self._loop.recorder.known = None
            lineage.cursor = FOREVER
            self._loop.tick_ahead = self.branches.go_on(position.tick)
        else:
            self._loop.tick_ahead = lineage.after(position.tick) or position.tick + 1

    def next_turns(self, tick: int) -> list[int]:
        """Return the ticks after `tick` at which there is something to do about what is known; none if nothing is."""
        known = self._loop.recorder.known
        if known is None:
            return []
        edit = self.branches.next_edit(tick) if self.branches.edits else None
        end = min(known.until, self.branches.now.lineage.span_end(tick))
        return [end] if edit is None else [end, edit]

    def _follow(self, branch: Branch) -> None:
        """Let everything that is recorded from now on be of one branch."""
        history = self._loop.recorder.history
        self._loop.timeline = history.timeline = branch.timeline
        for each in self.branches:
            history.lineages[each.timeline] = each.lineage
