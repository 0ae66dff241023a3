"""Making training run and stop."""

from __future__ import annotations

import re
from math import inf
from typing import TYPE_CHECKING, Annotated

from tdb.armed import Goal
from tdb.commands import command
from tdb.commands.arguments import ExitCode, Kind, Seconds, Steps
from tdb.errors import StateError, UsageError
from tdb.expressions import compile_expression
from tdb.names import expression_names
from tdb.results import Result, Text
from tdb.standing import READY, RUNNING, STOPPED
from tdb.stopping import stop_report
from tdb.this_step import shapes_of

if TYPE_CHECKING:
    from tdb.session import Session


Until = Annotated[str, Kind("STEP or EXPR", complete=expression_names, takes_rest=True, options_after=True)]


class Quit(Exception):  # noqa: N818 - leaving is no error
    """The user leaves; carries the exit status asked for, or None."""

    def __init__(self, status: int | None) -> None:
        super().__init__(status)
        self.status = status


def go(session: Session, goal: int | None, *, background: bool) -> Result:
    """Let training run, and answer when it has stopped; in the background, answer at once."""
    if session.run is not None and not session.run.started:
        session.run.start()
    if background:
        return Result(
            notes=["training runs in the background: `pause` stops it, `wait` waits"], data={"background": True}
        )
    session.front.wait(session, goal)
    return stop_report(session)


def may_go(session: Session) -> None:
    """Raise StateError unless training may go on; a goal that was not reached is given up, as in gdb."""
    if session.status != READY or session.run is None or session.run.started:
        session.need_stopped()
    session.armed.aim(None)


def _take(session: Session, count: int, *, background: bool) -> Result:
    may_go(session)
    goal = session.controller.position.step + count
    session.controller.step(count)
    return go(session, goal, background=background)


@command(moves=True)
def start(session: Session) -> Result:
    """Run up to just before step 1.

    Imports, data and model are there, nothing has been trained. A loop that never says where it begins stops at the
    end of its first step instead.

    Example:
        start
    """
    if session.status != READY:
        raise StateError("training has started already", "`step`, `continue` or `until` goes on")
    if session.run is None:
        session.need_stopped()
    session.controller.gate.stop_at_begin()
    return go(session, 0, background=False)


@command("s", repeats=True, moves=True)
def step(session: Session, count: Steps = 1, *, background: bool = False) -> Result:
    """Take one training step (one optimizer update), or N, then stop.

    Training stops at the boundary of the last step, where its batch, loss, gradients and update belong together.

    Example:
        step
        step 5
    """
    return _take(session, count, background=background)


@command("n", repeats=True, moves=True)
def next_(session: Session, count: Steps = 1, *, background: bool = False) -> Result:
    """Take one training step, or N, running evaluation and checkpointing of the script through.

    Not an epoch: `n` is a reflex, as in pdb.

    Example:
        next
    """
    return _take(session, count, background=background)


@command("unt", repeats=True, moves=True)
def until(session: Session, where: Until, *, background: bool = False) -> Result:
    """Run until a step is reached, or until an expression is true at the end of a step.

    A step already passed is an error; an expression that is true already is asked again after the next step. Any other
    stop on the way gives the goal up.

    Example:
        until 500
        until loss < 0.1
    """
    if where.endswith("&"):
        where, background = where[:-1].rstrip(), True
    may_go(session)
    if not re.fullmatch(r"\d{1,18}", where):
        expression = compile_expression(where, session.typed_before(where))
        if not expression.names:
            message = f"until takes the number of a step or a condition, not {where!r}"
            raise UsageError(message, "Examples: until 500, until loss < 0.1")
        shapes, unknown = shapes_of(session, expression.names)
        if unknown:
            raise UsageError(next(iter(unknown.values())), "To wait until it has a value: break when")
        expression.check_shapes(shapes)
        goal = Goal(expression=expression)
    else:
        number, now = int(where), session.controller.position.step
        if number == now:
            raise StateError(f"training stands at step {now} already", "`step` takes the next")
        if number < now:
            raise StateError(f"step {number} is behind step {now}", f"`goto {number}` goes back there")
        goal = Goal(step=number)
    session.armed.aim(goal)
    session.controller.resume()
    return go(session, goal.step, background=background)


@command("r", name="return", moves=True)
def return_(session: Session, *, background: bool = False) -> Result:
    """Run to the end of the epoch.

    Training stops at the first step of the next one: only then is it known that the epoch has ended.

    Example:
        return
    """
    may_go(session)
    epoch = session.controller.position.epoch
    if epoch is None:
        raise StateError("the loop does not say which epoch it is in", "`until EXPR` runs to anything that it does say")
    session.armed.aim(Goal(epoch=epoch))
    session.controller.resume()
    return go(session, None, background=background)


@command(moves=True)
def detach(session: Session) -> Result:
    """Let training run to its end at full speed: stop points are disabled, and nothing is asked at a boundary.

    `breakpoint()` and `tdb.set_trace()` in the script stop nothing any more, unless Ctrl-C has stopped training before.

    Example:
        detach
    """
    may_go(session)
    points = session.armed.points
    points.disable(*[point.number for point in points])
    session.displays.clear()
    session.armed.looks_back = []
    session.armed.refresh()
    session.controller.gate.resume(past_breakpoints=True)
    return go(session, None, background=False)


@command("c cont resume", moves=True)
def continue_(session: Session, *, background: bool = False) -> Result:
    """Run until something stops training: its end, Ctrl-C, or `pause` after `continue &`.

    Example:
        continue
        continue &
    """
    may_go(session)
    session.controller.resume()
    return go(session, None, background=background)


@command(running="yes", moves=True)
def pause(session: Session) -> Result:
    """Stop at the end of the next whole step.

    Example:
        pause
    """
    if session.status != RUNNING:
        session.need_stopped()
        raise StateError("training is stopped already", "`step` or `continue` goes on")
    session.controller.pause()
    session.front.wait(session, None)
    return stop_report(session)


@command(running="yes", moves=True)
def wait(session: Session, seconds: Seconds | None = None) -> Result:
    """Block until training has stopped or ended; with SECONDS, fail if it has not by then.

    Example:
        wait
        wait 60
    """
    if session.status == READY:
        session.need_stopped()
    if session.status != RUNNING and not session.shell.stop_untold:
        said = f"nothing to wait for: training has {session.status} at step {session.controller.position.step}"
        return Result([Text(said)], stop_report(session).data)
    session.front.wait(session, None, inf if seconds is None else seconds)
    if session.status == RUNNING:
        raise StateError(f"training still runs after {seconds:g} s", "`pause` stops it")
    return stop_report(session)


@command("q exit", running="yes")
def quit_(session: Session, code: ExitCode | None = None) -> Result:
    """Leave tdb; training that is not finished ends at its next boundary.

    The exit status is CODE if given. On a terminal tdb asks once before it ends unfinished training.

    Example:
        quit
        quit 3
    """
    if code is not None and not 0 <= code <= 255:
        raise UsageError(f"quit takes an exit status from 0 to 255, not {code}")
    unfinished = session.status in (RUNNING, STOPPED)
    if unfinished and not session.front.confirm("Training is not finished. Leave and end it?"):
        return Result(notes=["still here"], data={"left": False})
    raise Quit(code)
