"""What there is to look at: the last step that was captured, and before there is one, the first as far as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tdb.captures import number
from tdb.errors import in_words
from tdb.step import Step

if TYPE_CHECKING:
    from tdb.panel import Panel
    from tdb.step import Clock
    from tdb.under_way import UnderWay


class LastStep:
    """What is kept of the last step; written by the training thread alone, any thread may read it.

    Args:
        under_way: what the loop has handed over of the step under way.
        panels: what rules have declared: step data that can be computed of every step.

    Attributes:
        record: the last step that was captured whole.
        first: the step under way, as long as there is no record to look at.
    """

    def __init__(self, under_way: UnderWay, panels: Sequence[Panel]) -> None:
        self.record = Step()
        self.first: Step | None = None
        self._under_way = under_way
        self._panels = panels

    def as_batch(self) -> dict[str, Any] | None:
        """Return the last captured batch with its loss, step, epoch and labels; None before the first."""
        first, record = self.first, self.record  # in this order: the record is there before `first` goes
        if record.has_batch:
            return record.as_batch()
        return first.as_batch() if first is not None else None

    def begin(self, clock: Clock) -> None:
        """A loop follows, of which nothing was captured yet."""
        self.forget()
        self.record = Step(clock)

    def take_first(self, clock: Clock, epoch: int | None) -> None:
        """Let the batch under way be looked at, if there is no other."""
        if not self.record.has_batch:
            handed = self._under_way
            self.first = Step(clock, epoch, number(handed.loss), handed.batch, handed.labels)

    def commit(self, clock: Clock) -> None:
        """Make the step under way the record."""
        self.offer()
        self.record = self._under_way.record(clock)

    def offer(self) -> None:
        """Let what rules declare of every step count as captured in the one under way."""
        for panel in self._panels:
            self._under_way.offer(panel.offered)

    def compute_all(self, guarded: Callable[[Callable[[], Any]], object], notify: Callable[[str], None]) -> None:
        """Compute what was captured as functions: whoever gets the record cannot do so later.

        Args:
            guarded: calls each, so that training does not notice.
            notify: is told what could not be computed, which must not end a training run.
        """
        for key in list(self._under_way.data):
            try:
                guarded(partial(self._under_way.computed, key))
            except Exception as error:  # noqa: BLE001 - a panel's mistake, which is told
                notify(f"step data {key!r} could not be computed: {in_words(error)}")

    def forget(self) -> None:
        """The next step begins: step data are empty then, and the record is what there is to look at."""
        self._under_way.forget(self.record)
        self.first = None
