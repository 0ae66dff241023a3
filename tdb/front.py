"""What stands before a session and around it: a terminal, a script or a program, and whoever reads lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from math import inf
from typing import TYPE_CHECKING, Protocol

from tdb.standing import RUNNING

if TYPE_CHECKING:
    from pathlib import Path

    from tdb.displays import Display
    from tdb.results import Result
    from tdb.session import Session

# Each look at what has happened takes the interpreter from the training thread for a tenth of a millisecond or two.
POLL_SECONDS, LONGEST_POLL_SECONDS, QUIET_POLLS = 0.05, 0.2, 20
ANSWER_SECONDS = 0.005  # a person who types does not feel it


class Front(Protocol):
    """What stands before the session: a terminal, a script, a program.

    Attributes:
        captures: what training prints has to come through here, also if it goes on in another process.
    """

    captures: bool

    def wait(
        self, session: Session, goal: int | None, seconds: float = inf, *, meanwhile: Meanwhile | None = None
    ) -> None:
        """Block until training does not run, or so long, or until what is done meanwhile is answered.

        Args:
            session: whose training.
            goal: the step at which it is to stop, if known.
            seconds: wait no longer.
            meanwhile: what else may end the waiting, and what Ctrl-C does then instead of asking for a stop.
        """

    def confirm(self, question: str) -> bool:
        """Ask; a front without anybody to ask says yes."""

    def printed(self, text: str) -> None:
        """Take what training has printed in another process."""

    def divert(self, send: Callable[[str], object]) -> None:
        """Let `send` have what training prints here from now on, where it was captured."""


class Meanwhile(Protocol):
    """What goes on in the step under way, and is waited for."""

    @property
    def is_answered(self) -> bool:
        """Whether there is nothing to wait for any more."""

    def interrupt(self) -> str:
        """The user pressed Ctrl-C; return what to say of that."""


class Lines(Protocol):
    """What runs lines: the shell, for the commands that run other commands.

    Attributes:
        log_file: where the traceback of a mistake of tdb's own goes.
    """

    log_file: Path

    @property
    def stop_untold(self) -> bool:
        """Whether training has stopped or ended in the background, and nothing shown so far has said so."""

    def source(self, path: Path) -> bool:
        """Run the lines of a file; return whether all succeeded."""

    def pipe(self, line: str, program: str) -> int:
        """Feed what a command shows to a program; return its exit status."""

    def displayed(self) -> Result:
        """Return what all displays show now."""

    def completions(self, line: str) -> Iterable[str] | None:
        """Return what a reader offers for the last word of a line; None if there is no reader."""

    @property
    def answers_json(self) -> bool:
        """Whether a program reads the answers."""

    def displayed_one(self, display: Display) -> Result:
        """Return what a display shows now."""

    def take_lines(self, reader: Reader) -> None:
        """Give the lines that follow to `reader`, until it has had enough."""


class Reader(Protocol):
    """What reads lines in the shell's place: `commands`, `interact` and `pystep`.

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
        """Input has ended: Ctrl-D at a terminal, or the last line of a script; what still asks is told again."""

    def abandon(self) -> Result | None:
        """The user pressed Ctrl-C; `done` says whether that was enough."""

    def completions(self, line: str) -> Iterable[str]:
        """Return what the last word of a line may become."""


def still_running(session: Session, seconds: float = inf, meanwhile: Meanwhile | None = None) -> Iterator[None]:
    """Give a chance to do something while training runs, every few hundredths of a second, and later more rarely."""
    deadline = time.monotonic() + seconds
    for pause in pauses(session, meanwhile):
        if session.controller.wait(min(pause, seconds)) != RUNNING or time.monotonic() >= deadline:
            return
        if meanwhile is not None and meanwhile.is_answered:
            return
        yield


def pauses(session: Session, meanwhile: Meanwhile | None) -> Iterator[float]:
    """Give how many seconds to wait until the next look at what has happened: more while nobody wants anything."""
    began = time.monotonic()
    while meanwhile is not None:
        yield ANSWER_SECONDS
    while True:
        quiet = time.monotonic() - max(began, session.main_thread.served_at)
        yield min(max(POLL_SECONDS, quiet / QUIET_POLLS), LONGEST_POLL_SECONDS)


class PlainFront:
    """A front without a terminal: it waits, and never asks."""

    captures = False

    def wait(
        self, session: Session, goal: int | None, seconds: float = inf, *, meanwhile: Meanwhile | None = None
    ) -> None:
        """Block until training does not run, or so long, or until what is done meanwhile is answered."""
        del goal
        for _ in still_running(session, seconds, meanwhile):
            session.main_thread.attend()

    def confirm(self, question: str) -> bool:
        """Say yes."""
        del question
        return True

    def printed(self, text: str) -> None:
        """Print it."""
        sys.stdout.write(text)

    def divert(self, send: Callable[[str], object]) -> None:
        """Nothing is captured."""
