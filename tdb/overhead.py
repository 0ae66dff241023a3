"""What tdb costs in this very run: every other step goes without it, and both kinds of steps are timed.

Steps are taken in pairs; one of each pair is left out: no capture, no hook, nothing recorded. Which of the two changes
from pair to pair by the Thue-Morse sequence, which no period of the loop itself (gradient accumulation, metrics each
tenth step) can keep in step with. The ratio is the median over the pairs, so that a machine that slows down or a
background process does not count as a cost of tdb's.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, Protocol

import numpy as np

from tdb.results import Array

WARM_UP = 4
"""Steps before the first pair: a stop leaves caches cold."""

FEWEST = 20
"""Steps from which a median and its confidence mean anything."""

PARTS = ("captures", "metrics", "watches", "stop points", "history", "boundary")


class Measured(Protocol):
    """An object whose methods are timed while a measurement lasts: part -> names of its methods."""

    MEASURED: ClassVar[Mapping[str, tuple[str, ...]]]


@dataclass(frozen=True)
class Cost:
    """What was measured.

    Attributes:
        recorded: [n] seconds of the recorded step of each pair, tdb's own work in it.
        left_out: [n] seconds of the other one.
        parts: part -> seconds a recorded step, the mean; timed by themselves.
    """

    recorded: Array
    left_out: Array
    parts: Mapping[str, float]

    @property
    def ratio(self) -> float:
        """The median over the pairs of the recorded step's time by the other's."""
        return float(np.median(self.recorded / self.left_out))

    @property
    def confidence(self) -> tuple[float, float]:
        """Between what two ratios the median lies with 95 %, whatever their distribution: by order statistics."""
        ratios = np.sort(self.recorded / self.left_out)
        count = len(ratios)
        place = max(0, math.floor(count / 2 - 0.98 * math.sqrt(count)))
        return float(ratios[place]), float(ratios[count - 1 - place])


class Overhead:
    """One measurement; all but `over` and `cost` belongs to the training thread.

    Args:
        after: the tick of the last step before it.
        count: how many steps it takes, an even number; a warm-up comes before them.
        then: called when it is complete; not if it is broken off.
    """

    def __init__(self, after: int, count: int, then: Callable[[], None] | None = None) -> None:
        self.over = threading.Event()
        self._first = after + 1 + WARM_UP
        self._count = count
        self._then = then
        self._seconds: list[float] = []
        self._parts = dict.fromkeys(PARTS, 0.0)
        self._within = 0.0  # seconds that belong to timed methods inside the one that is being timed
        self._counts = False  # this step's parts are wanted
        self._began = self._ended = 0.0
        self._replaced: list[tuple[Any, str]] = []

    def leaves_out(self, tick: int) -> bool:
        """Return whether a step goes without tdb."""
        place = tick - self._first
        return 0 <= place < self._count and place.bit_count() % 2 == 1

    def begin(self, measured: Iterable[Measured]) -> None:
        """Take the time of some objects' methods: replaced on these objects alone, so that nobody else pays for it."""
        for each in measured:
            for part, names in each.MEASURED.items():
                for name in names:
                    setattr(each, name, self._timed(part, getattr(each, name)))
                    self._replaced.append((each, name))

    def step_ends(self, at: float) -> None:
        """A step has come to its boundary.

        Args:
            at: when, in seconds of `time.time`.
        """
        self._ended = time.perf_counter() - (time.time() - at)
        self._within = 0.0

    def next_step(self, tick: int) -> bool:
        """The step `tick` is complete, and the next begins; return whether the measurement is."""
        now = time.perf_counter()
        place = tick - self._first
        if self._counts:
            self._parts["boundary"] += now - self._ended - self._within
        if place >= 0:
            self._seconds.append((self._ended if self.leaves_out(tick) else now) - self._began)
        self._counts = place + 1 >= 0 and not self.leaves_out(tick + 1)
        complete = len(self._seconds) == self._count
        if complete:
            self.end()
            if self._then is not None:
                self._then()
        self._began = time.perf_counter()
        return complete

    def end(self) -> None:
        """Put the methods back; what was measured so far stays."""
        self._counts = False
        for each, name in self._replaced:
            delattr(each, name)
        self._replaced = []
        self.over.set()

    @property
    def cost(self) -> Cost:
        """What was measured, of whole pairs; to be asked when it is over."""
        pairs = len(self._seconds) // 2
        seconds = np.array(self._seconds[: 2 * pairs])
        left_out = np.array([self.leaves_out(self._first + place) for place in range(2 * pairs)], dtype=bool)
        recorded = max(1, len(self._seconds) - sum(self.leaves_out(self._first + i) for i in range(len(self._seconds))))
        parts = {part: taken / recorded for part, taken in self._parts.items()}
        return Cost(seconds[~left_out], seconds[left_out], parts)

    def _timed(self, part: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if not self._counts:
                return method(*args, **kwargs)
            before, self._within = self._within, 0.0
            began = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                taken = time.perf_counter() - began
                self._parts[part] += taken - self._within
                self._within = before + taken

        return timed
