"""What lasts beyond a session: short names for commands, and a file that sets everything up again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from tdb.commands import command
from tdb.commands.arguments import AliasName, File, Kind, Name
from tdb.errors import TdbError, UsageError, did_you_mean
from tdb.files import written_whole
from tdb.results import Result
from tdb.results import Text as Lines

if TYPE_CHECKING:
    from tdb.session import Session
    from tdb.stops import StopPoint

HEADER = "# Settings, aliases, displays and stop points of a tdb session: `source` this file, or `tdb -x` it."


Meaning = Annotated[str, Kind("COMMANDS", takes_rest=True)]


@command(running="yes")
def alias(session: Session, name: Name | None = None, meaning: Meaning | None = None) -> Result:
    """Let a name stand for commands; without a meaning show it, without a name all of them.

    `%1` to `%9` in the meaning are the words that follow the name, `%*` all of them; without any of these they are
    simply added. The meaning is the rest of the line; `;;` in it separates commands.

    Example:
        alias
        alias worst metrics sort win_rate asc top %1
        alias further step 10 ;; worst 3
        alias worst
    """
    aliases = session.aliases
    if name is not None and meaning is not None:
        if not re.fullmatch(r"[A-Za-z_][\w-]*", name):
            raise UsageError(f"{name!r} cannot be a name", "Example: alias worst metrics sort win_rate asc top 5")
        aliases[name] = meaning
    elif name is not None and name not in aliases:
        raise TdbError(f"no alias {name!r}", did_you_mean(name, aliases) or "`alias` lists them")
    shown = dict(aliases) if name is None else {name: aliases[name]}
    text = "\n".join(f"{each} = {what}" for each, what in shown.items())
    return Result([Lines(text)] if text else [], {"aliases": shown}, [] if text else ["no aliases"])


@command(running="yes")
def unalias(session: Session, name: AliasName) -> Result:
    """Forget an alias.

    Example:
        unalias worst
    """
    if name not in session.aliases:
        raise TdbError(f"no alias {name!r}", did_you_mean(name, session.aliases) or "`alias` lists them")
    del session.aliases[name]
    return Result(data={"aliases": dict(session.aliases)})


@command(running="yes")
def save(session: Session, path: File) -> Result:
    """Write changed settings, aliases, watches, displays and stop points to a file that `source` sets up again.

    Example:
        save look.tdb
    """
    lines = saved_lines(session)
    said = written_whole(path, "\n".join([HEADER, *lines]) + "\n")
    return Result([Lines(f"wrote {said}")], {"file": str(path), "lines": lines})


def saved_lines(session: Session) -> list[str]:
    """Return the commands that set up what this session has set up."""
    lines = [f"set {name} {value}" for name, value in session.settings.changed().items()]
    lines += [f"alias {name} {meaning}" for name, meaning in session.aliases.items()]
    watched = session.controller.recorder.watched()
    lines += [f"watch {' '.join(map(str, watched))}"] if watched else []
    lines += [f"display {display.text}" for display in session.displays]
    for point in session.armed.points:
        lines += _saved_point(point)
    return lines


def _saved_point(point: StopPoint) -> list[str]:
    if point.stop.kind == "catch":
        lines = [f"catch {point.stop.what}"]
        lines += [f"condition $_bpnum {point.condition.text}"] if point.condition is not None else []
    else:
        lines = [f"{'tbreak' if point.temporary else 'break'} {point.text}"]
    lines += [f"ignore $_bpnum {point.ignored}"] if point.ignored else []
    lines += ["commands $_bpnum", *point.commands, "end"] if point.commands else []
    lines += [] if point.enabled else ["disable $_bpnum"]
    return lines
