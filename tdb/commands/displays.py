"""Displays: values and answers that are shown at every stop."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from tdb.armed import ALWAYS_KNOWN
from tdb.commands import command
from tdb.commands.arguments import Kind
from tdb.commands.python import part_of
from tdb.errors import StateError, TdbError, UsageError
from tdb.expressions import UnknownNameError, compile_expression, short
from tdb.foreign import is_array, text_of
from tdb.names import expression_names
from tdb.prompt_python import compiled, run_python
from tdb.queries import array_of
from tdb.results import Result
from tdb.results import Text as Lines
from tdb.this_step import all_known, evaluated

if TYPE_CHECKING:
    from tdb.displays import Display
    from tdb.expressions import Expression
    from tdb.session import Session

Displayed = Annotated[str, Kind("EXPR or COMMAND", complete=expression_names, takes_rest=True)]
DisplayNumber = Annotated[
    str, Kind("NUMBER", complete=lambda s: ((str(each.number), each.text) for each in s.displays))
]
# Topics of commands that do something: a display only looks.
NOT_DISPLAYED = frozenset({"displays", "flow", "frames", "saving", "stops", "tool"})


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
    except UnknownNameError as error:
        return replace(untried, notes=[f"{error}. It may be captured later"])
    except StateError as error:
        return replace(untried, notes=[str(error)])
    except TdbError:
        if made.number not in before:
            session.displays.take_back(made)
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
    value = run_python(session, display.text) if expression is None else evaluated(session, expression, display.memory)
    return Result([Lines(display.line(_in_short(value)))], {"value": value if _is_plain(value) else part_of(value)})


def _is_value(session: Session, text: str) -> bool:
    """Return whether `text` has a value in a step, though it begins like a command: `loss`."""
    try:
        expression = compile_expression(text)
    except UsageError:
        return False
    if session.controller.position.tick == 0:
        return set(expression.names) <= ALWAYS_KNOWN
    return all_known(session, expression)


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
    known = all_known(session, expression) if session.controller.position.tick else True
    if known or not is_python:
        return expression
    try:
        run_python(session, text)
    except TdbError:
        return expression  # it may come to be captured later
    return None


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
    if is_array(value):
        with suppress(TdbError):  # a tensor without numbers has a text
            array = array_of(value)
            if array.dtype.kind in "fiubc":
                return short(array)
    return text_of(value)
