"""Where training is, and in which state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tdb.commands import command
from tdb.results import Facts, Result
from tdb.standing import CRASHED, OVER, READY
from tdb.stopping import crash_text, end_line, placed, position_line, source_line

if TYPE_CHECKING:
    from tdb.history import History
    from tdb.session import Session

MOST_NAMED = 10
STEPS_TIMED = 100


@command("w bt", running="now", repeats=True)
def where(session: Session) -> Result:
    """Show where training is: step, epoch, recipe, condition, and the Python stack of the loop.

    `>` marks the selected frame: the innermost of your own files, where the loop waits, unless `up` or `down` moved it;
    below it are those of a framework that it has called. While training runs, it is where the loop happened to be.

    Example:
        where
    """
    state = session.controller.get_state()
    frames = session.stack.places()
    selected = session.stack.selection.index(frames)
    place = frames[selected] if selected >= 0 else None
    lines, inner = [f"  {each}" for each in frames[:selected]], [f"  {each}" for each in frames[selected + 1 :]]
    if state["status"] == READY:
        name = session.run.script.name if session.run is not None else "training"
        lines += [f"> {name} has not started"]
    elif state["status"] == CRASHED:
        lines = [crash_text(session), position_line(session, place), source_line(place)]
        inner = []
    elif state["status"] in OVER:
        lines += [end_line(session), position_line(session, place)]
    else:
        lines += [position_line(session, place), source_line(place)]
    data = {
        **session.controller.about,
        "step": state["step"],
        "epoch": state["epoch"],
        "loss": state["loss"],
        "frames": [{"file": each.file, "line": each.line, "function": each.function} for each in frames],
    }
    return Result([placed([*lines, *inner], *frames)], data)


@command(running="now")
def state(session: Session) -> Result:
    """Show the state of training: status, step, epoch, loss, pace, watches, and whether there is a batch to look at.

    Example:
        state
    """
    known = session.controller.get_state()
    values = {key: value for key, value in known.items() if key != "reason" or value}
    values["steps/s"] = pace(session.controller.recorder.history)
    values["watches"] = session.controller.recorder.watched()
    values["stops"] = session.controller.gate.stops
    watched = values["watches"]
    named = f"feature{'s' if len(watched) > 1 else ''} {', '.join(map(str, watched))}" if watched else "-"
    shown = named if len(watched) <= MOST_NAMED else f"{len(watched)} features"
    return Result([Facts({**values, "watches": shown})], values)


def pace(history: History) -> float | None:
    """Return the usual number of steps a second lately, without the time that training stood at stops."""
    last = history.last(STEPS_TIMED + 1)
    ran = ~np.isin(last["step"][:-1], list(history.marks()))
    seconds = (np.diff(last["wall_time"]) / np.diff(last["step"]))[ran]
    usual = float(np.median(seconds)) if len(seconds) else 0.0
    return 1 / usual if usual > 0 else None
