"""One command as it was typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tdb.commands import Command


@dataclass(frozen=True)
class Typed:
    """One command as typed: a command with its arguments, or Python; or, with `event`, something that was not typed."""

    text: str
    command: Command | None = None
    arguments: str = ""
    forced: bool = False  # a leading "!" said that it is Python
    event: str = ""

    @property
    def name(self) -> str:
        """What answers and figures are called."""
        return self.command.name if self.command is not None else self.event or "python"
