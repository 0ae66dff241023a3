"""A condition that nobody recorded, asked of past steps: they are taken again, and training comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.errors import StateError, TdbError
from tdb.expressions import Expression, Memory, truth
from tdb.gate import OVER

if TYPE_CHECKING:
    from tdb.results import Array
    from tdb.session import Session
    from tdb.travel.in_place import InPlace
    from tdb.travel.route import Landing


class Asked(Expression):
    """A condition that notes its truth at every step at which it is evaluated.

    Attributes:
        steps: at which it had a value.
        held: whether it was true there.
        failure_said: why it had none at the first step at which it had none.
    """

    def __init__(self, condition: Expression) -> None:
        super().__init__(condition.source)
        self.steps: list[float] = []
        self.held: list[bool] = []
        self.failure_said: TdbError | None = None

    def evaluate(self, namespace: Mapping[str, Any], memory: Memory | None = None) -> Any:
        """Return the value, having noted whether it is true."""
        assert memory is not None
        try:
            value = super().evaluate(namespace, memory)
            held = truth(value, self.text)
        except TdbError as error:
            self.failure_said = self.failure_said or error
            raise
        self.steps.append(memory.step)
        self.held.append(held)
        return value


def asked_again(session: Session, condition: Expression, way: InPlace) -> tuple[Array, Array, Landing]:
    """Take all steps on the way to where training stands again, asking at each whether a condition holds.

    Training then stands where it stood, and nothing was stopped at or counted.

    Returns:
        Steps [n], truth [n] bool, and how it went.

    Raises:
        StateError: training cannot go back in place.
        TdbError: the condition has a value at none of the steps.
    """
    session.need_boundary()
    controller, armed = session.controller, session.armed
    here, travel = controller.position.step, controller.travel
    refusal = way.refusal(session, here)
    first = travel.horizon
    if refusal or first is None:
        hint = "`break when EXPR` and `restart` stop there in a run that is taken anew"
        raise StateError(f"find --replay takes a loop that can go back in place: {refusal or 'nothing is kept'}", hint)
    asked, before = Asked(condition), controller.gate.now()
    stops = controller.gate.stops
    armed.looks_back.append((asked, Memory()))
    try:
        armed.refresh()
        landing = way.goto(session, here, before=first)
    finally:
        armed.looks_back = [each for each in armed.looks_back if each[0] is not asked]
        armed.refresh()
    if landing.step == here and session.status not in OVER:
        controller.gate.stands_as_before(stops, before.reason)
    if asked.failure_said is not None and not asked.steps:
        raise asked.failure_said
    return np.array(asked.steps, np.int64), np.array(asked.held, bool), landing
