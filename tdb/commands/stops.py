"""Where training stops: breakpoints, catchpoints, and what happens at them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from tdb.command_lines import CommandLines
from tdb.commands import command
from tdb.commands.arguments import Condition, Kind, Times, some
from tdb.crashes import parse_crash
from tdb.errors import UsageError
from tdb.expressions import compile_expression
from tdb.names import expression_names
from tdb.results import Result
from tdb.results import Text as Lines
from tdb.standing import OVER, READY, RUNNING
from tdb.stops import parse_catch, parse_stop
from tdb.stops.parse import CATCH_FORMS, CRASHES
from tdb.this_step import NO_LOSS, has_no_loss, shapes_of
from tdb.trial import tried

if TYPE_CHECKING:
    from tdb.session import Session
    from tdb.stops import Stop, StopPoint

Value = TypeVar("Value")


def _number_word(word: str) -> str:
    if not re.fullmatch(r"\d{1,9}|\$_bpnum", word):
        raise UsageError(f"takes the number of a stop point, not {word!r}", "`break` lists them")
    return word


def _points(session: Session) -> list[tuple[str, str]]:
    return [(str(point.number), point.text) for point in session.armed.points]


def _stops(session: Session) -> list[tuple[str, str]]:
    return [*((word, "") for word in ("epoch", "every", "when", "while", "changed")), *expression_names(session)]


StopText = Annotated[str, Kind("STOP", complete=_stops, takes_rest=True, options_after=True)]
Event = Annotated[str, Kind("EVENT", complete=some([*CATCH_FORMS, *CRASHES]), takes_rest=True)]
Number = Annotated[str, Kind("NUMBER", _number_word, _points)]


@command("b", name="break", running="queued")
def break_(session: Session, where: StopText | None = None) -> Result:
    """Stop training at a step, or when something is so; without arguments list the stop points.

    `STEP` and `+N` stop at a step, `epoch N` at an epoch's first step, `every N` at every multiple of N. `when EXPR`
    stops when it becomes true (true at the first look counts), `while EXPR` at every step at which it is true,
    `changed EXPR` when its value changes. `, EXPR` after any of these is a further condition. Expressions name step,
    epoch, loss, metrics, step data, sources, and last the loop's own variables as `p` shows them: numbers, tensors,
    arrays, and what is found in objects; loop.NAME is always a variable. prev, delta, ema, crosses and since look back
    over steps.

    Example:
        break
        break 500
        break +10
        break epoch 2
        break every 100, loss > 0.2
        break when win_rate[31] < 0.01
        break while loss > prev(loss)
        break when optimizer.param_groups[0]["lr"] < 1e-4
        break changed epoch
    """
    return _break(session, where, temporary=False)


@command(running="queued")
def tbreak(session: Session, where: StopText | None = None) -> Result:
    """Set a stop point, as `break` does, that goes at its first stop.

    Example:
        tbreak 500
        tbreak when loss < 0.1
    """
    return _break(session, where, temporary=True)


@command(running="queued")
def catch(session: Session, event: Event | None = None) -> Result:
    """Stop training at the boundary of the step in which something goes wrong; without arguments list the stop points.

    `nan` and `inf` look at loss, grads, weights and activations, or at those that are named. `spike METRIC [xK]` is a
    jump over its median, `plateau METRIC N` no new best for N steps; `vanishing` and `exploding` are updates out of
    proportion to the weights, `frozen [STEPS]` weights that do not change, `dead [SHARE]` too many dead features.
    `exception [TYPE]` and `oom` catch what ends training, and not what the script catches itself. A script that ends
    while stopped at a catchpoint has exit status 4.

    Example:
        catch nan
        catch inf grads weights
        catch spike loss x3
        catch plateau loss 200
        catch exploding 0.1
        catch dead 50%
        catch exception RuntimeError
        catch oom
    """
    if event is None:
        return _listing(session)
    stop = parse_crash(event) or parse_catch(event, session.typed_before(event))
    return _set(session, stop, temporary=False)


@command(running="queued")
def condition(session: Session, number: Number, expression: Condition | None = None) -> Result:
    """Let a stop point stop training only if an expression is true as well; without one, always again.

    Example:
        condition 1 loss > 0.2
        condition 1
    """
    compiled = None if expression is None else compile_expression(expression, session.typed_before(expression))
    chosen = _chosen(session, [number])[0]
    notes = _check_names(session, compiled.names, compiled) if compiled is not None else []
    _do(session, lambda: session.armed.points.set_condition(chosen, compiled))
    return _said(session, chosen, notes)


@command(running="queued")
def ignore(session: Session, number: Number, count: Times = 0) -> Result:
    """Pass over the next COUNT hits of a stop point.

    Example:
        ignore 1 3
    """
    chosen = _chosen(session, [number])[0]
    _do(session, lambda: session.armed.points.ignore(chosen, count))
    hits = "hit is" if count == 1 else f"{count:,} hits are"
    text = f"the next {hits} passed over at stop point {chosen}" if count > 0 else f"{chosen} stops again"
    return Result([Lines(text)], {"number": chosen, "ignore": max(count, 0)}, _queued(session))


@command(running="queued")
def enable(session: Session, *numbers: Number) -> Result:
    """Look at stop points again; without numbers, at all of them.

    Example:
        enable
        enable 1 2
    """
    return _switched(session, numbers, session.armed.points.enable, "enabled")


@command(running="queued")
def disable(session: Session, *numbers: Number) -> Result:
    """Keep stop points, but do not stop at them; without numbers, at none.

    Example:
        disable
        disable 1 2
    """
    return _switched(session, numbers, session.armed.points.disable, "disabled")


@command("cl", running="queued")
def clear(session: Session, *numbers: Number) -> Result:
    """Remove stop points; without numbers, all of them, after asking.

    Example:
        clear
        clear 1 2
    """
    if not numbers and not session.front.confirm("Remove all stop points?"):
        return Result(notes=["they are still there"], data={"numbers": []})
    return _switched(session, numbers, session.armed.points.remove, "removed")


@command(running="queued")
def commands(session: Session, number: Number = "$_bpnum") -> Result:
    """Give a stop point commands to run when training stops there: the lines that follow, up to `end`.

    Without a number, the stop point set last. `silent` among them keeps the stop itself from being shown; a line that
    lets training go on is the last that is run. `end` at once takes the commands away.

    Example:
        commands
        commands 1
    """
    chosen = _chosen(session, [number])[0]

    def give(lines: list[str]) -> None:
        _do(session, lambda: session.armed.points.set_commands(chosen, lines))

    session.shell.take_lines(CommandLines(session, chosen, give))
    return Result(data={"number": chosen})


# ---- setting ---------------------------------------------------------------------------------------------------------


def _break(session: Session, where: str | None, *, temporary: bool) -> Result:
    if where is None:
        return _listing(session)
    now = session.controller.position.step
    stop = parse_stop(where, now, session.typed_before(where))
    notes = []
    if stop.kind == "step" and int(stop.what) <= now and session.status not in (READY, *OVER):
        ways = f"`reverse-continue` stops there, `goto {stop.what}` goes there"
        notes.append(f"step {stop.what} is behind step {now}: {ways}")
    return _set(session, stop, temporary=temporary, notes=notes)


def _set(session: Session, stop: Stop, *, temporary: bool, notes: Sequence[str] = ()) -> Result:
    names = list(stop.names) + (list(stop.condition.names) if stop.condition is not None else [])
    notes = [*notes, *_check_names(session, names, stop.expression, stop.condition)]

    def add() -> tuple[StopPoint, str, bool | None]:
        points = session.armed.points
        earlier = points.take_notes()
        point = points.add(stop, temporary=temporary)
        said, would_hit = tried(session, point)
        of_trial = points.take_notes()
        notes.extend([*earlier, *(() if point.waiting_for else of_trial)])  # that it waits is said already
        return point, said, would_hit

    point, said, would_hit = _do(session, add)
    data = {"number": point.number, "stop": point.text, "temporary": temporary, "would_hit": would_hit}
    lines = [f"{point.label}, {'temporary, ' if temporary else ''}{point.said}", said]
    return Result([Lines("\n".join(line for line in lines if line))], data, [*notes, *_queued(session)])


def _check_names(session: Session, names: Sequence[str], *expressions: Any) -> list[str]:
    """Return notes on names that nothing is known by yet.

    Raises:
        UsageError: an index is out of the range of what is known.
    """
    shapes, unknown = shapes_of(session, names)
    for expression in expressions:
        if expression is not None:
            expression.check_shapes(shapes)
    notes = [f"{note}. It may be captured later" for note in unknown.values()]
    return [*notes, NO_LOSS] if "loss" in names and has_no_loss(session) else notes


# ---- changing --------------------------------------------------------------------------------------------------------


def _do(session: Session, function: Callable[[], Value]) -> Value:
    """Change stop points in the training thread, between two steps."""

    def change() -> Value:
        value = function()
        session.armed.refresh()
        return value

    return session.at_boundary(change)


def _queued(session: Session) -> list[str]:
    return [f"in force from step {session.controller.position.step + 1} on"] if session.status == RUNNING else []


def _chosen(session: Session, words: Sequence[str]) -> list[int]:
    points = session.armed.points
    if not words:
        return [point.number for point in points]
    return [points.get(points.last_number if word == "$_bpnum" else int(word)).number for word in words]


def _switched(session: Session, words: Sequence[str], change: Callable[..., None], done: str) -> Result:
    chosen = _chosen(session, words)
    _do(session, lambda: change(*chosen))
    said = f"{done}: {', '.join(map(str, chosen))}" if chosen else "no stop points"
    return Result([Lines(said)], {"numbers": chosen}, _queued(session))


def _said(session: Session, number: int, notes: list[str]) -> Result:
    point = session.armed.points.get(number)
    return Result(
        [Lines(f"{point.label}, {point.said}")],
        {"number": number, "stop": point.text},
        [*notes, *_queued(session)],
    )


def _listing(session: Session) -> Result:
    table = session.armed.points.table()
    if not len(table):
        return Result([Lines("no stop points")], {"stops": table})
    return Result([table], {"stops": table})
