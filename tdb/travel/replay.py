"""Steps that are being taken again: how far, and why training stops there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tdb.step import Position
    from tdb.stop_question import StopCheck
    from tdb.travel.checkpoints import Checkpoint
    from tdb.travel.known import Comparison


@dataclass
class Replay:
    """Steps that are being taken again, up to a goal; on the way there nothing stops but a pause.

    Attributes:
        goal: the step to stop at.
        origin: the checkpoint that it set out from.
        comparison: how the steps have come out.
        hits: the steps at which stop points would have stopped, and what they would have said.
    """

    goal: int
    origin: Checkpoint
    comparison: Comparison
    hits: list[tuple[int, str]] = field(default_factory=list)

    @property
    def reason(self) -> str:
        """Why training stops at the goal."""
        return f"goto {self.goal}"

    def may_stop(self, step: int, check: StopCheck | None) -> bool:
        """Return whether the step ahead is the goal, or stop points need it captured."""
        needs = check.may_stop(step) if check is not None else False
        return needs or step >= self.goal

    def arrive(self, position: Position, check: StopCheck | None) -> bool:
        """A step was taken again, and stop points see it; return whether it is the goal."""
        would_hit = check.rehearse(position) if check is not None else ""
        if would_hit:
            self.hits.append((position.step, would_hit))
        return position.step >= self.goal
