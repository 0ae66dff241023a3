"""Going back in time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.arrival import arrive
from tdb.commands import command
from tdb.commands.arguments import File, Name, StepNumber, Steps
from tdb.commands.phases import detect
from tdb.counted import counted, size_in_words
from tdb.errors import StateError, UsageError
from tdb.results import Result, Table, Text
from tdb.standing import CRASHED, OVER, STOPPED
from tdb.stopping import StopReport, stop_report
from tdb.travel import exchange
from tdb.travel.in_place import need_in_place
from tdb.travel.route import by_best, capabilities

if TYPE_CHECKING:
    from pathlib import Path

    from tdb.session import Session
    from tdb.travel.checkpoints import Checkpoint, Checkpoints
    from tdb.travel.route import Way
    from tdb.travel.traveller import Traveller


def go_to(session: Session, way: Way, step: int) -> StopReport:
    """Go to a step, and return what is said there."""
    return arrive(session, way.goto(session, step))


def before_first(session: Session) -> int:
    """Return the step before the first that can be taken again: of this loop in place, of the whole run elsewhere."""
    travel = session.controller.travel
    return before_run(session) if travel.why_not else travel.floor


def before_run(session: Session) -> int:
    """Return the step before the first that was recorded of the whole run, whichever loop took it."""
    floor = session.controller.travel.floor
    steps, _ = session.controller.recorder.history.loss()
    return min(floor, int(steps[0]) - 1) if len(steps) else floor


def need_still(session: Session) -> None:
    """Raise StateError unless training stands at a boundary, or is over."""
    if session.status not in OVER:
        session.need_boundary()


@command("rs", moves=True)
def back(session: Session, count: Steps = 1) -> Result:
    """Go back one training step, or N, to where training stood then.

    From the nearest checkpoint before it the steps are taken again, at full speed and without stopping, and each loss
    and recorded metric is compared with history. Everything that is shown is as it was at that step: `metrics`,
    `force`, `batch`, watches, variables of the loop. `step` then goes forward again.

    Example:
        back
        back 5
    """
    need_still(session)
    goal = _back_by(session, count)
    return by_best(session, goal, go_to, goal)


def _back_by(session: Session, count: int) -> int:
    """Return the number of the step `count` steps ago; a loop that numbers its steps itself may leave numbers out.

    Raises:
        UsageError: so many have not been taken.
    """
    here, first = session.controller.position.step, before_run(session)
    rows = session.controller.recorder.history.range(last=here - 1)
    begins = 1 + max(np.flatnonzero(np.diff(rows["step"]) <= 0), default=-1)  # a loop that follows counts from 1 again
    taken, ticks = rows["step"][begins:], rows["tick"][begins:]
    lost = 0 if len(ticks) and ticks[0] == 1 else (int(taken[0]) if len(taken) else here) - 1 - first
    most = len(taken) + lost + 1
    if count > most:
        raise UsageError(f"there {'is 1 step' if most == 1 else f'are {most} steps'} to go back, not {count}")
    return int(taken[-count]) if count <= len(taken) else first + most - count


@command(moves=True)
def goto(session: Session, step: StepNumber) -> Result:
    """Go to a training step that was taken already, back or forward; see `back`.

    Example:
        goto 340
    """
    need_still(session)
    here = session.controller.position.step
    furthest = max(session.controller.travel.furthest, session.branches.furthest(here))
    if step > furthest:
        raise StateError(f"step {step} has not been taken yet", f"`until {step}` runs there")
    if step < 0:
        raise UsageError(f"goto takes the number of a step, not {step}", "Example: goto 340")
    return by_best(session, step, go_to, step)


@command("rc", moves=True)
def reverse_continue(session: Session) -> Result:
    """Go back to the last step at which a stop point would have stopped training.

    Steps are taken again from checkpoint to checkpoint, and stop points are asked at each, those set just now too. If
    none would have stopped, training stands before its first step in the end. In a script that cannot go back in place,
    copies of the process that were set aside do that, or a fresh process does.

    Example:
        reverse-continue
    """
    need_still(session)
    if not any(point.enabled for point in session.armed.points):
        raise StateError("no stop point is set", "`break when EXPR` sets one; `back N` and `goto STEP` need none")
    last, floor = session.controller.position.step, before_first(session)
    if session.status not in OVER:  # otherwise training is past that one, too
        last -= 1
    return by_best(session, max(last, floor), last_hit, last, floor)


def last_hit(session: Session, way: Way, last: int, floor: int) -> StopReport:
    """Go to the last step, up to `last`, at which a stop point would have stopped training, or before the first."""
    goal, before = last, None
    while goal > floor:
        landing = way.goto(session, goal, before)
        if landing.step < goal:
            return arrive(session, landing)
        if landing.hits:
            step, reason = landing.hits[-1]
            if step < goal:
                landing = way.goto(session, step)
            report = arrive(session, landing)
            return replace(report, parts=[Text(reason), *report.parts])
        if landing.checkpoint is None or landing.checkpoint <= floor:
            break
        # The first step after a checkpoint follows one that was not looked at: it is taken again with the steps before.
        goal, before = landing.checkpoint + 1, landing.checkpoint
    report = go_to(session, way, floor)
    return replace(report, notes=[*report.notes, "no stop point would have stopped before"])


@command(moves=True)
def restart(session: Session) -> Result:
    """Go back to before the first step. The branch and what history knows of it stay; `fork` begins another.

    A script that cannot go back in place is run again by a fresh process, as it is now should you have edited it; stop
    points, displays, watches, settings and aliases stay.

    Example:
        restart
    """
    need_still(session)
    floor = before_first(session)
    return by_best(session, floor, go_to, floor)


@command()
def culprit(session: Session) -> Result:
    """Find what made the first loss that is no number: go back before it, and take those steps again under `detect`.

    Nothing has to be paid for during the run: detection is on for the one or two steps that matter. Training then
    stands at the step that went wrong, with its batch, gradients and weights to look at. After a crash with no such
    loss recorded, as of a script that checks its loss itself, it is the step that crashed.

    Example:
        culprit
    """
    need_still(session)
    steps, losses = session.controller.recorder.history.loss()
    bad = steps[~np.isfinite(losses)]
    is_of_loss, floor = len(bad) > 0, before_first(session)
    if not is_of_loss and session.status != CRASHED:
        raise StateError("every recorded loss is finite", "`catch nan` also watches gradients, weights and activations")
    first = int(bad[0]) if is_of_loss else session.controller.position.step + 1
    # The update of the step before may have spoilt the weights: its own loss was still finite.
    goal = max(floor, first - 2)
    why = "the first loss that is no finite number is that of" if is_of_loss else "training crashed in"
    return by_best(session, goal, blamed, goal, first, f"{why} step {first}")


def blamed(session: Session, way: Way, goal: int, first: int, why: str) -> StopReport:
    """Go to the step `goal`, and take steps under detection until one has an anomaly, or `first` has been taken."""
    landing = way.goto(session, goal)
    if landing.step != goal:
        return arrive(session, landing)
    while True:
        report = detect(session) if session.elsewhere is None else session.elsewhere.answer_to("detect")
        found = (report.data or {}).get("anomalies")
        if found or session.state()["step"] >= first or session.status in OVER:
            break
    data = {**(report.data or {}), "first": first, "route": landing.route}
    return StopReport([Text(why), *report.parts], data, [*landing.notes, *report.notes])


@command()
def checkpoint(
    session: Session, name: Name | None = None, *, output: File | None = None, load: File | None = None
) -> Result:
    """Keep everything as it is here; thinning never takes such a checkpoint, and `goto` sets out from it.

    `-o FILE` writes it to a file instead: safetensors, with everything that is no tensor as JSON in its header.
    `load FILE` puts such a file back and begins a branch there: in the run that wrote it, or in another one of a
    trainer with `state()` and `restore(state)`.

    Example:
        checkpoint
        checkpoint before-the-dip
        checkpoint -o step-400.safetensors
        checkpoint load step-400.safetensors
    """
    need_in_place(session)
    if load is not None:
        if name is not None or output is not None:
            raise UsageError("checkpoint load takes a file, and nothing else", "Example: checkpoint load FILE")
        return _loaded(session, load.expanduser())
    travel = session.controller.travel
    if output is not None:
        file = output.expanduser()
        written = session.controller.gate.call(lambda: exchange.write(travel, file))
        said = f"wrote step {written.position.step}, {size_in_words(written.nbytes)}, to {output}"
        return Result([Text(said)], {"step": written.position.step, "file": str(output), "bytes": written.nbytes})
    if name is not None and travel.checkpoints.named(name) is not None:
        raise UsageError(f"there is a checkpoint {name!r} already", "`checkpoints` lists them")
    kept = session.controller.gate.call(lambda: travel.copies.take(name or "", kept=True))
    said = f"checkpoint{f' {name}' if name else ''} of step {kept.position.step}, {size_in_words(kept.nbytes)}"
    return Result([Text(said)], {"step": kept.position.step, "name": name, "bytes": kept.nbytes})


def _loaded(session: Session, file: Path) -> Result:
    travel = session.controller.travel
    branch = session.controller.gate.call(lambda: exchange.load(travel, file))
    session.route("fork").drop_after(0)  # copies of the process are of another past
    report = stop_report(session)
    notes = [
        f"{file} is put back; this is branch {branch.name} now, which begins here",
        "the batch and the metrics of this step are not in the file: `step` takes the next",
    ]
    return replace(report, data={**(report.data or {}), "branch": branch.name}, notes=[*report.notes, *notes])


@command()
def checkpoints(session: Session) -> Result:
    """List the checkpoints, where going back can set out from, and the ways in which this script can go back.

    They are taken by themselves, a second or 400 steps apart, further if they would take more than 0.3 % of the time,
    and closer before a stop that is known of. They are thinned to `set checkpoints.budget`; after
    `set checkpoints.spill FOLDER`, some of those that do not fit go to files there, which end with the session.
    However small the budget, the first stays and one other, the ends of branches, and those that `checkpoint` took.
    The first way that can is the one that `back` and `goto` take; of the others it says what is in their way.

    Example:
        checkpoints
    """
    travel = session.controller.travel
    kept = _boundaries(travel.checkpoints)
    step = session.controller.position.step
    ways = capabilities(session.routes, session, step - 1) if step > 0 and session.status == STOPPED else {}
    if not (kept or ways) and travel.why_not:
        raise StateError(f"there are no checkpoints: {travel.why_not}")
    table = _listed(travel, kept)
    copies = session.route("fork").copies()
    aside = [f"copies of the process wait at step {', '.join(map(str, copies))}"] if copies else []
    answers = Table({"way": list(ways), "back 1": [f"no: {reason}" if reason else "yes" for reason in ways.values()]})
    horizon = travel.horizon if kept else None
    is_near = horizon is not None and horizon > travel.floor
    kept_alone = [f"back to step {horizon} at most: the batches before cannot be drawn again"] if is_near else []
    data = {"table": table, "ways": ways, "back to": horizon, "copies": copies}
    return Result([*([table] if kept else []), *([answers] if ways else [])], data, [*kept_alone, *aside])


def _listed(travel: Traveller, kept: list[Checkpoint]) -> Table:
    """Return a row for each checkpoint; in files and for programs its size is a number of bytes."""
    place: dict[str, list[Any]] = {
        "step": [each.position.step for each in kept],
        "tick": [each.tick for each in kept],
        "branch": [travel.branches.name_of(each.timeline) for each in kept],
    }
    name: dict[str, list[Any]] = {"name": [each.name for each in kept]}
    if any(each.file for each in kept):
        name["file"] = [each.file.name if each.file else "" for each in kept]
    sizes = [each.nbytes for each in kept]
    note = f"{counted(len(kept), 'checkpoint')}, {_room(travel.checkpoints)}"
    exact = Table({**place, "bytes": sizes, **name}, note=note)
    return Table({**place, "size": [size_in_words(size) for size in sizes], **name}, note=note, exact=exact)


def _boundaries(checkpoints: Checkpoints) -> list[Checkpoint]:
    """Return one checkpoint of each boundary, and those with names; what is kept for the way back is there twice."""
    seen = {(each.tick, each.timeline, each.edits) for each in checkpoints if each.name}
    found = []
    for each in checkpoints:
        boundary = each.tick, each.timeline, each.edits
        if each.name or boundary not in seen:
            found.append(each)
        seen.add(boundary)
    return found


def _room(checkpoints: Checkpoints) -> str:
    """Return "820 KiB of 1.0 GiB", or why it is more."""
    used, limit = size_in_words(checkpoints.slots.used), size_in_words(checkpoints.limit)
    if checkpoints.slots.used <= checkpoints.limit:
        return f"{used} of {limit}"
    return f"{used}, for the {limit} of checkpoints.budget do not hold those that stay in any case"
