"""What is said and run when training has stopped: displays, and the commands of stop points."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tdb.commands.displays import value_of
from tdb.errors import TdbError
from tdb.results import Part, Result, Text
from tdb.shell.parse import expanded
from tdb.standing import OVER, STOPPED

if TYPE_CHECKING:
    from tdb.displays import Display
    from tdb.session import Session
    from tdb.stopping import StopReport


class AtStop:
    """Says every stop once.

    Attributes:
        due: lines that the stop points at which training stands want run.
    """

    def __init__(self, session: Session, answer: Callable[[str], Result]) -> None:
        self.due: deque[str] = deque()
        self._session = session
        self._answer = answer
        self._told = self._stop()

    @property
    def is_untold(self) -> bool:
        """Whether training has stopped or ended, and nothing shown so far has said so."""
        return self._session.status in (STOPPED, *OVER) and self._stop() != self._told

    def told(self, report: StopReport) -> Result:
        """Return what is said of a stop: with the displays, or nothing if a stop point is silent; note its commands."""
        told, self._told = self._told, self._stop()
        if told == self._told or self._session.elsewhere is not None:  # what is displayed here is of what was left
            return report
        lines = [line for hit in self._session.hits() for line in hit.commands]
        self.due = deque(piece for line in lines if line != "silent" for piece in expanded(line, self._session.aliases))
        if "silent" in lines:
            return Result((), report.data, report.notes)
        shown = self.displayed()
        data = {**(report.data or {}), **({"displays": shown.data} if shown.data else {})}
        return Result([*report.parts, *shown.parts], data, [*report.notes, *shown.notes])

    def displayed(self) -> Result:
        """Return what the displays show now."""
        parts: list[Part] = []
        data: dict[str, Any] = {}
        notes: list[str] = []
        for display in self._session.displays:
            try:
                answer = self.displayed_one(display)
            except TdbError as error:
                notes.append(f"display {display.text}: {error}")
                continue
            parts += answer.parts
            notes += answer.notes
            data[display.text] = answer.data
        return Result(parts, data, notes)

    def displayed_one(self, display: Display) -> Result:
        """Return what a display shows now."""
        if not display.is_command:
            return value_of(self._session, display)
        result = self._answer(display.text)
        return Result([Text(f"{display.number}: {display.text}"), *result.parts], result.data, result.notes)

    def _stop(self) -> tuple[int, int | None]:
        """Return what changes with every stop, and with the end of each loop that has taken steps."""
        controller = self._session.controller
        return controller.gate.stops, controller.position.tick if self._session.status in OVER else None
