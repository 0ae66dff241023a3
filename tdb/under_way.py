"""The step under way: what the loop has handed over of it so far, still its own or already copied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tdb.captures import Lazy, Lent, is_tensor, labels_of, number, own
from tdb.errors import TdbError, did_you_mean
from tdb.step import Clock, Step


class UnknownKeyError(TdbError, KeyError):
    """No step data was captured under this key."""

    code = "unknown_key"
    __str__ = TdbError.__str__


class UnderWay:
    """What a loop hands over during one step; written by the training thread alone.

    Attributes:
        step: the loop's number of the step, or None if it has not said.
        epoch: the loop's epoch, or None.
        loss: as it was handed over; a copy if the step is captured.
        batch: likewise.
        labels: likewise.
        data: step data by key; `Lazy` if they are to be computed, `Lent` if they are still the loop's.
        capturing: this step is captured from its start: what is handed over is copied at once.
    """

    __slots__ = ("batch", "capturing", "data", "epoch", "labels", "loss", "step")

    def __init__(self) -> None:
        self.step: int | None = None
        self.epoch: int | None = None
        self.loss: Any = None
        self.batch: Any = None
        self.labels: Any = None
        self.data: dict[str, Any] = {}
        self.capturing = True  # the first step always is: nobody can have asked for it in time

    def take_batch(self, batch: Any, loss: Any, step: int | None, labels: Any, epoch: int | None) -> None:
        """Take a copy of this step's batch and loss."""
        self._own_batch(batch, loss, labels)
        self.step = step
        self.epoch = self.epoch if epoch is None else epoch  # whoever has fetched the batch may have said it

    def take_loss(self, loss: Any) -> None:
        """Take this step's loss alone, without the graph behind it: it lasts until the boundary."""
        self.loss = own(loss) if self.capturing or not is_tensor(loss) else loss.detach()

    def take_data(self, key: str, data: Any) -> None:
        """Take step data, or a function that gives them."""
        if callable(data):
            self.data[key] = Lazy(data)
        else:
            self.data[key] = own(data) if self.capturing else Lent(data)

    def offer(self, given: Mapping[str, Lazy]) -> None:
        """Take step data that are the same functions in every step, unless the loop has handed over its own."""
        for key, lazy in given.items():
            self.data.setdefault(key, lazy)

    def record(self, clock: Clock) -> Step:
        """Return this step as a record, having copied what is still the loop's: nobody knew that it would be needed."""
        if not self.capturing:
            self._own_batch(self.batch, self.loss, self.labels)
            lent = {key: value for key, value in self.data.items() if isinstance(value, Lent)}
            self.data = self.data | {key: own(value.data) for key, value in lent.items()}
        return Step(clock, self.epoch, number(self.loss), self.batch, self.labels, self.data)

    def value(self, key: str) -> Any:
        """Return what was handed over under `key`, as it is kept.

        Raises:
            UnknownKeyError: nothing was captured under `key`.
        """
        data = self.data
        if key not in data:
            known = ", ".join(data) or "nothing"
            raise UnknownKeyError(f"no step data {key!r}", did_you_mean(key, data) or f"Captured: {known}")
        return data[key]

    def computed(self, key: str) -> Any:
        """Return what is captured under `key` as an owned value; what had to be computed for that is kept.

        Raises:
            UnknownKeyError: nothing was captured under `key`.
        """
        value = self.value(key)
        if isinstance(value, Lent):
            return own(value.data)
        if isinstance(value, Lazy):
            self.data[key] = value = own(value.compute())
        return value

    def entry(self, key: str, name: str) -> Any:
        """Return an entry of what is captured under `key` as an owned value, and compute no other if that is possible.

        Raises:
            LookupError: nothing was captured under `key`, or it has no such entry.
        """
        value = self.value(key)
        if isinstance(value, Lazy) and value.takes_names:
            return own(value.compute(names=(name,))[name])
        entries = self.computed(key)
        if not isinstance(entries, Mapping):
            raise KeyError(name)
        return entries[name]

    def forget(self, record: Step) -> None:
        """Begin anew: step data are empty at the start of each step; `record` keeps what was computed of its own."""
        if record.data is self.data:
            record.data = {key: value for key, value in self.data.items() if not isinstance(value, Lazy)}
        self.data = {}
        self.step = self.epoch = self.loss = self.batch = self.labels = None

    def _own_batch(self, batch: Any, loss: Any, labels: Any) -> None:
        self.batch, self.loss = own(batch), own(loss)
        self.labels = own(labels) if labels is not None else labels_of(self.batch)
