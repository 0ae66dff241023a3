"""The way for loops whose state tdb can put back: everything is what it was, and the very same loop goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tdb.errors import StateError
from tdb.expressions import compile_expression
from tdb.standing import OVER, READY
from tdb.travel.asking import asked_in_place
from tdb.travel.route import Landing

if TYPE_CHECKING:
    from tdb.results import Result
    from tdb.session import Session
    from tdb.travel.branches import Branch
    from tdb.travel.replay import Replay

LOCALS = (
    "model, optimizers, schedulers, generators and data went back; the loop's own variables, such as counters and "
    "sums, did not: `controller.register_state(name, save, load)` takes along what training needs of them"
)


class InPlace:
    """Puts a checkpoint back and lets the loop take the steps from there again."""

    name = "in place"

    def refusal(self, session: Session, step: int) -> str:
        """Return why a step cannot be reached in place, or nothing."""
        travel = session.controller.travel
        if session.status == READY:
            return "training has not begun"
        if travel.why_not:
            return travel.why_not
        if session.status in OVER:
            return "the loop has returned"
        if step < travel.floor:
            return f"this loop began at step {travel.floor}"
        return travel.out_of_reach(step)

    def lead(self, session: Session, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return `function(session, way, *arguments)`: this process takes the way itself."""
        return function(session, self, *arguments)

    def ask(self, session: Session, condition: str) -> Landing:
        """Take all steps so far again, asking each whether a condition holds; see `tdb.travel.route.Way`.

        Raises:
            TdbError: no step can be taken again, or the condition has a value at none of them.
        """
        return asked_in_place(session, compile_expression(condition), self)

    def again(self, session: Session) -> Landing:
        """Take the step at which training stands again: it is captured then, and all else is as it was.

        Raises:
            StateError: training stopped on the way to it.
        """
        controller = session.controller
        reason, stops = controller.gate.reason, controller.gate.stops
        landing = self.goto(session, controller.position.step)
        if landing.step != landing.goal:
            raise StateError(f"stopped on the way to step {landing.goal}", f"`goto {landing.goal}` goes there")
        controller.gate.stands_as_before(stops, reason)
        return landing

    def goto(self, session: Session, step: int, before: int | None = None, branch: Branch | None = None) -> Landing:
        """Go to a step, of another branch if one is given, from a checkpoint before it, or before `before`.

        Raises:
            StateError: no checkpoint before it is left.
        """
        controller, travel = session.controller, session.controller.travel

        def set_out() -> Replay | None:
            replay = travel.set_out(step, before, branch)
            if replay is not None:
                controller.resume()  # from here: it need not be woken again
            return replay

        replay = controller.gate.call(set_out)
        if replay is None:
            stale = "variables of the loop's frame keep their values until the next step"
            notes = _stays(session) or [stale]
            return Landing(self.name, controller.position.step, step, controller.position.step, notes=notes)
        session.front.wait(session, step)
        if travel.replay is not None and session.status not in OVER:
            controller.gate.call(travel.give_up)
        origin, here = replay.origin.position, controller.position
        return Landing(
            self.name,
            here.step,
            step,
            origin.step,
            here.step - origin.step,
            replay.comparison.losses,
            replay.comparison.metrics,
            replay.comparison.differences,
            replay.comparison.count,
            _stays(session),
            replay.hits,
        )


def need_in_place(session: Session) -> None:
    """Raise StateError unless training stands at a boundary and can go back in place."""
    session.need_boundary()
    refusal = InPlace().refusal(session, session.controller.position.step)
    if refusal:
        hint = "In any script that tdb has started `goto`, `reverse-continue`, `fork` and `switch` work"
        raise StateError(f"this takes a loop that can go back in place: {refusal}", hint)


def _stays(session: Session) -> list[str]:
    """Say once what does not go back in a loop that has no object of its own to keep it in."""
    return [LOCALS] if session.controller.travel.reach.leaves_locals and session.journal.first("locals") else []
