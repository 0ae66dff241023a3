"""What an expression remembers from earlier steps, and the functions that look back.

One `Memory` belongs to one stop point or one display. Its rules:

- A *look* is one evaluation at one step. Looking again at the same step replaces that look: the answer is the same,
  and nothing advances twice. So a value can be explained right after it was computed.
- A look at the next step advances. What was kept at the last look can then be recalled.
- A look at any other step (a gap while the stop point was disabled, a jump back in time) forgets everything: it is a
  first look.
- Loops number their steps as they like, so whoever counts boundaries gives that count as well: then the next boundary
  is the next look, however far the step's number went on. `Memory(gaps=True)` is for thinned history: every later step
  follows the one before it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tdb.expressions.functions import true_entries

LONGEST_LOOK_BACK = 1000  # steps; each of them keeps a copy of the value


class Memory:
    """State of the functions that look back, advanced once a step."""

    __slots__ = ("_before", "_boundary", "_gaps", "_now", "step")

    def __init__(self, *, gaps: bool = False) -> None:
        self.step: float = math.nan  # no look yet: NaN equals nothing and nothing follows it
        self._boundary: float = math.nan
        self._gaps = gaps
        self._before: dict[object, Any] = {}
        self._now: dict[object, Any] = {}

    def look(self, step: int, boundary: int | None = None) -> None:
        """Begin a look at `step`; a second look at the same step changes nothing.

        Args:
            step: the loop's number of the step.
            boundary: a count that grows by one a boundary; None if it is not counted, then `step` has to.
        """
        if step == self.step and boundary in (None, self._boundary):
            return
        if boundary is None:
            follows = step == self.step + 1 or (self._gaps and step > self.step)
        else:
            follows = boundary == self._boundary + 1 and step >= self.step
            self._boundary = boundary
        self._before, self._now = (self._now if follows else {}), {}
        self.step = step

    def become(self, other: Memory) -> None:
        """Go on from what another memory holds, which is this one's own from then on."""
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def recall(self, key: object, default: Any = None) -> Any:
        """Return what was kept under `key` at the look before this one."""
        return self._before.get(key, default)

    def kept(self, key: object, default: Any = None) -> Any:
        """Return what was kept under `key` at this look."""
        return self._now.get(key, default)

    def keep(self, key: object, value: Any) -> None:
        """Keep `value`, which nothing may change any more, for the next look."""
        self._now[key] = value


def previous(memory: Memory, key: str, x: Any, n: int = 1) -> Any:
    """Return x as it was n looks ago; before there is such a look NaN of x's shape, False if x is true or false."""
    past = memory.recall(key, ())
    memory.keep(key, (*past, owned(x))[-n:])
    return past[0] if len(past) == n else _unknown(x)


def delta(memory: Memory, key: str, x: Any) -> Any:
    """Return x minus x at the look before, in double precision; NaN at the first look."""
    value = np.asarray(x, dtype=np.float64)
    return value - previous(memory, key, value)


def moving_average(memory: Memory, key: str, x: Any, n: float) -> Any:
    """Exponential moving average with span n: average += 2 / (n + 1) * (x - average), starting at the first x.

    The recursion of pandas' `ewm(span=n, adjust=False)`, except that a NaN or infinite x leaves the average as it is:
    one skipped update of mixed-precision training must not spoil the average for good. NaN before a first finite x.
    """
    value = np.asarray(x, dtype=np.float64)
    average = memory.recall(key, np.nan)
    moved = np.where(np.isnan(average), value, average + 2 / (n + 1) * (value - average))
    moved = np.where(np.isfinite(value), moved, average)[()]
    memory.keep(key, moved)
    return moved


def crosses(memory: Memory, key: str, x: Any, level: Any) -> Any:
    """Whether x went from one side of `level` to it or past it since the look before; False at the first look."""
    past = memory.recall(key)
    memory.keep(key, (owned(x), owned(level)))
    if past is None:
        return np.less(x, level) & False
    x_before, level_before = past
    up = np.less(x_before, level_before) & np.greater_equal(x, level)
    down = np.greater(x_before, level_before) & np.less_equal(x, level)
    return up | down


def since(memory: Memory, key: str, condition: Any) -> Any:
    """Steps since `condition` was last true: 0 at a step where it is; NaN while it has not been true yet."""
    last = np.where(true_entries(condition), memory.step, memory.recall(key, np.nan))[()]
    memory.keep(key, last)
    return memory.step - last


def owned(x: Any) -> Any:
    """Return x itself if nothing can change it, else a copy: the next step may overwrite the array in place."""
    return x.copy() if isinstance(x, np.ndarray) else x


def _unknown(x: Any) -> Any:
    array = np.asarray(x)
    return np.zeros_like(array)[()] if array.dtype == bool else np.full(array.shape, np.nan)[()]
