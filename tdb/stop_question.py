"""Whether training stops at a boundary: what was asked of a stop check, or of a replay that passes by."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tdb.errors import in_words

if TYPE_CHECKING:
    from tdb.step import Position
    from tdb.travel.traveller import Traveller


class StopCheck:
    """Something other than a pause that may stop training, asked at every boundary in the training thread."""

    def passes(self, tick: int) -> bool:
        """Return whether it is plain that training does not stop here, and that the step ahead need not be captured.

        May be asked more than once of the boundary that has this tick.
        """
        del tick
        return False

    def looked_at(self) -> tuple[tuple[str, ...], Sequence[Any]]:
        """Return the metrics of the focus layer that it looks at, to be recorded at every step: names, and each [D]."""
        return (), ()

    def may_stop(self, step: int) -> bool:
        """Return whether the boundary of step number `step` is already known to be a stop."""
        del step
        return False

    def reason(self, position: Position) -> str:
        """Return why training stops at the step that has just ended, which is `position`; or an empty string."""
        del position
        return ""

    def let_go(self) -> None:
        """There is no step ahead: take off what was put on for it."""

    def foreseen(self, step: int) -> int | None:
        """Return the first step, from `step` on, at which training is to stop whatever comes of those before."""
        del step
        return None

    def rehearse(self, position: Position) -> str:
        """Return why training would stop at a step that is taken again, or an empty string; nothing is counted."""
        del position
        return ""

    def remembered(self) -> Any:
        """Return a copy of what is remembered of the steps before."""
        return None

    def remember(self, memories: Any, *, at_start: bool) -> None:
        """Go on from what `remembered` has returned; None knows of no step before, `at_start` there is none."""


class StopQuestion:
    """Asks who knows, a replay before the check; a broken condition stops training, as in gdb, and never ends it.

    Attributes:
        check: what may stop training besides a pause; any thread may set it.
    """

    MEASURED: ClassVar[Mapping[str, tuple[str, ...]]] = {"stop points": ("is_quiet", "look", "reason", "may_stop")}

    def __init__(self, travel: Traveller, notices: deque[str]) -> None:
        self.check: StopCheck | None = None
        self._travel = travel
        self._notices = notices
        self._answer: str | None = None  # what was said of this boundary, if it was asked already

    def passes(self, tick: int) -> bool:
        """Return whether it is plain that a check wants neither a stop here nor a capture; nothing more is asked."""
        return self.check is not None and self._answer is None and self.check.passes(tick)

    def is_quiet(self, position: Position) -> bool:
        """Return whether there is a check, and it wants neither a stop here nor a capture of the step ahead."""
        if self.check is None or self._answer is not None:
            return False
        if self.check.passes(position.tick):
            return True
        self._answer = self._ask(position)
        if self._answer or self.may_stop(position.step + 1):
            return False
        self._answer = None
        return True

    def look(self, position: Position) -> None:
        """Ask now what `reason` will return of this boundary: what is about to be copied remembers it then."""
        if self.check is not None and self._answer is None:
            self._answer = self._ask(position)

    @property
    def is_answered(self) -> bool:
        """Whether this boundary was asked about already, and `reason` has not been called since."""
        return self._answer is not None

    def reason(self, position: Position, known: str = "") -> str:
        """Return why training stops at this boundary, or nothing; asked once a boundary, not if it is `known`."""
        answer, self._answer = self._answer, None
        return known or (self._ask(position) if answer is None else answer)

    def may_stop(self, step: int) -> bool:
        """Return whether the boundary of step number `step` is already known to be a stop."""
        try:
            if self._travel.replay is not None:
                return self._travel.replay.may_stop(step, self.check)
            return self.check is not None and self.check.may_stop(step)
        except Exception as error:  # noqa: BLE001 - see the class
            self._notices.append(f"a stop condition failed: {in_words(error)}")
            return False

    def _ask(self, position: Position) -> str:
        try:
            if self._travel.replay is not None:
                return self._travel.reason(position)
            return self.check.reason(position) if self.check is not None else ""
        except Exception as error:  # noqa: BLE001 - see the class
            return f"a stop condition failed: {in_words(error)}"
