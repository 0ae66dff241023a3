"""How seldom a checkpoint must be taken so that training takes no longer than it is willing to."""

from __future__ import annotations

SHARE = 0.006
"""Of training time. What a copy does to the caches makes the next step slower too: together they stay below 1 %."""

SMOOTHING = 0.2
LEAST_STEPS = 4
"""Closer together they would be of no use: a few steps are quickly taken again."""


class Pace:
    """Decides at which tick the next checkpoint is due, from what the last ones cost and how long steps take."""

    def __init__(self) -> None:
        self.cost = 0.0  # seconds a checkpoint
        self.step = 0.0  # seconds a step of a free run
        self._last: tuple[int, float] | None = None  # tick and time of the last one, if nothing stopped since

    def taken(self, tick: int, began: float, ended: float) -> int:
        """Take note of a checkpoint at `tick`, and return the tick at which the next one is due."""
        self.cost = _smoothed(self.cost, ended - began)
        if self._last is not None and tick > self._last[0]:
            self.step = _smoothed(self.step, (began - self._last[1]) / (tick - self._last[0]))
        self._last = tick, ended
        if not self.step:
            return tick + LEAST_STEPS
        return tick + max(LEAST_STEPS, round(self.cost / (SHARE * self.step)))

    def interrupted(self) -> None:
        """Training stood still: the time until the next checkpoint tells nothing."""
        self._last = None


def _smoothed(average: float, value: float) -> float:
    return value if not average else average + SMOOTHING * (value - average)
