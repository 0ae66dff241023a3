"""A condition that nobody recorded, asked of past steps: they are taken again, and training stands where it stood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.errors import StateError, TdbError
from tdb.expressions import Expression, Memory, truth
from tdb.standing import OVER

if TYPE_CHECKING:
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

    def told_by(self, landing: Landing) -> Landing:
        """Return a landing that tells at which steps it held.

        Raises:
            TdbError: it had a value at none of the steps.
        """
        if self.failure_said is not None and not self.steps:
            raise self.failure_said
        return landing._replace(asked=(np.array(self.steps, np.int64), np.array(self.held, bool)))

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


@contextmanager
def asking(session: Session, condition: Expression) -> Iterator[Asked]:
    """Let a condition be evaluated at every step while the context lasts."""
    asked, armed = Asked(condition), session.armed
    armed.looks_back.append((asked, Memory()))
    try:
        armed.refresh()
        yield asked
    finally:
        armed.looks_back = [each for each in armed.looks_back if each[0] is not asked]
        armed.refresh()


def asked_in_place(session: Session, condition: Expression, way: InPlace) -> Landing:
    """Take all steps on the way to where training stands again, asking at each whether a condition holds.

    Training then stands where it stood, and nothing was stopped at or counted.

    Raises:
        StateError: no step can be taken again.
        TdbError: the condition has a value at none of the steps.
    """
    controller = session.controller
    here, first = controller.position.step, controller.travel.horizon
    if first is None:
        raise StateError("nothing is kept that steps could be taken again from", "`checkpoints` lists what is")
    reason, stops = controller.gate.reason, controller.gate.stops
    with asking(session, condition) as asked:
        landing = way.goto(session, here, before=first)
    if landing.step == here and session.status not in OVER:
        controller.gate.stands_as_before(stops, reason)
    return asked.told_by(landing)
