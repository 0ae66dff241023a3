"""Which of the points that one can go back to is missed least."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def missed_least(ticks: Sequence[int], now: int) -> int:
    """Return the place of the one whose neighbours lie closest for how long ago they were; the first and last stay.

    Args:
        ticks: when they were taken, in this order; of fewer than three the first is missed least.
        now: what "ago" is counted from.
    """
    if len(ticks) < 3:
        return 0
    when = np.fromiter(ticks, np.int64, len(ticks))
    gaps = (when[2:] - when[:-2]) / np.maximum(1, abs(now - when[:-2]))
    return 1 + int(gaps.argmin())


def closest(ticks: Sequence[int]) -> int:
    """Return the place of the one whose neighbours lie closest; the first and last stay, as in `missed_least`."""
    if len(ticks) < 3:
        return 0
    when = np.fromiter(ticks, np.int64, len(ticks))
    return 1 + int((when[2:] - when[:-2]).argmin())
