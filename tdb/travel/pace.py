"""How seldom a checkpoint must be taken so that training takes no longer than it is willing to."""

from __future__ import annotations

import statistics
from collections import deque

SHARE = 0.003
"""Of training time. What a copy does to the caches makes the next step slower too: together about half a percent."""

LEAST_STEPS = 4
"""Closer together they would be of no use: a few steps are quickly taken again."""

SHARE_OF_A_WAY = 0.25
"""Of the time that steps take that are taken again."""

SPANS, COSTS = 8, 5


class Pace:
    """Decides when the next checkpoint is due, from what the last ones cost and how long steps take."""

    def __init__(self) -> None:
        self._costs: deque[float] = deque(maxlen=COSTS)
        self._spans: deque[float] = deque(maxlen=SPANS)  # seconds a step, each between two boundaries of a free run
        self._last: tuple[int, float] | None = None

    @property
    def cost(self) -> float:
        """Seconds a checkpoint takes."""
        return statistics.median(self._costs) if self._costs else 0.0

    @property
    def step(self) -> float:
        """Seconds a step takes: the shortest of late, so that nothing that came in between counts; 0 if unknown."""
        return min(self._spans, default=0.0)

    @property
    def interval(self) -> int:
        """Steps from one checkpoint to the next."""
        return max(LEAST_STEPS, round(self.cost / (SHARE * self.step))) if self.step else LEAST_STEPS

    def arrived(self, tick: int, now: float) -> None:
        """A boundary is reached, whose checkpoint is not taken yet."""
        if self._last is not None and tick > self._last[0]:
            self._spans.append((now - self._last[1]) / (tick - self._last[0]))

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
