"""What stands before a session and around it: a terminal, a script or a program, and whoever reads lines."""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING, Protocol

from tdb.gate import RUNNING

if TYPE_CHECKING:
    from pathlib import Path

    from tdb.displays import Display
    from tdb.results import Result
    from tdb.session import Session

POLL_SECONDS = 0.05


class Front(Protocol):
    """What stands before the session: a terminal, a script, a program."""

    def wait(self, session: Session, goal: int | None, seconds: float = inf) -> None:
        """Block until training does not run, or so long; `goal` is the step at which it is to stop, if known."""

    def confirm(self, question: str) -> bool:
        """Ask; a front without anybody to ask says yes."""


class Lines(Protocol):
    """What runs lines: the shell, for the commands that run other commands."""

    def source(self, path: Path) -> bool:
        """Run the lines of a file; return whether all succeeded."""

    def pipe(self, line: str, program: str) -> int:
        """Feed what a command shows to a program; return its exit status."""

    def displayed(self) -> Result:
        """Return what all displays show now."""

    def displayed_one(self, display: Display) -> Result:
        """Return what a display shows now."""

    def take_lines(self, reader: Reader) -> None:
        """Give the lines that follow to `reader`, until it has had enough."""


class Reader(Protocol):
    """What reads lines in the shell's place: `commands` and `interact`.

    Attributes:
        last_line: what ends its lines in a file of commands.
        line_if_abandoned: what ends them if the user thinks better of it; None if they are then as if never typed.
    """

    last_line: str
    line_if_abandoned: str | None

    @property
    def prompt(self) -> str:
        """What a person is asked for the next line with."""

    def read(self, line: str) -> Result | None:
        """Take a line; return an answer to show, if there is one."""

    @property
    def done(self) -> bool:
        """Whether it has had enough."""

    def end(self) -> Result | None:
        """No more lines will come."""

    def abandon(self) -> Result | None:
        """The user has thought better of it."""


class PlainFront:
    """A front without a terminal: it waits, and never asks."""

    def wait(self, session: Session, goal: int | None, seconds: float = inf) -> None:
        """Block until training does not run, or so long."""
        del goal
        deadline = time.monotonic() + seconds
        while session.controller.wait(min(POLL_SECONDS, seconds)) == RUNNING and time.monotonic() < deadline:
            session.main_thread.attend()

    def confirm(self, question: str) -> bool:
        """Say yes."""
        del question
        return True
