"""In the process in which training is to go on: run to the step asked for, and compare what came out on the way."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np

from tdb.breakpoint_hook import STOPS_HERE
from tdb.commands.flow import Quit
from tdb.elsewhere.carried import Carried, set_points, set_up
from tdb.elsewhere.following import follow_again, follow_from_here
from tdb.elsewhere.known_branches import Columns, KnownBranches
from tdb.elsewhere.on_the_way import OnTheWay
from tdb.elsewhere.serving import SentFront, SentShow, Server, muted
from tdb.errors import StateError, TdbError, UsageError, in_words
from tdb.expressions import compile_expression
from tdb.shell.bugs import logged
from tdb.standing import OVER, READY, RUNNING
from tdb.step import BOUNDARY
from tdb.travel.asking import asking
from tdb.travel.known import ONLY_WHERE_CAPTURED, Comparison, rows_that_differ
from tdb.travel.route import Landing

if TYPE_CHECKING:
    from tdb.elsewhere.channel import Channel
    from tdb.session import Session
    from tdb.shell.interpreter import Interpreter

MOST_DIFFERENCES = 10


def arrive(interpreter: Interpreter, route: str, goal: int, carried: Carried) -> Landing:
    """Run training to the boundary of step `goal`, repeating the user's changes, and set up what goes along.

    Nothing that is printed on the way is shown: it has been before.

    Raises:
        StateError: the run ended before.
    """
    session, show, front = interpreter.session, interpreter.show, interpreter.session.front
    assert isinstance(show, SentShow)
    assert isinstance(front, SentFront)
    front.wait(session, None)  # a copy that was woken is on its way to its boundary
    origin = session.controller.position.step
    session.branches = KnownBranches()
    show.json = carried.answers_json

    def silently(line: str) -> None:
        try:
            interpreter.execute(line)
        except UsageError as error:
            session.journal.notices.append(f"{line}: {error}")

    show.silent = True
    on_the_way = OnTheWay(session)
    try:
        with muted():
            set_points(session, carried)
            session.settings.become(carried.settings)
            with asking(session, compile_expression(carried.asks)) if carried.asks else nullcontext() as asked:
                _repeat(session, goal, carried, silently, on_the_way)
                _run_to(session, goal, on_the_way)
            follow_from_here(session, carried.branch.course, carried.focus, carried.watched)
        set_up(session, carried, silently)
    finally:
        show.silent = False
    step = session.controller.position.step
    session.branches = KnownBranches(carried.branches, step + carried.is_whole)
    if step < goal and not front.interrupted:
        error = session.run.error if session.run is not None else None
        how = "" if error is None else f", with {in_words(error)}"
        raise StateError(f"the run ended at step {step}, before step {goal}{how}")
    comparison = compare(session, carried) if goal else Comparison()
    landing = Landing(
        route,
        step,
        goal,
        checkpoint=origin or None,
        replayed=step - origin,
        losses=comparison.losses,
        metrics=comparison.metrics,
        differences=comparison.differences[:MOST_DIFFERENCES],
        differing=comparison.count,
        notes=[*session.journal.take_notices(), *_left_behind(session, carried)],
        hits=on_the_way.hits,
    )
    return landing if asked is None else asked.told_by(landing)


def arrive_and_serve(interpreter: Interpreter, channel: Channel, route: str, goal: int, carried: Carried) -> None:
    """Arrive as `arrive` does, and serve the front; where training does not arrive, tell it why, and return."""
    try:
        landing = arrive(interpreter, route, goal, carried)
    except TdbError as error:
        channel.send("not arrived", error.message, error.hint)
    except (EOFError, ConnectionError, Quit):
        os._exit(1)  # the front has gone on the way, or is about to: there is nobody to tell
    except BaseException as error:  # noqa: BLE001 - a mistake of ours, told where somebody reads it
        told = logged(error, interpreter.log_file)
        channel.send("not arrived", told.message, told.hint)
    else:
        server = Server(interpreter, channel)
        server.arrived(landing)
        server.serve()


def _left_behind(session: Session, carried: Carried) -> list[str]:
    """Say which branches have not come along."""
    there, was = session.controller.travel.branches, carried.branch.name
    left = [name for name in carried.left_behind if name not in {each.name for each in there}]
    if not left:
        return []
    called = f", called {there.now.name} here" if there.now.name != was else ""
    return [f"this is branch {was}{called}; {', '.join(left)} stayed in the process in which training was over"]


def _repeat(session: Session, goal: int, carried: Carried, run: Callable[[str], object], on_the_way: OnTheWay) -> None:
    """Take the steps before `goal` at which the user changed or followed something, and do it again."""
    now, end = session.controller.position.step, goal + carried.is_whole
    is_anew, course = session.status == READY, carried.branch.course
    changes = [each for each in carried.branch.changes if (now <= each.step < end if each.has_begun else is_anew)]
    if not is_anew:  # a copy that was set aside has the changes of before in it
        session.journal.changes = [each for each in carried.branch.changes if not each.has_begun or each.step < now]
    for change in changes:
        if change.phase != BOUNDARY:
            session.journal.notices.append(
                f"not done again, for it was done inside step {change.step + 1}, at {change.phase}: {change.text}"
            )
    changes = [change for change in changes if change.phase == BOUNDARY]
    for change in changes:
        if not change.has_begun:
            run(change.text)
    turns = {step for step in course.turns() if now <= step < end}
    if is_anew:
        follow_again(session, course, now)
        turns.discard(now)
    stops = {change.step for change in changes if change.has_begun}
    for step in sorted(stops | turns):
        _run_to(session, step, on_the_way)
        if step in turns:
            follow_again(session, course, step)
        for change in changes:
            if change.has_begun and change.step == step:
                run(change.text)


def _run_to(session: Session, step: int, on_the_way: OnTheWay) -> None:
    """Run to the boundary of a step, without stopping before."""
    front = session.front
    assert isinstance(front, SentFront)
    if front.interrupted or session.status in OVER:
        return
    if session.controller.position.step >= step and session.status != READY:
        return
    assert session.run is not None
    if step == 0:
        session.controller.gate.stop_at_begin()
    else:
        on_the_way.aim(step)
        session.controller.resume()
    if not session.run.started:
        session.run.start()
    front.wait(session, step)
    while session.status == RUNNING or _has_stopped_short(session, front, step):
        if session.status != RUNNING:
            session.controller.resume()
        front.wait(session, step)


def _has_stopped_short(session: Session, front: SentFront, step: int) -> bool:
    """Return whether training stands at a `breakpoint()` of the script on the way: it has been stopped at before."""
    here = session.controller.get_state()["reason"] in STOPS_HERE
    return here and session.controller.position.step < step and not front.interrupted


def compare(session: Session, carried: Carried) -> Comparison:
    """Compare losses and metrics of the steps that were taken with those known, bit for bit."""
    history, known, comparison = session.controller.recorder.history, carried.branch.columns, Comparison()
    losses = dict(zip(*(column.tolist() for column in known["loss"]), strict=True))
    for step, loss in zip(*(column.tolist() for column in history.loss()), strict=True):
        if step in losses:
            comparison.compare_loss(step, losses[step], loss)
    now = {name: history.metric(name) for name in history.metric_names() if name in known}
    otherwise = list(_captured(known) ^ _captured(now))  # captured once, and once not: other kernels, other last bits
    compared: set[int] = set()
    for name, (steps, recorded) in now.items():
        common, before, after = np.intersect1d(known[name][0], steps, return_indices=True)
        was, values = known[name][1][before], recorded[after]
        alike = ~np.isin(common, otherwise)
        if not alike.any() or was.shape != values.shape:
            continue
        compared.update(common[alike].tolist())
        for place in np.flatnonzero(alike & rows_that_differ(was, values)):
            comparison.compare_metric(int(common[place]), name, *np.atleast_1d(was[place], values[place]))
    comparison.metrics = len(compared)
    return comparison


def _captured(columns: Columns) -> set[int]:
    """Return the steps whose metrics are those of a captured step."""
    steps, values = columns.get(ONLY_WHERE_CAPTURED, (np.zeros(0), np.zeros((0, 1))))
    return set(steps[~np.isnan(values).all(axis=1)].tolist())
