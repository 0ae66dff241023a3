"""The kinds of arguments that commands take: how each is read from a word, and what completes it.

They annotate the parameters of a command's function, which is how its line is understood: see `tdb.commands.binding`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tdb.errors import UsageError
from tdb.names import (
    alias_names,
    branch_names,
    command_names,
    expression_names,
    key_names,
    layer_names,
    metric_names,
    module_names,
    recorded_names,
    source_names,
)

if TYPE_CHECKING:
    from tdb.session import Session


@dataclass(frozen=True)
class Kind:
    """A kind of argument.

    Attributes:
        name: what usage lines call it.
        parse: word -> value; raises UsageError.
        complete: session -> words that would be right, with a few words about each.
        takes_rest: it takes the rest of the line, spaces and all.
        options_after: but for the options of every command at its end: what is meant is no other line.
    """

    name: str
    parse: Callable[[str], Any] = str
    complete: Callable[[Session], Iterable[tuple[str, str]]] = lambda session: ()  # noqa: ARG005
    takes_rest: bool = False
    options_after: bool = False


def _count(word: str, of: str = "a number from 1") -> int:
    if not re.fullmatch(r"\d{1,18}", word) or int(word) < 1:
        raise UsageError(f"takes {of}, not {word!r}")
    return int(word)


def whole_number(word: str) -> int:
    """Read a whole number.

    Raises:
        UsageError: it is none.
    """
    if not re.fullmatch(r"[+-]?\d{1,18}", word):
        raise UsageError(f"takes a whole number, not {word!r}")
    return int(word)


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"takes a number of seconds, not {word!r}")
    return seconds


def _file(word: str) -> Path:
    try:
        os.fsencode(word)
    except UnicodeEncodeError:
        raise UsageError(f"takes a file, and {word!r} cannot be the name of one") from None
    if "\x00" in word:
        raise UsageError(f"takes a file, and {word!r} cannot be the name of one")
    try:
        return Path(word).expanduser()
    except RuntimeError:
        raise UsageError(f"takes a file, and nobody knows whose folder {word!r} is in") from None


def regex(word: str) -> str:
    """Read a regular expression.

    Raises:
        UsageError: it is none.
    """
    try:
        re.compile(word)
    except re.error as error:
        raise UsageError(f"takes a regular expression, and {word!r} is none: {error}") from None
    return word


def _files(session: Session) -> Iterable[tuple[str, str]]:
    del session
    try:
        paths = sorted(Path().iterdir())
    except OSError:  # the folder has gone, or is another user's
        return ()
    return ((str(path) + ("/" if path.is_dir() else ""), "") for path in paths)


def some(words: Iterable[str]) -> Callable[[Session], Iterable[tuple[str, str]]]:
    """Return what completes to words that are always the same."""
    return lambda session: ((word, "") for word in words)  # noqa: ARG005


Count = Annotated[int, Kind("N", _count)]
Steps = Annotated[int, Kind("N", partial(_count, of="a number of steps"))]
Integer = Annotated[int, Kind("N", whole_number)]
StepNumber = Annotated[int, Kind("STEP", whole_number)]
ExitCode = Annotated[int, Kind("CODE", whole_number)]
Times = Annotated[int, Kind("COUNT", whole_number)]
LineNumber = Annotated[int, Kind("LINE", whole_number)]
Seconds = Annotated[float, Kind("SECONDS", _seconds)]
Name = Annotated[str, Kind("NAME")]
BranchName = Annotated[str, Kind("BRANCH", complete=branch_names)]
AliasName = Annotated[str, Kind("NAME", complete=alias_names)]
File = Annotated[Path, Kind("FILE", _file, _files)]
Regex = Annotated[str, Kind("REGEX", regex)]
Expression = Annotated[str, Kind("EXPR", complete=recorded_names, takes_rest=True, options_after=True)]
Python = Annotated[str, Kind("EXPR", takes_rest=True, options_after=True)]
Text = Annotated[str, Kind("TEXT", takes_rest=True)]
Condition = Annotated[str, Kind("EXPR", complete=expression_names, takes_rest=True, options_after=True)]
KeyName = Annotated[str, Kind("KEY", complete=key_names)]
MetricName = Annotated[str, Kind("COL", complete=metric_names)]
SourceName = Annotated[str, Kind("SOURCE", complete=source_names)]
LayerName = Annotated[str, Kind("LAYER", complete=layer_names)]
ModuleName = Annotated[str, Kind("MODULE", complete=module_names)]
SettingName = Annotated[str, Kind("K", complete=lambda session: session.settings.described())]
CommandName = Annotated[str, Kind("COMMAND", complete=command_names)]
Ids = Annotated[str, Kind("IDS")]
BranchNames = Annotated[str, Kind("A B", takes_rest=True, options_after=True)]
