"""What a stop point that needs no capture has missed: the step at which training stands is taken again, captured.

A condition on a rule's metric costs next to nothing because no step is captured for it. So at the step where it stops
there are no forces, updates and activations; a loop that can go back in place makes them, bit for bit, when somebody
asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tdb.errors import NotCapturedError, StateError
from tdb.standing import OVER, STOPPED
from tdb.travel.in_place import InPlace

if TYPE_CHECKING:
    from tdb.results import Result
    from tdb.session import Session

IN_PLACE = InPlace()


def answered(session: Session, command: Callable[[], Result]) -> Result:
    """Return what a command answers, having taken the step again if the command misses what it would have captured.

    Raises:
        StateError: it misses that, and the step cannot be taken again in place; it says what can be done.
    """
    try:
        return command()
    except NotCapturedError as error:
        missing = error
    note = _taken_again(session, missing)
    answer = command()
    return replace(answer, notes=[*answer.notes, note])


def want_captured(session: Session) -> list[str]:
    """Have the command that calls this answered anew with the step captured, or return what there is to say.

    For commands that have something to show of a step that was not captured, but more of one that was.

    Raises:
        NotCapturedError: it was not, and it can be taken again in place.
    """
    said = "this step was not captured, and so not all is known of it"
    if not _stands_at_a_step(session):
        return [": ".join([said, *_way_after_the_end(session)])] if session.status in OVER else []
    if not IN_PLACE.refusal(session, session.controller.position.step):
        raise NotCapturedError
    return [f"{said}: {_ways(session)}"]


def _taken_again(session: Session, missing: NotCapturedError) -> str:
    step = session.controller.position.step
    if not _stands_at_a_step(session):
        way = _way_after_the_end(session)
        if way:
            raise StateError(missing.message, *way) from None
        raise missing
    if IN_PLACE.refusal(session, step):
        raise StateError(missing.message, _ways(session)) from None
    return f"step {step} was taken again to capture it; {IN_PLACE.again(session)}"


def _stands_at_a_step(session: Session) -> bool:
    controller = session.controller
    return session.status == STOPPED and not controller.is_inside and controller.position.tick > 0


def _way_after_the_end(session: Session) -> list[str]:
    """Return how the last step can be had captured when training is over, if it can."""
    if session.status not in OVER or session.run is None:
        return []
    return [f"`goto {session.controller.position.step}` takes it again and captures it"]


def _ways(session: Session) -> str:
    step = session.controller.position.step
    return f"`goto {step}` takes it again and captures it; `set capture.at_stops on` captures what comes"
