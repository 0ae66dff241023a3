"""The data of the loop under way: what a checkpoint notes of them, and how far back they lead."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tdb.passes.passes import Passes
from tdb.passes.seams import DATA, NAME
from tdb.travel.state import Part

if TYPE_CHECKING:
    from tdb.travel.checkpoints import Checkpoint
    from tdb.travel.state import State

KEPT_SHARE = 8
"""Batches that cannot be drawn again may take this part of the budget of checkpoints, on top of it."""


class LoopData:
    """What the traveller knows of a loop's data; without `passes` the loop sees to them itself.

    Args:
        registered: the parts that go back with the rest, of which the data's position is one.

    Attributes:
        passes: what the batches of a loop over `controller.steps`, or on request of a script's, come through.
    """

    def __init__(self, registered: dict[str, Part]) -> None:
        self.passes: Passes | None = None
        self._registered = registered

    def forget(self) -> None:
        """Another loop is about to begin."""
        self.passes = None
        self._registered.pop(NAME, None)

    def begin(self, state: State, tell: Callable[[str], object], timeline: int, budget: int) -> Passes:
        """Return what the batches of a loop are to come through from now on.

        Args:
            state: all that training consists of.
            tell: takes what is to be told with the next answer.
            timeline: of the present branch.
            budget: of the checkpoints.
        """
        passes = self.passes = Passes(state, tell, timeline, budget // KEPT_SHARE)
        self._registered[NAME] = Part(passes.place, passes.seek)
        return passes

    def follow(self, timeline: int) -> None:
        """Training is on another branch."""
        if self.passes is not None:
            self.passes.follow(timeline)

    def lead_on_from(self, checkpoint: Checkpoint, timeline: int) -> bool:
        """Return whether all batches of a branch after a checkpoint can be given again."""
        if self.passes is None:
            return True
        return self.passes.can_go_on_from(checkpoint.parts["part", DATA], timeline)

    def horizon(self, checkpoints: Iterable[Checkpoint], floor: int, timeline: int) -> int | None:
        """Return the first step that can be gone back to; None if none can be."""
        reached = [each.position.step for each in checkpoints if self.lead_on_from(each, timeline)]
        return min((step if step == floor else step + 1 for step in reached), default=None)

    def refusal(self, origin: Checkpoint, timeline: int, horizon: Callable[[], int | None]) -> str:
        """Return why steps cannot be taken again from a checkpoint on, empty if they can; `horizon` takes a while."""
        if self.passes is not None and self.passes.why_not:
            return self.passes.why_not
        if self.passes is not None and not self.passes.is_here:
            return "the loop has left its batches here: `step` goes on to where it can go back"
        if self.lead_on_from(origin, timeline):
            return ""
        step = horizon()
        back_to = "none is kept" if step is None else f"only the last are kept, which lead back to step {step}"
        return f"its batches cannot be drawn again: {back_to}"
