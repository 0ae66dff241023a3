"""The frames of the loop: where it stands, its source, its arguments, and the exception that ended it."""

from __future__ import annotations

import inspect
import linecache
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Annotated, Any

from tdb.commands import command
from tdb.commands.arguments import Count, Kind, LineNumber, whole_number
from tdb.commands.python import part_of
from tdb.errors import StateError, TdbError, UsageError, in_words
from tdb.results import Result, Table, TensorValue
from tdb.results import Text as Lines
from tdb.standing import CRASHED
from tdb.stopping import placed
from tdb.variables import variables_of
from tdb.views.tensor import summary_line

if TYPE_CHECKING:
    from tdb.session import Session

FirstLine = Annotated[str, Kind("LINE")]
ExceptionNumber = Annotated[int, Kind("NUMBER", whole_number)]
LINES_AROUND = 5


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
        local = variables_of(frame)
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
    try:
        part = part_of(value)
    except TdbError as error:
        return f"*** its repr failed: {error} ***"
    return summary_line(part) if isinstance(part, TensorValue) else part.text


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
