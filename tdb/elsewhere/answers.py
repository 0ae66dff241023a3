"""Where another process's answers go: to whoever shows them, or to a program."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from tdb.commands.binding import Options
from tdb.errors import TdbError
from tdb.results import Result
from tdb.typed import Typed


class Shown(Protocol):
    """Where the other process's answers go."""

    def result(self, typed: Typed, result: Result, options: Options) -> None:
        """Show an answer."""

    def failed(self, typed: Typed, error: TdbError, location: str) -> None:
        """Show what was wrong."""

    def other(self, kind: str, text: str) -> None:
        """Show a line: a "notice" or a "line"."""


class Collected:
    """Answers for a program."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.file: Path | None = None
        self.error: TdbError | None = None

    def result(self, typed: Typed, result: Result, options: Options) -> None:
        """Keep an answer, and which file it is for."""
        del typed
        self.results.append(result)
        self.file = options.output

    def failed(self, typed: Typed, error: TdbError, location: str) -> None:
        """Keep what was wrong."""
        del typed, location
        self.error = error

    def other(self, kind: str, text: str) -> None:
        """A program reads no lines."""

    def answer(self) -> Result:
        """Return the answer, or raise what was wrong."""
        if self.error is not None:
            raise self.error
        return self.results[-1] if self.results else Result()
