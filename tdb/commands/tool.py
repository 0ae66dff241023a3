"""The tool itself: settings, files of commands, help."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from math import isfinite, nan
from typing import TYPE_CHECKING, Annotated

from tdb.commands import command
from tdb.commands.arguments import CommandName, Count, File, Kind, SettingName, regex
from tdb.errors import TdbError, UsageError, did_you_mean
from tdb.results import Result, Table
from tdb.results import Text as Lines
from tdb.settings import SETTINGS
from tdb.travel.edits import note, setter, values_that_can_be_set

if TYPE_CHECKING:
    from tdb.commands import Command
    from tdb.session import Session


Value = Annotated[str, Kind("VALUE", takes_rest=True)]
Piped = Annotated[str, Kind("COMMAND | PROGRAM", takes_rest=True)]
Program = Annotated[str, Kind("PROGRAM", takes_rest=True)]
Words = Annotated[str, Kind("REGEX", regex, takes_rest=True)]

NEVER_NEGATIVE = {f"optimizer.{option}" for option in ("lr", "momentum", "weight_decay", "alpha", "rho")}
"""Options that torch refuses below 0 in every optimizer that has them."""

HELP_NOTE = "`help COMMAND` explains one; anything that is no command is Python"
NO_HELP = "what commands do is in their docstrings, and `python -OO` leaves those out: run tdb without it"
OPTIONS_NOTE = "all take -o FILE, -n REGEX (only the lines that match), --json and --no-pager, also after an expression"


@command(name="set", running="yes", changes=True)
def set_(session: Session, name: SettingName | None = None, value: Value | None = None) -> Result:
    """Show the settings, show one, or change it.

    `optimizer.lr` and a rule's constants, such as `bcl.som_lr`, are training's own: a change of them holds from the
    next step on, and is made again when time travel passes this step again.

    Example:
        set
        set figures file
        set status.dead 0.02
    """
    if name is not None and "." in name and name not in SETTINGS:
        found = values_that_can_be_set(session)
        if name in found or name.partition(".")[0] in {each.partition(".")[0] for each in found}:
            return _of_training(session, name, value, found)
    if name is not None and value is not None:
        _must_fit(session, name, session.settings.read(name, value))
        session.settings.change(name, value)
    names = list(SETTINGS) if name is None else [name]
    values = [session.settings.shown(each) for each in names]
    table = Table({"setting": names, "value": values, "meaning": [SETTINGS[each].meaning for each in names]})
    data = dict(zip(names, values, strict=True))
    if name is None:
        return Result([table], data)
    return Result([Lines(f"{name} {values[0]}")], data)


def _must_fit(session: Session, name: str, value: object) -> None:
    """Raise UsageError if training has shown that it has nothing of the kind that a setting is to be.

    A setting that was made earlier, or comes along from another process, may well not fit: that is told, not refused.
    """
    why = session.run.finder.misfit(str(value)) if name == "step.on" and session.run is not None else ""
    if why:
        raise UsageError(f"set step.on {value}: {why}", f"Now: {session.settings.shown(name)}")


def _of_training(session: Session, name: str, text: str | None, found: Mapping[str, float]) -> Result:
    """Show one of training's own values, or change it."""
    if name not in found:
        raise UsageError(f"no setting {name!r}", did_you_mean(name, found) or f"There are {', '.join(found)}")
    if text is None:
        return Result([Lines(f"{name} {found[name]}")], {name: found[name]})
    session.need_boundary()
    # A learning rate that was given as 1 may become 0.5; a number of neighbours may not.
    is_whole = isinstance(found[name], int) and not (name.startswith("optimizer.") and not text.isdigit())
    try:
        value = int(text) if is_whole else float(text)
    except ValueError:
        value = nan
    if not isfinite(value):
        kind = "whole number" if is_whole else "number"
        raise UsageError(f"set {name} takes a {kind}, not {text!r}", f"Now: {found[name]}")
    if value < 0 and name in NEVER_NEGATIVE:
        raise UsageError(f"set {name} takes a number from 0 on, not {text!r}", f"Now: {found[name]}")
    change = setter(session, name, value)
    before = session.controller.gate.call(lambda: values_that_can_be_set(session)[name])
    try:
        session.controller.gate.call(change)
    except ValueError as error:
        raise UsageError(str(error), f"Now: {before}") from None
    notes = note(session, f"set {name} {text}", change)
    return Result([Lines(f"{name} {value}, was {before}")], {name: value, "was": before}, notes)


@command(running="yes")
def source(session: Session, path: File) -> Result:
    """Run the commands of a file; the first that fails ends it.

    Example:
        source look.tdb
    """
    if not session.shell.source(path):
        raise TdbError(f"{path} ended at its first failing command")
    return Result(data={"file": str(path)})


@command(running="yes")
def history(session: Session, count: Count = 20) -> Result:
    """Show the last lines that were typed.

    Example:
        history
        history 100
    """
    lines = session.typed_lines[-count:]
    first = len(session.typed_lines) - len(lines) + 1
    text = "\n".join(f"{number:5}  {line}" for number, line in enumerate(lines, first))
    return Result([Lines(text)] if lines else [], {"lines": lines}, [] if lines else ["nothing was typed yet"])


@command(running="yes")
def pipe(session: Session, line: Piped) -> Result:
    """Send what a command shows to a program: pipe COMMAND | PROGRAM.

    The first bar with a space on each side separates the two.

    Example:
        pipe keys | wc -l
    """
    left, bar, program = line.partition(" | ")
    if not bar or not left.strip() or not program.strip():
        raise UsageError("pipe takes a command and a program", "Example: pipe metrics | less -S")
    return _left(program.strip(), session.shell.pipe(left.strip(), program.strip()))


@command(running="yes")
def shell(session: Session, program: Program) -> Result:
    """Run a program, with its arguments, as the system's shell does; it reads from and writes to the terminal itself.

    Example:
        shell ls -l
    """
    del session
    sys.stdout.flush()
    return _left(program, subprocess.run(program, shell=True, check=False).returncode)  # noqa: S602 - as typed


def _left(program: str, status: int) -> Result:
    """Return what is to be told of a program that has ended.

    Raises:
        TdbError: it failed.
    """
    if status != 0:
        raise TdbError(f"{program!r} left with exit status {status}")
    return Result(data={"program": program, "status": status})


@command(running="yes")
def version(session: Session) -> Result:
    """Show the versions of tdb, Python, torch and numpy.

    Example:
        version
    """
    import platform
    from importlib.metadata import version as installed

    from tdb import __version__

    del session
    data = {
        "tdb": __version__,
        "python": platform.python_version(),
        "torch": installed("torch"),
        "numpy": installed("numpy"),
    }
    return Result([Lines("  ".join(f"{name} {number}" for name, number in data.items()))], data)


@command(running="yes")
def apropos(session: Session, pattern: Words) -> Result:
    """List the commands whose help matches a regular expression.

    Example:
        apropos cosine
    """
    wanted = re.compile(pattern, re.IGNORECASE)
    found = [each for each in session.registry if wanted.search(f"{each.name} {each.document}")]
    if not found:
        raise TdbError(f"no command's help matches {pattern!r}", "`help` lists all")
    return Result([_listing(found)], {each.name: each.summary for each in found})


@command("h ?", running="yes")
def help_(session: Session, name: CommandName | None = None) -> Result:
    """List the commands, or explain one.

    Example:
        help
        help step
    """
    if name is None:
        topics: dict[str, list[Command]] = {}
        for each in session.registry:
            topics.setdefault(each.topic, []).append(each)
        parts = [_listing(commands, topic) for topic, commands in topics.items()]
        data = {each.name: each.summary for each in session.registry}
        notes = [HELP_NOTE, OPTIONS_NOTE]
        return Result(parts, data, notes if any(data.values()) else [NO_HELP, *notes])
    known = session.registry.named(name)
    short = f"   Short: {', '.join(known.short)}" if known.short else ""
    data = {"usage": known.usage, "short": " ".join(known.short), "help": known.document}
    said = known.document or NO_HELP
    return Result([Lines(f"{known.usage}{short}\n\n{said}", is_prose=True)], data)


def _listing(commands: list[Command], title: str = "") -> Table:
    """Return the commands with what they do, without a header: what stands there is plain."""
    columns = [", ".join([each.name, *each.short]) for each in commands], [each.summary for each in commands]
    exact = Table(dict(zip(("command", "summary"), columns, strict=True)))
    return Table(dict(zip(("", " "), columns, strict=True)), title=title, exact=exact)
