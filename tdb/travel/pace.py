"""How seldom a checkpoint must be taken so that training takes no longer than it is willing to."""

from __future__ import annotations

import statistics
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tdb.step import Finished, Position

SHARE = 0.003
"""Of training time, at most. What a copy does to the caches makes the steps after it slower, too."""

LEAST_STEPS = 4
"""Closer together they would be of no use: a few steps are quickly taken again."""

NEAR_SECONDS, NEAR_STEPS = 1.0, 400
"""Closer together than either they need not be: so long nobody minds to wait who goes back."""

SHARE_OF_A_WAY = 0.25
"""Of the time that steps take that are taken again."""

SPANS, COSTS = 8, 5


class Pace:
    """Decides when the next checkpoint is due, from what the last ones cost and how long steps take.

    The step before each checkpoint is timed, because nobody knows what else happens in all the others between two.
    """

    def __init__(self) -> None:
        self._costs: deque[float] = deque(maxlen=COSTS)
        self._spans: deque[float] = deque(maxlen=SPANS)
        self._left = (-1, 0.0)

    @property
    def cost(self) -> float:
        """Seconds a checkpoint takes."""
        return statistics.median(self._costs) if self._costs else 0.0

    @property
    def step(self) -> float:
        """Seconds a step takes, 0 if unknown: the lower quartile of late, as some wait for what is none of theirs."""
        return sorted(self._spans)[len(self._spans) // 4] if self._spans else 0.0

    @property
    def interval(self) -> int:
        """Steps from one checkpoint to the next."""
        if not self.step:
            return LEAST_STEPS
        near = min(NEAR_STEPS, round(NEAR_SECONDS / self.step))
        return max(LEAST_STEPS, near, round(self.cost / (SHARE * self.step)))

    def arrived(self, position: Position, before: Finished) -> None:
        """A boundary is reached, whose checkpoint is not taken yet; not of one before which training stood still.

        Args:
            position: the boundary.
            before: the one before it.
        """
        tick, began = self._left if self._left[0] == position.tick - 1 else (before[0], before[-1])
        if tick == position.tick - 1 and position.wall_time > began:  # clocks are set back, too
            self._spans.append(position.wall_time - began)

    def left(self, tick: int, now: float) -> None:
        """A boundary that took its time is left, at the wall time `now`."""
        self._left = tick, now

    def took(self, seconds: float) -> None:
        """A checkpoint was taken."""
        self._costs.append(seconds)

    def affordable(self, steps: int) -> int:
        """Return how many checkpoints may be taken while so many steps are taken again."""
        return int(SHARE_OF_A_WAY * steps * self.step / self.cost) if self.cost else steps
