"""Runs typed lines: finds the command or the Python, runs it, shows the answer or the error. No terminal in here."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tdb.commands.binding import Options, bind
from tdb.commands.flow import Quit
from tdb.errors import TdbError, UsageError
from tdb.files import text_in
from tdb.results import Result
from tdb.shell.at_stop import AtStop
from tdb.shell.bugs import logged, was_interrupted
from tdb.shell.noting import Noting
from tdb.shell.parse import as_written, expanded, understand
from tdb.shell.typed_python import answer_python
from tdb.shell.writing import SUFFIXES, SUFFIXES_OF_WORDS, must_be_possible
from tdb.standing import RUNNING
from tdb.stopping import StopReport, stop_report
from tdb.tokens import lines_of
from tdb.travel.captured import answered
from tdb.typed import Typed

if TYPE_CHECKING:
    from tdb.displays import Display
    from tdb.front import Reader
    from tdb.session import Session
    from tdb.shell.show import Show


DEEPEST_SOURCE = 16
PROMPT = "(tdb) "
AT_FRONT = frozenset(
    {"alias", "apropos", "help", "history", "quit", "record", "shell", "source", "unalias", "version"},
)
"""What is answered here when training goes on in another process: it concerns the lines, and not training."""


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
        self.status = 0  # of the worst failure so far: 1 a command failed, 2 it was not understood
        self.log_file = log_file
        self._repeat = ""
        self._depth = 0
        self._reader: Reader | None = None
        self._reading: Typed | None = None  # the command whose reader it is
        self._noting = Noting(session)
        self._at_stop = AtStop(session, lambda text: self._answer(understand(text, session.registry))[0])
        session.shell = self

    @property
    def stop_untold(self) -> bool:
        """Whether training has stopped or ended in the background, and nothing shown so far has said so."""
        elsewhere = self.session.elsewhere
        return self._at_stop.is_untold if elsewhere is None else elsewhere.stop_untold

    def execute(self, line: str, location: Location | None = None) -> bool:
        """Run a line, `;;` and all, and return whether every command in it succeeded; the first failure ends it.

        Raises:
            Quit: the line said so.
        """
        line = as_written(line)
        if self.reads:
            return self._read(line, location)
        if not line.strip():
            line = self._repeat
        return all(self.run_piece(piece, location) for piece in expanded(line, self.session.aliases))

    @property
    def prompt(self) -> str:
        """What a person is asked for the next line with."""
        return self.reading[0] if self.reading is not None else PROMPT

    @property
    def reads(self) -> bool:
        """Whether the lines that follow are another command's to read."""
        return self.reading is not None

    @property
    def reading(self) -> tuple[str, str, str | None] | None:
        """What reads the lines that follow: its prompt, what ends its lines, and what does if they are abandoned."""
        reader = self._reader
        if self.session.elsewhere is not None:
            return self.session.elsewhere.reading
        return (reader.prompt, reader.last_line, reader.line_if_abandoned) if reader is not None else None

    def take_lines(self, reader: Reader) -> None:
        """Give the lines that follow to `reader`, until it has had enough."""
        self._reader = reader

    def end_reader(self) -> bool:
        """Tell the reader that input has ended; return whether there is one."""
        if self._reader is None:
            return self._end_elsewhere("end", 1)
        last_line = self._reader.last_line
        try:
            answer = self._reader.end()
        except TdbError as error:
            self._fail(self._reading or Typed(""), error, None)
            answer = None
        self._heard(answer, last_line)
        return True

    def abandon(self) -> None:
        """The user has thought better of what was being read."""
        if self._reader is not None:
            self._heard(self._reader.abandon(), self._reader.line_if_abandoned)
        self._end_elsewhere("abandon", 2)

    def completions(self, line: str) -> Iterable[str] | None:
        """Return what the reader offers for the last word of a line; None if there is no reader."""
        return self._reader.completions(line) if self._reader is not None else None

    @property
    def answers_json(self) -> bool:
        """Whether a program reads the answers."""
        return self.show.json

    def source(self, path: Path, *, echo: bool = False, go_on: bool = False) -> bool:
        """Run the lines of a file, as `lines` does; return whether all succeeded.

        Raises:
            UsageError: the file cannot be read, is a Python script, or sources itself without end.
        """
        text = text_in(path)
        if path.suffix == ".py":
            raise UsageError(f"{path} is a Python script, and no file of commands", f"`tdb {path}` runs it under tdb")
        if self._depth >= DEEPEST_SOURCE:
            raise UsageError(f"{path} is sourced {DEEPEST_SOURCE} deep", "Does it source itself?")
        self._depth += 1
        try:
            return self.lines(lines_of(text), str(path), echo=echo, go_on=go_on)
        finally:
            self._depth -= 1

    def run_file(self, path: Path, *, echo: bool = False, go_on: bool = False) -> bool:
        """Run the lines of a file as `source` does; one that cannot be read has failed."""
        try:
            return self.source(path, echo=echo, go_on=go_on)
        except UsageError as error:
            self._fail(Typed(str(path), self.session.registry.find("source")), error, None)
            return False

    def tell_stop(self) -> None:
        """Show that training has stopped or ended in the background."""
        if self.session.elsewhere is not None:
            self.session.elsewhere.show_stop(self)
            self._noting.stopped()
            return
        self._noting.stopped()
        self.show.result(Typed("stop"), self.told(stop_report(self.session)), Options())
        self._run_due(None, background=True)

    def told(self, report: StopReport) -> Result:
        """Return what is said of a stop, which has been told with that."""
        return self._at_stop.told(report)

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
            text = line.rstrip() if self.reads else line.strip()  # Python's own lines are indented
            if not self.reads and (not text or text.startswith("#")):
                continue
            if echo:
                self.show.echo(self.prompt, text)
            succeeded &= self.execute(text, Location(name, number))
            if not (succeeded or go_on):
                break
        status = self.status
        while self.end_reader():
            pass
        return succeeded and self.status == status

    def pipe(self, line: str, program: str) -> int:
        """Run one command, feed what it would have shown to a shell command, and return that one's exit status.

        Raises:
            TdbError: the command failed.
        """
        buffer = io.StringIO()
        pieces = expanded(line, self.session.aliases)
        if len(pieces) != 1:
            raise UsageError(f"pipe takes one command, not {line!r}", "Example: pipe metrics | less -S")
        typed = understand(pieces[0], self.session.registry)
        self.show.into(buffer, typed, *self._answer(typed))
        text = buffer.getvalue()
        return subprocess.run(program, shell=True, input=text, text=True, check=False).returncode  # noqa: S602 - as typed

    def displayed(self) -> Result:
        """Return what all displays show now."""
        return self._at_stop.displayed()

    def displayed_one(self, display: Display) -> Result:
        """Return what a display shows now."""
        return self._at_stop.displayed_one(display)

    def run_piece(self, text: str, location: Location | None) -> bool:
        """Run a command, or let the reader have it, and then what the stop points want run at which it stopped."""
        if self.reads:
            return self._read(text, location)
        self._noting.begin(text)
        try:
            succeeded = self._one(text, location)
        finally:
            self._noting.end(reads=self.reads)
        return succeeded and self._run_due(location)

    def _run_due(self, location: Location | None, *, background: bool = False) -> bool:
        """Run the lines of stop points; one that lets training go on is the last of its stop, as in pdb."""
        while due := self._at_stop.due:
            text = due.popleft()
            word = text.split()[0]
            command = self.session.registry.find(word)
            if background and command is not None and command.name == "continue" and text == word:
                text = f"{text} &"
            if not self._one(text, location):
                due.clear()
                return False
            if self.session.status == RUNNING:
                due.clear()
        return True

    def _read(self, line: str, location: Location | None) -> bool:
        self._noting.read(line)
        if self._reader is None:
            return self._elsewhere("read", line, location)
        try:
            answer = self._reader.read(line)
        except TdbError as error:
            self._fail(self._reading or Typed(line), error, location)
            return False
        self._heard(answer, "")
        return self._run_due(location)

    def _heard(self, answer: Result | None, last_line: str | None) -> None:
        """Show what the reader has answered, and let it go if it has had enough."""
        typed = self._reading or Typed("")
        if self._reader is not None and self._reader.done:
            self._reader = self._reading = None
            self._noting.all_read(last_line)
        if isinstance(answer, StopReport):
            answer = self._at_stop.told(answer)
        if answer is not None:
            self.show.result(typed, answer, Options())

    def _one(self, text: str, location: Location | None) -> bool:
        typed = Typed(text)
        try:
            typed = understand(text, self.session.registry)
            self._noting.changes = typed.command is None or typed.command.changes
            self._repeat = text if typed.command is not None and typed.command.repeats else ""
            if self.session.elsewhere is not None and (typed.command is None or typed.command.name not in AT_FRONT):
                return self._elsewhere("run", text, location)
            result, options = self._answer(typed)
            if self._reader is None or result.parts:
                self.show.result(typed, result, options)
            if self._reader is not None:
                self._reading = typed  # it has answered when its lines have been read
            return True
        except (Quit, BrokenPipeError):
            raise
        except ScriptInterruptedError as error:
            self._fail(typed, error, location)
            raise Quit(error.exit_status) from None
        except TdbError as error:
            self._fail(typed, error, location)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end the user's training run
            if was_interrupted(error):
                raise KeyboardInterrupt from None
            self._fail(typed, logged(error, self.log_file), location)
        return False

    def _answer(self, typed: Typed) -> tuple[Result, Options]:
        command = typed.command
        if command is None:
            return answer_python(self.session, typed), Options()
        if command.running == "no":
            self.session.need_not_running()
        bound = bind(command.name, command.parameters, typed.arguments, command.examples)
        if bound.options.output is not None:
            # The command that a display shows at the stop may answer with tables and pictures.
            in_words = command.moves and not any(display.is_command for display in self.session.displays)
            must_be_possible(bound.options.output, SUFFIXES_OF_WORDS if in_words else SUFFIXES)
        self.session.adopt_panels()
        self.session.typed = typed.text
        result = answered(self.session, lambda: command.function(self.session, *bound.positional, **bound.words))
        if isinstance(result, StopReport):
            result = self._at_stop.told(result)
        notes = [*result.notes, *self.session.take_notices()]
        return replace(result, notes=notes), bound.options

    def _elsewhere(self, kind: str, line: str, location: Location | None) -> bool:
        """Let the process in which training goes on run or read a line."""
        link, was_reading = self.session.elsewhere, self.reading
        assert link is not None
        succeeded = link.run(self, kind, line, location)
        if was_reading is not None and not self.reads:
            self._noting.all_read("")
        return succeeded

    def _end_elsewhere(self, kind: str, ending: int) -> bool:
        """No more lines will come for what reads there; return whether there is anything."""
        link, reading = self.session.elsewhere, self.reading
        if link is None or reading is None:
            return False
        link.run(self, kind)
        self._noting.all_read(reading[ending])
        return True

    def result(self, typed: Typed, result: Result, options: Options) -> None:
        """Show an answer that came from elsewhere."""
        try:
            self.show.result(typed, result, options)
        except TdbError as error:
            self.failed(typed, error, "")

    def failed(self, typed: Typed, error: TdbError, location: str) -> None:
        """Show what was wrong elsewhere."""
        self.status = max(self.status, error.exit_status)
        self._noting.error = str(error)
        self.show.error(typed, error, location)

    def other(self, kind: str, text: str) -> None:
        """Show a line that came from elsewhere: a notice, or a line as it is."""
        (self.show.notice if kind == "notice" else self.show.line)(text)

    def _fail(self, typed: Typed, error: TdbError, location: Location | None) -> None:
        self.failed(typed, error, str(location) if location is not None else "")
