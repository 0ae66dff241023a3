"""The lines of commands that are given to a stop point, as they are typed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tdb.names import command_names
from tdb.results import Result

if TYPE_CHECKING:
    from tdb.session import Session


class CommandLines:
    """Reads the lines of `commands`.

    Args:
        session: whose commands they are.
        number: of the stop point.
        give: takes them when all have been read.

    Attributes:
        done: no further line is wanted.
    """

    prompt = "(com) "
    last_line = "end"
    line_if_abandoned: str | None = None

    def __init__(self, session: Session, number: int, give: Callable[[list[str]], None]) -> None:
        self.done = False
        self._session = session
        self._number = number
        self._give = give
        self._lines: list[str] = []

    def read(self, line: str) -> Result | None:
        """Take a line; `end` is the last."""
        text = line.strip()
        if text == "end":
            return self.end()
        if text and not text.startswith("#"):
            self._lines.append(text)
        return None

    def end(self) -> Result:
        """Give the stop point its commands."""
        self._give(self._lines)
        self.done = True
        return Result(data={"number": self._number, "commands": self._lines})

    def completions(self, line: str) -> list[str]:
        """Return the commands that a line may begin with."""
        return [name for name, _ in command_names(self._session) if name.startswith(line)]

    def abandon(self) -> Result:
        """Leave the commands as they were."""
        self.done = True
        return Result(notes=[f"the commands of {self._number} stay as they were"], data={"number": self._number})
