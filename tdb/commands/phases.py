"""Inside a step: from phase to phase, without its update, under detection."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

from tdb.commands import command
from tdb.commands.arguments import Kind, some
from tdb.commands.flow import go, may_go
from tdb.errors import StateError, UsageError, did_you_mean
from tdb.phases import BACKWARD, PHASES
from tdb.results import Result, Text
from tdb.standing import READY, STOPPED
from tdb.step import BOUNDARY
from tdb.target import how_it_is_known, model_of, optimizers_of, scaler_of, schedulers_of
from tdb.travel.edits import note

if TYPE_CHECKING:
    from tdb.session import Session


Phase = Annotated[str, Kind("N or PHASE", complete=some(PHASES))]


@command("ph", repeats=True, moves=True)
def phase(session: Session, where: Phase = "1") -> Result:
    """Go on to the next phase inside a step, or N phases on, or to the next phase of a name.

    batch: the input is there, before the model gets it. forward: the model's output. loss: before backward. backward:
    gradients, which can be changed before they are used. update: after the optimizer. boundary: the step is complete.
    A step may have several of each. What is looked at is what the step has so far; `step` completes it.

    Example:
        phase
        phase 3
        phase backward
    """
    count, name = _where(where)
    may_go(session)
    phases = session.controller.phases
    phases.ask(count, name)
    session.controller.step(1)
    result = go(session, None, background=False)
    target = session.controller.target
    if session.controller.is_inside and session.controller.progress.phase == BACKWARD:
        factor = session.controller.call(lambda: _scale(target))
        scaled = f"gradients are {factor:g} times as large as their loss makes them, until the scaler unscales them"
        return result if factor == 1 else replace(result, notes=[*result.notes, scaled])
    if session.controller.is_inside or name == BOUNDARY:
        return result
    if model_of(target) is None and not optimizers_of(target):
        unseen = "no model is known, so its phases cannot be seen: the loop tells it by tdb.attach(model, optimizer)"
    elif name and session.status == STOPPED:
        unseen = f"neither this step nor the one before had a phase {name}"
    else:
        return result
    return replace(result, notes=[*result.notes, unseen])


def _scale(target: Any) -> float:
    """Return how many times as large as themselves the gradients of a backward pass are that has just ended."""
    scaler = scaler_of(target)
    # A scaler that has scaled nothing has no tensor for its factor yet; its state has one all the same.
    is_used = scaler is not None and scaler.is_enabled() and getattr(scaler, "_scale", None) is not None
    return float(scaler.get_scale()) if is_used else 1.0


def _where(text: str) -> tuple[int, str]:
    """Return how many phases to go on, or the name of a phase."""
    if text in PHASES:
        return 0, text
    if text.isdecimal() and int(text) >= 1:
        return int(text), ""
    near = did_you_mean(text, PHASES) or f"Phases: {', '.join(PHASES)}"
    raise UsageError(f"phase takes a number of phases or the name of one, not {text!r}", near)


@command(changes=True)
def skip(session: Session, *, off: bool = False) -> Result:
    """Leave out the update of this step, or at a boundary of the next one: training as if without this batch.

    Weights and the optimizer's memory stay as they were before the update; the step is counted, and marked in history.
    Everything around the update goes on: schedulers count the step, a gradient scaler checks for overflow as ever.
    What a learning rule writes into weights by itself stays. `skip off` takes it back. Time travel that passes this
    step again leaves the update out again.

    Example:
        skip
        skip off
    """
    session.need_stopped()
    controller = session.controller
    if not optimizers_of(controller.target):
        raise StateError("no optimizer is known", how_it_is_known(controller.target))
    step = controller.position.step + 1
    if off:
        controller.call(controller.skip.give_up)
        notes = note(session, "skip off", controller.skip.give_up, is_ahead=True)
        return Result([Text(f"step {step} will have its update")], {"step": step, "skip": False}, notes)
    if controller.is_inside and controller.progress.updates:
        raise StateError("this step has made its update", "`step` completes it, then `skip` leaves out the next one")
    if controller.progress.updating:
        raise StateError("the optimizer is in the middle of its update", "`step`, and then `skip` for the next one")

    def ask() -> None:
        controller.skip.asked = True
        if controller.is_inside:
            controller.skip.put_on()

    controller.call(ask)
    text = "\n".join([f"step {step} leaves out its update", *_what_goes_on(session)])
    return Result([Text(text)], {"step": step, "skip": True}, note(session, "skip", ask, is_ahead=True))


def _what_goes_on(session: Session) -> list[str]:
    controller = session.controller
    lines = [
        f"{panel.name} changes {panel.layer} itself ({', '.join(panel.forces)}): that is not the optimizer's, and stays"
        for panel in controller.panels
        if panel.forces
    ]
    if schedulers_of(controller.target):
        lines.append("the scheduler counts the step as ever")
    if scaler_of(controller.target) is not None:
        lines.append("the gradient scaler checks for overflow as ever")
    return lines


@command()
def detect(session: Session) -> Result:
    """Take one step under detection: name the operation that makes the first NaN or infinity, its module and its line.

    Forward and update are seen operation by operation, backward node by node, with the line of code that torch's
    anomaly detection has recorded for it. Nothing is raised: training goes on as it would without. Such a step is
    slow; afterwards detection is off again. Infinities that were asked for, as in a mask, do not count.

    Example:
        detect
    """
    if session.status != READY:
        session.need_boundary()
    may_go(session)
    detection = session.controller.detection
    detection.asked, detection.anomalies = True, []
    step = session.controller.position.step + 1
    session.controller.step(1)
    report = go(session, None, background=False)
    detection.asked = False
    what = "its gradients are" if detection.blind else f"all that step {step} has computed is"
    lines = [str(each) for each in detection.anomalies] or [f"no anomaly: {what} finite"]
    if session.controller.position.step < step:
        lines.append(f"step {step} has not come to its end")
    notes = [f"forward and update of step {step} cannot be seen: {detection.blind}"] if detection.blind else []
    data = {**(report.data or {}), "anomalies": [asdict(each) for each in detection.anomalies]}
    return replace(report, parts=[Text("\n".join(lines)), *report.parts], data=data, notes=[*notes, *report.notes])
