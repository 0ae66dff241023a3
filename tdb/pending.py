"""Finished steps on their way into history.

Between two steps all that is done is slow, because caches are cold: so most of it is done for many together. What
waits is recorded when it has waited long enough, is much, or is asked for; the metrics of a large batch are computed
beside training, and recorded when the next one is set aside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, ClassVar, Protocol

from tdb.beside import Beside, Job
from tdb.some_metrics import SomeMetrics
from tdb.waiting import Batch, Computed, Place, Together, Waiting, in_order

if TYPE_CHECKING:
    from tdb.history import History
    from tdb.results import Array
    from tdb.step import Finished

LONGEST_WAIT = 2.0
"""Seconds of a free run that history may be behind, or one step if that takes longer."""

MOST_WAITING = 512
"""Steps that history may be behind while training runs freely: they come into it in handfuls."""
MOST_BYTES = 2**23


class RecordsTogether(Protocol):
    """Records steps that have come together."""

    def append(self, some: Together) -> None:
        """Record steps with their metrics."""

    def give_up(self, error: Exception) -> None:
        """Record no metrics any more, because of what went wrong with them."""


class PendingSteps:
    """Used in the training thread only.

    Args:
        history: where finished steps are recorded.
        recorder: records steps with their metrics, and is told if that fails.

    Attributes:
        newest: the last tick whose metrics wait, or have waited; -1 before.
        batch: where those wait whose metrics are not computed yet.
        in_batch: how many.
    """

    MEASURED: ClassVar[Mapping[str, tuple[str, ...]]] = {"metrics": ("_append_waiting",), "history": ("flush",)}

    def __init__(self, history: History, recorder: RecordsTogether) -> None:
        self.newest = -1
        self.batch: Batch | None = None
        self.in_batch = 0
        self._history, self._recorder = history, recorder
        self._finished: list[tuple[int, Sequence[Finished]]] = []  # by timeline
        self._finished_steps = 0
        self._waiting: list[Waiting | SomeMetrics | Place] = []  # those of them that have metrics
        self._held = 0  # bytes of those that are not in the batch
        self._beside = Beside()
        self._aside: tuple[list[Waiting | SomeMetrics | Place], Job[Computed | None]] | None = None
        self._recorded_at = 0.0  # wall time up to which history is complete
        self._aside_at = 0.0  # and with what is set aside

    # ---- what waits ------------------------------------------------------------------------------------------------

    def add(self, timeline: int, steps: Sequence[Finished]) -> None:
        """Let finished steps wait."""
        self._finished.append((timeline, steps))
        self._finished_steps += len(steps)

    def wait(self, step: Waiting) -> None:
        """Let a step wait with its metrics."""
        self._waiting.append(step)
        self._held += step.nbytes
        self.newest = step.place[1][0]

    def wait_in(self, batch: Batch, place: Place) -> None:
        """Let a step wait that lies in a batch, the only one."""
        self.batch = batch
        self.in_batch += 1
        self._waiting.append(place)
        self.newest = place[1][0]

    def some(self, timeline: int, names: tuple[str, ...], features: int) -> SomeMetrics:
        """Return where some metrics of steps wait, each of so many features."""
        last = self._waiting[-1] if self._waiting else None
        if not (isinstance(last, SomeMetrics) and last.takes(timeline, names)):
            last = SomeMetrics(timeline, names, features)
            self._waiting.append(last)
            self._held += last.nbytes
        return last

    def forget(self) -> None:
        """Let nothing wait that has metrics."""
        self._waiting, self.in_batch, self._held = [], 0, 0

    def may_wait(self, now: float) -> bool:
        """Return whether what waits may wait for the step ahead."""
        if not self._finished:
            return False
        if self._finished_steps >= MOST_WAITING or now - self._recorded_at > LONGEST_WAIT:
            return False
        return self._held < MOST_BYTES and not (self.in_batch and self.batch is not None and self.batch.full)

    # ---- what is recorded ------------------------------------------------------------------------------------------

    def record(self, now: float, ids: Array | None, *, beside: bool) -> None:
        """Record what waits, or set it aside: then what was set aside before it is recorded.

        Args:
            now: wall time.
            ids: [w], the watched features; None if there are none.
            beside: it may be set aside.
        """
        if beside and self.in_batch and self.batch is not None and self.batch.is_large and self.batch.full:
            self._recorded_at, self._aside_at = self._aside_at, now
            self._set_aside(ids)
        else:
            self._recorded_at = self._aside_at = now
            self.flush(ids)

    def flush(self, ids: Array | None) -> None:
        """Record all that waits, with the weights of the watched features `ids` [w]."""
        self._append_steps()
        self._append_aside()
        self._append_waiting(*self._take(ids))

    def _set_aside(self, ids: Array | None) -> None:
        """Have the metrics of what waits computed beside training; what was set aside before them is recorded."""
        self._append_steps()
        self._append_aside()
        waiting, compute = self._take(ids)
        self._aside = waiting, self._beside.begin(compute)

    def _append_steps(self) -> None:
        finished, self._finished, self._finished_steps = self._finished, [], 0
        for timeline, handfuls in groupby(finished, key=itemgetter(0)):
            self._history.append_steps(timeline, [step for _, steps in handfuls for step in steps])

    def _append_aside(self) -> None:
        if self._aside is not None:
            (waiting, job), self._aside = self._aside, None
            self._append_waiting(waiting, job.result)

    def _take(self, ids: Array | None) -> tuple[list[Waiting | SomeMetrics | Place], Callable[[], Computed | None]]:
        """Return what waits, which does so no more, and what computes the metrics of those in the batch."""
        waiting, self._waiting, self._held = self._waiting, [], 0
        in_batch, self.in_batch = self.in_batch, 0
        if not in_batch:
            return waiting, lambda: None
        assert self.batch is not None
        return waiting, self.batch.take(ids)

    def _append_waiting(
        self, waiting: list[Waiting | SomeMetrics | Place], compute: Callable[[], Computed | None]
    ) -> None:
        try:
            for some in in_order(waiting, compute()):
                if isinstance(some, Together):
                    self._recorder.append(some)
                else:
                    some.record(self._history)
        except Exception as error:  # noqa: BLE001 - a rule's mistake must not end a training run
            self._recorder.give_up(error)
