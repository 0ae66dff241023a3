"""How seldom a checkpoint must be taken so that training takes no longer than it is willing to."""

from __future__ import annotations

import statistics
from collections import deque

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

    One step is timed before each checkpoint, because nobody knows what else happens in all the others between two.
    """

    def __init__(self) -> None:
        self._costs: deque[float] = deque(maxlen=COSTS)
        self._spans: deque[float] = deque(maxlen=SPANS)
        self._last: tuple[int, float] | None = None

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

    @staticmethod
    def look(tick: int, due: int) -> int:
        """Return the next boundary to tell of after that of `tick`: the one before the checkpoint, then its own."""
        return due - 1 if tick < due - 1 else due

    def arrived(self, tick: int, now: float) -> None:
        """A boundary is reached, whose checkpoint is not taken yet."""
        if self._last is not None and tick == self._last[0] + 1:
            self._spans.append(now - self._last[1])

    def left(self, tick: int, now: float) -> None:
        """A boundary is left."""
        self._last = tick, now

    def interrupted(self) -> None:
        """Training stood still: the time until the next boundary tells nothing."""
        self._last = None

    def took(self, seconds: float) -> None:
        """A checkpoint was taken."""
        self._costs.append(seconds)

    def affordable(self, steps: int) -> int:
        """Return how many checkpoints may be taken while so many steps are taken again."""
        return int(SHARE_OF_A_WAY * steps * self.step / self.cost) if self.cost else steps
