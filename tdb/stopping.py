"""Why training stops, and how a stop is reported."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tdb.active import is_explicit
from tdb.captures import number
from tdb.counted import counted
from tdb.frames import HERE, frames_around_cell
from tdb.results import Result, Text, Traceback
from tdb.standing import CRASHED, ENDED, FINISHED, RUNNING, STOPPED
from tdb.step import BOUNDARY

if TYPE_CHECKING:
    from tdb.frames import Place
    from tdb.session import Session


ASKED_FOR = r"step|pause|start|overhead|(until|goto) \d+|breakpoint\(\)|set_trace\(\)"
"""Reasons of stops that need not be told: they are what was just typed."""


class StopReport(Result):
    """What is said when training has stopped or ended; its type tells the prompt that it has been said."""


def position_line(session: Session, place: Place | None) -> str:
    """Return "> step 418  epoch 2  bcl-med  loss 0.1042        recipes/trainer.py(88) train"."""
    state = session.controller.get_state()
    about = session.controller.about
    inside = "" if state["phase"] == BOUNDARY else f" at {state['phase']}"
    words = [f"step {state['step']}{inside}"]
    words += [f"epoch {state['epoch']}"] if state["epoch"] is not None else []
    words += [about[key] for key in ("recipe", "condition") if key in about]
    words += losses_in_words(session, state["phase"], state["loss"])
    return f"> {'  '.join(words)}{f'        {place}' if place is not None else ''}"


def moment(session: Session) -> str:
    """Return "seen at step 120 of branch slower, bcl-med": when, and of what run; empty before the first step."""
    state, branches, about = session.state(), session.controller.travel.branches, session.controller.about
    if not state["step"]:
        return ""
    where = "near" if state["status"] == RUNNING else "at"
    inside = "" if state["phase"] == BOUNDARY else f" at {state['phase']}"
    branch = f" of branch {branches.now.name}" if len(branches) > 1 else ""
    return ", ".join(filter(None, [f"seen {where} step {state['step']}{inside}{branch}", about.get("condition")]))


def losses_in_words(session: Session, phase: str, loss: float | None) -> list[str]:
    """Return ["loss 0.1042"], or where tdb has found the losses, each with its name in the script."""
    controller = session.controller
    record = controller.record
    losses, is_of_here = record.data.get("losses"), record.clock[1::2] == (controller.position.tick, phase)
    if isinstance(losses, Mapping) and is_of_here:
        found = {name: number(value) for name, value in losses.items()}
        return [f"{name} {loss_text(value)}" for name, value in found.items() if value is not None]
    return [f"{controller.loss_name or 'loss'} {loss_text(loss)}"] if loss is not None else []


def loss_text(loss: float) -> str:
    """Return a loss in four decimals, or in four digits where those would say nothing of its size."""
    return f"{loss:.4f}" if loss == 0 or 1e-3 <= abs(loss) < 1e6 else f"{loss:.4g}"


def source_line(place: Place | None) -> str:
    """Return the line of the user's code at which training waits, as pdb shows it."""
    return f"-> {place.source}" if place is not None and place.source else ""


def stop_report(session: Session) -> StopReport:
    """Return what is said when training has stopped or ended, wherever it goes on."""
    if session.elsewhere is not None:
        there = session.elsewhere.report()
        return StopReport(there.parts, there.data, there.notes)
    session.adopt_panels()
    controller, status = session.controller, session.status
    state = controller.get_state()
    data: dict[str, Any] = {
        "reason": state["reason"],
        "step": state["step"],
        "phase": state["phase"],
        "epoch": state["epoch"],
        "loss": state["loss"],
        "stop_points": [{"number": hit.number, "message": hit.message} for hit in session.hits()],
    }
    place = session.stack.place()
    told: list[Text] = []
    if status == STOPPED:
        data["place"] = str(place) if place is not None else None
        asked_for = re.fullmatch(ASKED_FOR, state["reason"]) is not None or state["phase"] != BOUNDARY
        lead = [] if asked_for else [state["reason"]]
        lines = [*lead, position_line(session, place), source_line(place)]
    elif status == CRASHED:
        caught = [hit.message for hit in session.hits()]
        lines = [*caught, f"Training crashed after step {state['step']}: {state['reason']}"]
        told = [Traceback(text)] if (text := crash_text(session)) else []
        data["error"] = state["reason"]
    else:
        lines = [end_line(session)]
    return StopReport([*told, placed(lines, place)], data)


def placed(lines: Iterable[str], *places: Place | None) -> Text:
    """Return lines that are not empty as a text, some of which end in places."""
    return Text("\n".join(line for line in lines if line), [str(place) for place in places if place is not None])


def end_line(session: Session) -> str:
    """Return the line about training that is over."""
    state = session.controller.get_state()
    words = {FINISHED: "Training finished", ENDED: "Training was ended"}.get(state["status"], "Training is over")
    # Of a run that has gone back in time, ticks also count the steps of other branches.
    steps = state["step"] if len(session.controller.travel.branches) > 1 else state["tick"]
    reason = f": {state['reason']}" if state["reason"] else ""
    if not steps and state["status"] == FINISHED and reason:
        return f"{words} without a step{reason}"
    if not steps and is_explicit():
        ends = "`for batch in controller.steps(loader)`, or `controller.wait_if_paused()` at its end"
        return f"{words} without a step: the script has the controller, and never said where a step is: {ends}"
    if not steps:
        return f"{words} without a step that tdb could see: nothing was updated, and no gradients were computed"
    return f"{words} after {counted(steps, 'step')}{reason}"


def crash_text(session: Session) -> str:
    """Return the traceback of the crash in training, without tdb's own frames."""
    error = session.stack.error()
    if error is None:
        return ""
    shown = traceback.TracebackException.from_exception(error)
    shown.stack = traceback.StackSummary.from_list(shown.stack[frames_around_cell(error.__traceback__) :])
    if session.settings["traceback"] == "short":
        shown.stack = traceback.StackSummary.from_list(
            [line for line in shown.stack if not line.filename.startswith(HERE)]
        )
    return "".join(shown.format()).rstrip()
