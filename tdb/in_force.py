"""What a setting does to the training under way when it is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdb.elsewhere.keeper import keep_forks
from tdb.errors import StateError

if TYPE_CHECKING:
    from tdb.session import Session


def put_in_force(session: Session, name: str, value: Any) -> None:
    """Let a setting have its effect; most of them are only asked for where they matter, and have none here.

    Raises:
        StateError: it cannot be in force as training is now.
    """
    controller, recorder = session.controller, session.controller.recorder
    match name:
        case "capture.at_stops":
            session.armed.captures = value
        case "record.every":
            recorder.every = value
        case "history.budget":
            session.at_boundary(lambda: recorder.history.budget.resize(value))
        case "step.on" if session.run is not None:
            session.run.finder.step_on(value)
        case "checkpoints.budget":
            session.at_boundary(lambda: controller.travel.copies.resize(value))
        case "checkpoints.spill":
            session.at_boundary(lambda: controller.travel.copies.spill_to(value))
        case "checkpoints.in_place" if session.elsewhere is None:
            _go_back_in_place(session, value)
        case "checkpoints.forks":
            keep_forks(session, value)


def _go_back_in_place(session: Session, wanted: bool) -> None:
    if wanted and (others := session.branches.others):
        why = f"this run has other branches, which it would not know: {', '.join(others)}"
        raise StateError(f"training cannot go back in place: {why}", "`switch` goes to them as it is")
    session.at_boundary(lambda: session.controller.travel.request(wanted))
