"""Runs a recorded session again, and says whether it came out the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tdb.commands.binding import Options
from tdb.counted import counted
from tdb.journal import standing
from tdb.origin import versions
from tdb.recording import Recording, parse_check
from tdb.results import Result, Text
from tdb.shell.interpreter import Location
from tdb.typed import Typed

if TYPE_CHECKING:
    from tdb.shell.interpreter import Interpreter

SAME, DIFFERENT = 0, 1


def replayed(interpreter: Interpreter, recording: Recording) -> int:
    """Run the commands and make the checks of a recording; return 0 if all came out the same, else 1.

    A difference of numbers is told and the replay goes on; a command that fails, and did not, ends it.
    """
    for text in _other_versions(recording):
        interpreter.show.notice(text)
    differences: list[dict[str, Any]] = []
    checks = 0
    for number, kind, text in recording.lines:
        if kind == "command":
            if not text.strip() and not interpreter.reads:
                continue
            interpreter.show.echo(interpreter.prompt, text)
            if interpreter.execute(text, Location(recording.name, number)):
                continue
            step = interpreter.session.controller.position.step
            differences.append({"line": number, "step": step, "what": f"this failed: {text}"})
            break
        checks += 1
        stood = standing(interpreter.session)
        for what in parse_check(text).differences(stood):
            differences.append({"line": number, "step": stood.step, "what": what})
            interpreter.show.notice(f"{recording.name}:{number}: different at step {stood.step}: {what}")
    interpreter.end_reader()
    return _told(interpreter, checks, differences)


def _told(interpreter: Interpreter, checks: int, differences: list[dict[str, Any]]) -> int:
    """Say how it came out, and return the exit status."""
    stood = standing(interpreter.session)
    data = {"same": not differences, "checks": checks, "steps": stood.tick, "differences": differences}
    if differences:
        first = differences[0]
        text = f"different: line {first['line']}, step {first['step']}: {first['what']}"
        if len(differences) > 1:
            text += f"; {len(differences)} differences in all"
    elif checks:
        text = f"the same: {counted(checks, 'check')} over {counted(stood.tick, 'step')}"
    else:
        text = "nothing to compare: the recording has no line with #="
    interpreter.show.result(Typed("replay", event="replay"), Result([Text(text)], data), Options())
    return DIFFERENT if differences else SAME


def _other_versions(recording: Recording) -> Iterator[str]:
    """Say what is not as it was when the session was recorded."""
    here = versions()
    for name, version in recording.origin.versions.items():
        if here.get(name) != version:
            yield f"recorded with {name} {version}, here it is {here.get(name, 'missing')}: numbers may differ"
