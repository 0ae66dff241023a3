"""Runs typed lines: finds the command or the Python, runs it, shows the answer or the error. No terminal in here."""

from __future__ import annotations

import io
import subprocess
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tdb.commands.arguments import Options, bind
from tdb.commands.flow import Quit
from tdb.commands.python import part_of
from tdb.errors import StateError, TdbError, UsageError, did_you_mean
from tdb.gate import OVER, RUNNING
from tdb.results import Result, Text
from tdb.shell.parse import Typed, split_line, understand
from tdb.stopping import StopReport

if TYPE_CHECKING:
    from tdb.session import Session
    from tdb.shell.show import Show


DEEPEST_SOURCE = 16


@dataclass(frozen=True)
class Location:
    """Where a line of a script stands."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: "


class ScriptInterruptedError(TdbError):
    """A SIGINT came while a script waited: training is paused, and the script ends whatever it does on errors."""

    exit_status = 130


class Interpreter:
    """The shell without a terminal: lines in, shown answers out."""

    def __init__(self, session: Session, show: Show, log_file: Path) -> None:
        self.session = session
        self.show = show
        self.aliases: dict[str, str] = {}
        self.status = 0  # of the worst failure so far: 1 a command failed, 2 it was not understood
        self._log_file = log_file
        self._repeat = ""
        self._depth = 0
        self._told = self._stop()
        session.shell = self

    @property
    def stop_untold(self) -> bool:
        """Whether training has stopped or ended in the background, and nothing shown so far has said so."""
        return self.session.status != RUNNING and self._stop() != self._told

    def execute(self, line: str, location: Location | None = None) -> bool:
        """Run a line, `;;` and all, and return whether every command in it succeeded; the first failure ends it.

        Raises:
            Quit: the line said so.
        """
        if not line.strip():
            line = self._repeat
        return all(self._one(piece, location) for piece in split_line(line))

    def source(self, path: Path, *, echo: bool = False, go_on: bool = False) -> bool:
        """Run the lines of a file, as `lines` does; return whether all succeeded.

        Raises:
            UsageError: the file cannot be read, or it sources itself without end.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
        if self._depth >= DEEPEST_SOURCE:
            raise UsageError(f"{path} is sourced {DEEPEST_SOURCE} deep", "Does it source itself?")
        self._depth += 1
        try:
            return self.lines(text.splitlines(), str(path), echo=echo, go_on=go_on)
        finally:
            self._depth -= 1

    def run_file(self, path: Path, *, echo: bool = False, go_on: bool = False) -> bool:
        """Run the lines of a file as `source` does; one that cannot be read has failed."""
        try:
            return self.source(path, echo=echo, go_on=go_on)
        except UsageError as error:
            self._fail(Typed(str(path), self.session.registry.find("source")), error, None)
            return False

    def tell_stop(self, report: StopReport) -> None:
        """Show that training has stopped or ended in the background."""
        self._told = self._stop()
        self.show.result(Typed("stop"), report, Options())

    def lines(self, lines: Iterable[str], name: str, *, echo: bool = False, go_on: bool = False) -> bool:
        """Run the lines of a script as they arrive; return whether all succeeded.

        Args:
            lines: an empty one, and one that begins with "#", is nothing.
            name: what the script is called in messages.
            echo: show each line before its answer.
            go_on: a failing line does not end the script.
        """
        succeeded = True
        for number, line in enumerate(lines, 1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            if echo:
                self.show.echo(text)
            succeeded &= self.execute(text, Location(name, number))
            if not (succeeded or go_on):
                break
        return succeeded

    def pipe(self, line: str, program: str) -> int:
        """Run one command, feed what it would have shown to a shell command, and return that one's exit status.

        Raises:
            TdbError: the command failed.
        """
        buffer = io.StringIO()
        typed = understand(line, self.session.registry, self.aliases)
        self.show.into(buffer, typed, *self._answer(typed))
        text = buffer.getvalue()
        return subprocess.run(program, shell=True, input=text, text=True, check=False).returncode  # noqa: S602 - as typed

    def _one(self, text: str, location: Location | None) -> bool:
        typed = Typed(text)
        try:
            typed = understand(text, self.session.registry, self.aliases)
            self._repeat = text if typed.command is not None and typed.command.repeats else ""
            result, options = self._answer(typed)
            self.show.result(typed, result, options)
            return True
        except (Quit, BrokenPipeError):
            raise
        except ScriptInterruptedError as error:
            self._fail(typed, error, location)
            raise Quit(error.exit_status) from None
        except TdbError as error:
            self._fail(typed, error, location)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end the user's training run
            self._fail(typed, self._bug(error), location)
        return False

    def _answer(self, typed: Typed) -> tuple[Result, Options]:
        command = typed.command
        if command is None:
            return self._python(typed), Options()
        if command.running == "no" and self.session.status == RUNNING:
            self.session.need_stopped()
        bound = bind(command.name, command.parameters, typed.arguments, command.way_out)
        self.session.adopt_panels()
        result = command.function(self.session, *bound.positional, **bound.words)
        if isinstance(result, StopReport):
            self._told = self._stop()
        notes = [*result.notes, *self.session.controller.take_notices()]
        return Result(result.parts, result.data, notes), bound.options

    def _python(self, typed: Typed) -> Result:
        try:
            value = self.session.python(typed.text)
        except StateError:
            if typed.forced or not self._looks_unknown(typed.text):
                raise
            raise self._unknown(typed.text) from None
        except TdbError as error:
            if typed.forced or not isinstance(error.__cause__, NameError | SyntaxError):
                raise
            if self._looks_unknown(typed.text):
                raise self._unknown(typed.text) from None
            raise
        notes = self.session.controller.take_notices()
        if value is None:
            return Result(notes=notes, data={"value": None})
        self.session.value = value
        part = part_of(value)
        return Result([part], {"value": value if isinstance(part, Text) else part}, notes)

    def _stop(self) -> tuple[int, bool]:
        """Return what changes with every stop, and with the end."""
        return self.session.controller.gate.stops, self.session.status in OVER

    def _looks_unknown(self, text: str) -> bool:
        word, _, rest = text.partition(" ")
        if not word.replace("-", "_").isidentifier():
            return False
        return not rest or _does_not_compile(text)

    def _unknown(self, text: str) -> UsageError:
        word = text.split(maxsplit=1)[0]
        near = did_you_mean(word, self.session.registry.names())
        return UsageError(f"unknown command {word!r} (nor Python)", near or "`help` lists the commands")

    def _fail(self, typed: Typed, error: TdbError, location: Location | None) -> None:
        self.status = max(self.status, error.exit_status)
        self.show.error(typed, error, str(location) if location is not None else "")

    def _bug(self, error: Exception) -> TdbError:
        text = "".join(traceback.format_exception(error))
        message = f"a bug in tdb: {type(error).__name__}: {error}"
        try:
            self._log_file.parent.mkdir(parents=True, exist_ok=True)
            with self._log_file.open("a", encoding="utf-8") as log:
                log.write(f"{text}\n")
        except OSError:
            return TdbError(message, f"Its traceback:\n{text}")
        return TdbError(message, f"Its traceback is in {self._log_file}")


def _does_not_compile(text: str) -> bool:
    try:
        compile(text, "<tdb>", "exec")
    except (SyntaxError, ValueError):
        return True
    return False
