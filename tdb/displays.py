"""Displays: what is shown at every stop, with the value it had at the one before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tdb.errors import TdbError
from tdb.expressions import Expression, Memory


@dataclass
class Display:
    """One display.

    Attributes:
        number: its number, never used again.
        text: what was typed: a command, an expression, or Python.
        is_command: it is a command.
        expression: it is an expression over the step; if it is none and no command either, it is Python.
        memory: of the expression, if it looks back over steps.
        shown: what was shown last, empty before that.
    """

    number: int
    text: str
    is_command: bool = False
    expression: Expression | None = None
    memory: Memory = field(default_factory=Memory)
    shown: str = ""

    def line(self, value: str) -> str:
        """Return the line for a new value, with its number, and with the old value if it was another."""
        old, self.shown = self.shown, value
        return f"{self.number}: {self.text} = {value}{f'  (was {old})' if old and old != value else ''}"


class Displays:
    """All displays, by number."""

    def __init__(self) -> None:
        self._displays: dict[int, Display] = {}
        self._last = 0

    def __iter__(self) -> Iterator[Display]:
        return iter(list(self._displays.values()))

    def __len__(self) -> int:
        return len(self._displays)

    def add(self, text: str, *, is_command: bool = False, expression: Expression | None = None) -> Display:
        """Add a display; one that is there already stays as it is."""
        for display in self._displays.values():
            if display.text == text:
                return display
        self._last += 1
        display = Display(self._last, text, is_command, expression)
        self._displays[display.number] = display
        return display

    def take_back(self, display: Display) -> None:
        """Be as if the display had not been added, which was the last one."""
        del self._displays[display.number]
        self._last = display.number - 1

    def remove(self, words: list[str]) -> None:
        """Remove displays by number or by text; none of them if one does not exist.

        Raises:
            TdbError: there is no such display.
        """
        gone = [self._find(word) for word in words]
        for display in gone:
            self._displays.pop(display.number, None)

    def clear(self) -> None:
        """Remove all."""
        self._displays.clear()

    def looks_back(self) -> list[tuple[Expression, Memory]]:
        """Return the expressions that have to see every step, with their memories."""
        return [
            (display.expression, display.memory)
            for display in self._displays.values()
            if display.expression is not None and display.expression.needs_history
        ]

    def _find(self, word: str) -> Display:
        for display in self._displays.values():
            if word in (str(display.number), display.text):
                return display
        known = ", ".join(f"{display.number} ({display.text})" for display in self._displays.values())
        raise TdbError(f"no display {word!r}", f"There are {known}" if known else "Nothing is displayed")
