"""Trying a new stop point at the step where training stands: would it have stopped there?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdb.armed import values_of
from tdb.crashes import is_crash

if TYPE_CHECKING:
    from tdb.session import Session
    from tdb.stops import Hit, StopPoint


def tried(session: Session, point: StopPoint) -> tuple[str, bool | None]:
    """Say whether a new stop point would have hit at the step where training stands; None if it cannot be told."""
    stop, step = point.stop, session.controller.position.step
    if stop.kind in ("step", "every", "epoch") or is_crash(stop) or session.controller.position.tick == 0:
        return "", None
    if session.controller.is_inside:
        return f"tried at the end of step {step + 1}", None
    armed = session.armed
    armed.renew()
    if any(_is_missing(armed.tensors, group) for group in stop.groups):
        return "tried from the next step on", None
    hit: Hit | None = armed.preview(point)
    if point.waiting_for:
        return "", None
    if hit is not None and hit.failed:
        return f"it cannot be told at this step: {_without_label(hit)}", None
    if hit is not None:
        return f"it is so at this very step: {_without_label(hit)}", True
    if stop.expression is not None:
        values = values_of(stop.expression, armed.namespace)
        return f"not so at step {step}{f': {values}' if values else ''}", False
    return f"not so at step {step}", False


def _is_missing(tensors: Any, group: str) -> bool:
    try:
        tensors[group]
    except KeyError:
        return True
    return False


def _without_label(hit: Hit) -> str:
    return hit.message.partition(": ")[2] or hit.message
