"""Looking around where training stopped: displays, and the frames of the loop."""

from __future__ import annotations

import inspect
import linecache
from dataclasses import replace
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Annotated, Any

from tdb.armed import ALWAYS_KNOWN
from tdb.commands import command
from tdb.commands.arguments import Count, Kind, LineNumber, whole_number
from tdb.commands.python import part_of
from tdb.errors import StateError, TdbError, UsageError, in_words
from tdb.expressions import UnknownNameError, compile_expression, short
from tdb.frames import compiled
from tdb.gate import CRASHED
from tdb.names import expression_names
from tdb.queries import array_of
from tdb.results import Result, Table
from tdb.results import Text as Lines
from tdb.stopping import placed
from tdb.tensors import tensor_value
from tdb.views.tensor import summary_line

if TYPE_CHECKING:
    from tdb.displays import Display
    from tdb.expressions import Expression
    from tdb.session import Session

Displayed = Annotated[str, Kind("EXPR or COMMAND", complete=expression_names, takes_rest=True)]
DisplayNumber = Annotated[
    str, Kind("NUMBER", complete=lambda s: ((str(each.number), each.text) for each in s.displays))
]
FirstLine = Annotated[str, Kind("LINE")]
ExceptionNumber = Annotated[int, Kind("NUMBER", whole_number)]
LINES_AROUND = 5
# Topics of commands that do something: a display only looks.
NOT_DISPLAYED = frozenset({"flow", "looking", "saving", "stops", "tool"})


@command(running="now", repeats=True)
def display(session: Session, expression: Displayed | None = None) -> Result:
    """Show the value of an expression, or the answer of a command, at every stop; without arguments, all of them now.

    The value it had at the stop before stands beside it when it has changed. What is no metric, key or source is
    evaluated as Python in the training loop's frame.

    Example:
        display
        display win_rate[31]
        display optimizer.param_groups[0]["lr"]
        display metrics sort win_rate asc top 3
    """
    if expression is None:
        if not len(session.displays):
            return Result([Lines("nothing is displayed")], {"displays": {}})
        return session.shell.displayed()
    before = {each.number for each in session.displays}
    shown = session.registry.find(expression.split()[0])
    if shown is not None and not _is_value(session, expression):
        if shown.topic in NOT_DISPLAYED:
            raise UsageError(f"{shown.name} shows nothing of a step", "Example: display metrics top 3")
        made = session.displays.add(expression, is_command=True)
    else:
        made = session.displays.add(expression, expression=_expression(session, expression))
    _look_back(session)
    untried = Result([Lines(f"{made.number}: {made.text}")], {"number": made.number})
    if session.controller.position.tick == 0:
        return untried
    try:
        return session.shell.displayed_one(made)
    except (UnknownNameError, StateError) as error:
        return replace(untried, notes=[f"{error}. It may be captured later"])
    except TdbError:
        if made.number not in before:
            session.displays.remove([str(made.number)])
            _look_back(session)
        raise


@command(running="now")
def undisplay(session: Session, *displays: DisplayNumber) -> Result:
    """Stop displaying; displays are named by number or text, without any all are.

    Example:
        undisplay
        undisplay 1
    """
    if displays:
        session.displays.remove(list(displays))
    else:
        session.displays.clear()
    _look_back(session)
    return Result(data={"displays": [each.text for each in session.displays]})


def value_of(session: Session, display: Display) -> Result:
    """Return the line of a display that is no command."""
    expression = display.expression
    if session.controller.is_inside and expression is not None and expression.needs_history:
        return Result([Lines(f"{display.number}: {display.text} is known at the end of the step")], {"value": None})
    value = session.python(display.text) if expression is None else evaluated(session, expression, display)
    return Result([Lines(display.line(_in_short(value)))], {"value": value if _is_plain(value) else part_of(value)})


def evaluated(session: Session, expression: Expression, display: Display | None = None) -> Any:
    """Return the value of an expression at this step; of a running training, at its next boundary."""
    armed, memory = session.armed, display.memory if display is not None else None

    def evaluate() -> Any:
        armed.renew()
        if memory is not None:
            memory.look(session.controller.position.step, armed.boundary(session.controller.position))
        return expression.evaluate(armed.namespace, memory)

    return session.at_boundary(evaluate)


def _is_value(session: Session, text: str) -> bool:
    """Return whether `text` has a value in a step, though it begins like a command: `loss`."""
    try:
        expression = compile_expression(text)
    except UsageError:
        return False
    if session.controller.position.tick == 0:
        return set(expression.names) <= ALWAYS_KNOWN
    return session.at_boundary(lambda: _known(session, expression))


def _expression(session: Session, text: str) -> Expression | None:
    """Return the expression that `text` is; None if it is Python.

    Raises:
        UsageError: it is neither.
    """
    is_python = _compiles(text)
    try:
        expression = compile_expression(text, "display ")
    except UsageError:
        if is_python:
            return None
        raise
    known = session.at_boundary(lambda: _known(session, expression)) if session.controller.position.tick else True
    if known or not is_python:
        return expression
    try:
        session.python(text)
    except TdbError:
        return expression  # it may come to be captured later
    return None


def _known(session: Session, expression: Expression) -> bool:
    session.armed.renew()
    namespace = session.armed.namespace
    for name in expression.names:
        try:
            namespace[name]
        except (KeyError, TdbError):
            return False
    return True


def _look_back(session: Session) -> None:
    looks_back = session.displays.looks_back()
    if looks_back == session.armed.looks_back:
        return

    def change() -> None:
        session.armed.looks_back = looks_back
        session.armed.refresh()

    session.at_boundary(change)


def _compiles(text: str) -> bool:
    try:
        compiled(text, "eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _in_short(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        array = array_of(value)
        if array.dtype.kind in "fiub":
            return short(array)
    return repr(value)


# ---- frames ----------------------------------------------------------------------------------------------------------


@command("u")
def up(session: Session, count: Count = 1) -> Result:
    """Select the frame that called this one, or one further out.

    Example:
        up
        up 2
    """
    return _moved(session, count)


@command("d")
def down(session: Session, count: Count = 1) -> Result:
    """Select the frame that this one called, or one further in.

    Example:
        down
    """
    return _moved(session, -count)


@command("l", name="list")
def list_(session: Session, first: FirstLine | None = None, last: LineNumber | None = None) -> Result:
    """Show source around the line where the selected frame is; again, the lines that follow.

    `list .` shows the lines around that place again, `list N` those around line N, `list N M` lines N to M.

    Example:
        list
        list .
        list 10 30
    """
    frame = _frame(session)
    selection = session.stack.selection
    if first is not None and first != "." and not first.isdecimal():
        raise UsageError(f"list takes line numbers, not {first!r}", "Example: list 10 30")
    if first is not None and first != "." and last is not None:
        begin, end = int(first), last
    else:
        centre = _line(session) if first in (None, ".") else int(first)
        begin, end = centre - LINES_AROUND, centre + LINES_AROUND
        if first is None and selection.listed:
            begin, end = selection.listed + 1, selection.listed + 1 + 2 * LINES_AROUND
    source = linecache.getlines(frame.f_code.co_filename, frame.f_globals)
    if not source:
        raise TdbError(f"no source of {frame.f_code.co_filename}")
    begin, end = max(begin, 1), min(end, len(source))
    if begin > end:
        raise TdbError(f"the file ends at line {len(source)}", "`list .` shows the present line")
    selection.listed = end
    return _source(_line(session), begin, source[begin - 1 : end])


@command("ll")
def longlist(session: Session) -> Result:
    """Show the whole source of the selected frame's function.

    Example:
        longlist
    """
    frame = _frame(session)
    try:
        lines, first = inspect.getsourcelines(frame)
    except OSError:
        raise TdbError(f"no source of {frame.f_code.co_filename}") from None
    return _source(_line(session), max(first, 1), lines)


@command("a")
def args(session: Session) -> Result:
    """Show the arguments of the selected frame's function with their values now.

    Example:
        args
    """
    frame = _frame(session)
    code: CodeType = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    names = code.co_varnames[:count]

    def values() -> dict[str, str]:
        local = frame.f_locals
        return {name: _argument(local[name]) if name in local else "*** deleted" for name in names}

    shown = session.controller.call(values, user_code=True)
    text = "\n".join(f"{name} = {value}" for name, value in shown.items())
    return Result([Lines(text)] if text else [], shown, [] if names else [f"{code.co_name} takes no arguments"])


@command()
def exceptions(session: Session, number: ExceptionNumber | None = None) -> Result:
    """List the exception that ended training with those that led to it, or select one to look at.

    Example:
        exceptions
        exceptions 0
    """
    chain = session.stack.errors()
    if not chain:
        raise StateError("there is no exception", "A crash in training brings one")
    if number is not None:
        session.stack.selection.choose_error(chain, number)
        return _where(session)
    chosen = session.stack.error()
    table = Table(
        {
            "": [">" if error is chosen else "" for error in chain],
            "number": list(range(len(chain))),
            "exception": [in_words(error) for error in chain],
        },
        note="the last one ended training",
    )
    return Result([table], {"exceptions": [in_words(error) for error in chain]})


def _argument(value: Any) -> str:
    """Return an argument as its repr; a tensor, which that would fill the screen with, in a line."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        try:
            return summary_line(tensor_value("", value))
        except TdbError:
            pass
    return repr(value)


def _moved(session: Session, outward: int) -> Result:
    _frame(session)
    session.stack.selection.move(session.stack.frames(), outward)
    return _where(session)


def _where(session: Session) -> Result:
    _frame(session)
    place = session.stack.place()
    assert place is not None
    data = {"file": place.file, "line": place.line, "function": place.function}
    return Result([placed([f"> {place}", f"-> {place.source}"], place)], data)


def _frame(session: Session) -> FrameType:
    frame = session.stack.frame()
    if frame is None:
        if session.status != CRASHED:
            session.need_stopped()
        raise StateError("there is no frame", "Training has to be stopped, or crashed")
    return frame


def _line(session: Session) -> int:
    """Return the line where the selected frame is."""
    place = session.stack.place()
    return place.line if place is not None else 0


def _source(line: int, first: int, lines: list[str]) -> Result:
    text = "\n".join(
        f"{number:4} {'->' if number == line else '  '} {text.rstrip()}".rstrip()
        for number, text in enumerate(lines, first)
    )
    return Result([Lines(text)], {"first": first, "line": line, "lines": [text.rstrip() for text in lines]})
