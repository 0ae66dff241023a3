"""Metrics that somebody has looked at, at steps of which no others are recorded: kept together until they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tdb.history import History
    from tdb.results import Array
    from tdb.step import Position

MOST_STEPS = 64


class SomeMetrics:
    """Steps one after another with the same metrics.

    Args:
        timeline: the branch of the run.
        names: of the metrics.
        size: D, how many values each has.
    """

    def __init__(self, timeline: int, names: tuple[str, ...], size: int) -> None:
        self.timeline = timeline
        self.names = names
        self._places: list[tuple[int, int]] = []  # tick and step
        self._values = np.empty((MOST_STEPS, len(names), size), np.float32)

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return self._values.nbytes

    def takes(self, timeline: int, names: tuple[str, ...]) -> bool:
        """Return whether another step with these metrics fits."""
        return names == self.names and timeline == self.timeline and len(self._places) < MOST_STEPS

    def add(self, position: Position, values: Sequence[Any]) -> None:
        """Keep a step's values, one [D] for each name.

        Raises:
            ValueError: one is of another size.
        """
        number = len(self._places)
        for place, value in enumerate(values):
            self._values[number, place] = value
        self._places.append(position[:2])

    def record(self, history: History) -> None:
        """Write all of them."""
        places: Array = np.array(self._places, np.int64)
        history.append_metrics(self.timeline, places, self.names, self._values[: len(places)])
