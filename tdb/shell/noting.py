"""Enters what is run into the session's journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdb.journal import Entry, standing

if TYPE_CHECKING:
    from tdb.journal import Standing
    from tdb.session import Session


class Noting:
    """The line under way, until it is an entry of the journal.

    Attributes:
        error: what is wrong with it, empty if nothing is.
        changes: it may change training itself.
    """

    def __init__(self, session: Session) -> None:
        self.error = ""
        self.changes = False
        self._session = session
        self._text = ""
        self._lines: list[str] = []  # read by the command under way
        self._before = self._after = standing(session)
        self._was_elsewhere = False

    def begin(self, text: str) -> None:
        """A line is about to be run."""
        self._text, self.error, self.changes = text, "", False
        self._before = standing(self._session)
        self._was_elsewhere = self._session.elsewhere is not None

    def end(self, *, reads: bool) -> None:
        """It has been run; one whose command reads further lines is entered together with them."""
        self._lines = [self._text] if reads else []
        if not reads:
            self._add(self._text, self._before)

    def stopped(self) -> None:
        """Training has stopped in the background."""
        self.error, self.changes = "", False
        self._add("", self._after)

    def read(self, line: str) -> None:
        """A command has read a line."""
        self._lines.append(line)

    def all_read(self, last_line: str | None) -> None:
        """It has read all; `last_line` ends its lines in the journal, None keeps them out of it."""
        lines, self._lines = self._lines, []
        for line in [] if last_line is None else [*lines, *([last_line] if last_line else [])]:
            self._add(line, standing(self._session))

    def _add(self, text: str, before: Standing) -> None:
        self._after = standing(self._session)
        is_elsewhere = self._was_elsewhere or self._session.elsewhere is not None
        self._session.journal.add(Entry(text, before, self._after, self.error, self.changes, is_elsewhere))
