"""Shows answers and errors: on a terminal, as plain text, or as JSON. All that tdb prints passes through here."""

from __future__ import annotations

import copy
import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EBADF
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console

from tdb.errors import TdbError
from tdb.results import Part, Result, Table, Traceback
from tdb.serialise import dumps
from tdb.shell.line_ends import begin_line
from tdb.shell.live import TerminalFront
from tdb.shell.pager import UserPager, pager_is_there
from tdb.shell.writing import Textual, data_of, write
from tdb.step import BOUNDARY
from tdb.stopping import moment
from tdb.views import plain_text, renderable
from tdb.views.number import takes_only_ascii

if TYPE_CHECKING:
    from tdb.commands.binding import Options
    from tdb.session import Session
    from tdb.shell.figures import FigureSink
    from tdb.typed import Typed


class OutputLostError(BrokenPipeError):
    """Answers cannot be written any more: what they go to is full, or is gone."""


@contextmanager
def _written(out: TextIO) -> Iterator[None]:
    """Tell answers that cannot be written from files that cannot."""
    if out.closed:
        raise OutputLostError(EBADF, "the script has closed stdout")
    try:
        begin_line(out)
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputLostError(error.errno, error.strerror) from None


@dataclass
class Show:
    """Where answers go.

    Attributes:
        session: whose state the JSON answers carry.
        sink: where figures go.
        out: for answers; in JSON, one object a command and nothing else.
        errors: for errors, and for notices where `out` is no terminal.
        json: answer in JSON.
        terminal: `out` is a terminal with a person before it.
    """

    session: Session
    sink: FigureSink
    out: TextIO
    errors: TextIO
    json: bool = False
    terminal: bool = False

    def __post_init__(self) -> None:
        self._console = Console(file=self.out, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._error_console = Console(file=self.errors, highlight=False, markup=False, emoji=False, soft_wrap=True)

        self.session.settings.on_change(self._setting_changed)
        self.sink.moment = lambda: moment(self.session)

    def _setting_changed(self, name: str, value: Any) -> None:
        if name == "figures":
            self.sink.mode = value

    @property
    def ascii_only(self) -> bool:
        """Whether the output's encoding can do no more than ASCII."""
        return takes_only_ascii(self.out.encoding)

    @property
    def _width(self) -> int:
        """The columns of the terminal; rich takes every dumb one to have 80."""
        try:
            return os.get_terminal_size(self.out.fileno()).columns or self._console.width
        except OSError:
            return self._console.width

    def result(self, typed: Typed, result: Result, options: Options) -> None:
        """Show the answer to a command.

        Raises:
            UsageError: `-o FILE` names a kind of file that this answer cannot be.
        """
        notes = list(result.notes)
        file = options.output or result.file
        if file is not None:
            notes += [f"wrote {write(result, file, self.sink)}"]
            result = Result((), result.data, ())
        if self.json or options.json:
            self._json(typed, {"ok": True, "data": data_of(result), **({"notes": notes} if notes else {})})
            return
        self._parts(result.parts, typed, options)
        for note in notes:
            self.notice(note)

    def error(self, typed: Typed, error: TdbError, location: str = "") -> None:
        """Show what was wrong, and the way out."""
        if self.json:
            answer = {"code": error.code, "message": error.message, "hint": error.hint}
            self._json(typed, {"ok": False, "error": answer})
        before = f"{location}*** "
        # A caret in a second line has to stand under its place in the first.
        text = before + str(error).replace("\n", f"\n{' ' * len(before)}")
        begin_line(self.errors)
        self._error_console.print(_fitting(text, self._width) if self.terminal else text, style="red")

    def notice(self, text: str) -> None:
        """Show a line that is no answer: on stderr unless a person reads the output."""
        if self.terminal:
            self._console.print(_fitting(text, self._width), style="dim")
        else:
            begin_line(self.errors)
            print(text, file=self.errors, flush=True)  # a notebook shows both streams, in the order of their flushes

    def line(self, text: str) -> None:
        """Show a line as it is."""
        with _written(self.out):
            print(text, file=self.out, flush=True)

    def echo(self, prompt: str, line: str) -> None:
        """Show a script's line before its answer."""
        if not self.json:
            self.line(f"{prompt}{line}")

    def into(self, buffer: TextIO, typed: Typed, result: Result, options: Options) -> None:
        """Show an answer as plain text in `buffer`."""
        other = copy.copy(self)
        other.out, other.terminal = buffer, False
        other.result(typed, result, options)

    def _parts(self, parts: Sequence[Part], typed: Typed, options: Options) -> None:
        text = [part for part in parts if isinstance(part, Textual)]
        pictures = [part for part in parts if not isinstance(part, Textual)]
        if options.pattern:
            self._matching(text, options.pattern)
        elif self._needs_pager(text, options):
            self._paged(text)
        else:
            self._text(text)
        for picture in pictures:
            for line in self.sink.show(picture, typed.name):
                self.line(line)

    def _paged(self, parts: Sequence[Textual]) -> None:
        pager = UserPager()
        with self._console.pager(pager, styles=self._console.color_system is not None):
            self._text(parts)
        if pager.failed:
            self._text(parts)

    def _text(self, parts: Sequence[Textual]) -> None:
        with _written(self.out):
            for part in parts:
                if self.terminal:
                    self._console.print(renderable(part, width=self._width, ascii_only=self.ascii_only), end="")
                elif isinstance(part, Traceback):
                    self.out.flush()
                    self.notice(part.text)
                else:
                    self.out.write(plain_text(part, ascii_only=self.ascii_only))
            self.out.flush()

    def _matching(self, parts: Sequence[Textual], pattern: str) -> None:
        wanted = re.compile(pattern)
        for part in parts:
            for line in plain_text(part, ascii_only=self.ascii_only).splitlines():
                if wanted.search(line):
                    self.line(line)

    def _needs_pager(self, parts: Sequence[Textual], options: Options) -> bool:
        rows = sum(len(part) for part in parts if isinstance(part, Table))
        is_typed_at = isinstance(self.session.front, TerminalFront)  # by whoever would turn the pages
        wanted = self.terminal and is_typed_at and options.pager and self.session.settings["pager"]
        return wanted and rows > max(0, self._console.height - 6) and pager_is_there()

    def _json(self, typed: Typed, answer: dict[str, Any]) -> None:
        state = self.session.state()
        shown = {key: state[key] for key in ("status", "step", "epoch")}
        shown |= {} if state["phase"] == BOUNDARY else {"phase": state["phase"]}
        self.line(dumps({"v": 1, "cmd": typed.name, "ok": answer["ok"], "state": shown, **answer}))


def _fitting(text: str, width: int) -> str:
    """Return a message in lines of at most `width` columns, broken between words; a caret stays under its place."""
    line, _, caret = text.partition("\n")
    if not caret.lstrip().startswith("^"):
        return "\n".join(wrapped for each in text.splitlines() for wrapped in _between_words(each, width))
    row, column = divmod(len(caret) - len(caret.lstrip()), width)
    rows = [line[start : start + width] for start in range(0, len(line), width)]
    return "\n".join([*rows[: row + 1], *_between_words(" " * column + caret.lstrip(), width), *rows[row + 1 :]])


def _between_words(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
