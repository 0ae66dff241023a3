"""What is asked at the steps on the way to one that was taken already: nothing but the last stops training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdb.stop_question import StopCheck

if TYPE_CHECKING:
    from tdb.session import Session
    from tdb.step import Position


class OnTheWay(StopCheck):
    """Asks the stop points at each step, so that they remember it; what they say is noted, and nothing is counted.

    Attributes:
        hits: the steps at which they would have stopped training, and what they would have said.
    """

    def __init__(self, session: Session) -> None:
        self.hits: list[tuple[int, str]] = []
        self._armed = session.armed
        self._controller = session.controller
        self._goal = 0

    def aim(self, step: int) -> None:
        """Let training stop at the boundary of this step."""
        self._goal = step
        self._armed.refresh()
        self._controller.stop_when(self)

    def may_stop(self, step: int) -> bool:
        """Return whether the step ahead is to be captured: it is the goal, or a stop point needs it."""
        return self._armed.may_stop(step) or step >= self._goal

    def reason(self, position: Position) -> str:
        """Return why training stops here, or nothing before the goal."""
        would_hit = self._armed.rehearse(position)
        if would_hit:
            self.hits.append((position.step, would_hit))
        return f"goto {self._goal}" if position.step >= self._goal else ""

    def let_go(self) -> None:
        """There is no step ahead."""
        self._armed.let_go()

    def foreseen(self, step: int) -> int | None:
        """Return the goal, unless training is past it."""
        return self._goal if step <= self._goal else None
