"""The clock, and the finished record of one training step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Clock(NamedTuple):
    """When something happened.

    Attributes:
        timeline: which branch of the run; 0 until a fork is made.
        tick: boundaries passed by this controller; it only grows, over all runs, and is never reused.
        step: the loop's own number of the step; steps count from 1, 0 is before the first.
        phase: where inside the step; "boundary" where a step is complete.
    """

    timeline: int = 0
    tick: int = 0
    step: int = 0
    phase: str = "boundary"


class Position(NamedTuple):
    """Where training is: its last finished step; published whole, so that a reader never sees half of it."""

    tick: int = 0
    step: int = 0
    epoch: int | None = None
    loss: Any = None


@dataclass
class Step:
    """What one finished step left behind. Everything in it is owned: later steps cannot change it.

    Attributes:
        clock: when.
        epoch: the loop's epoch, or None if it did not say.
        loss: the loss, or None if it did not say.
        batch: an owned copy of what the loop handed to `capture_batch`.
        labels: an owned copy of the labels, if the loop handed them over or the batch is a pair with them.
        data: step data by key; a value that nobody has looked at yet is a `Lazy`.
        reason: why training stopped here, empty if it did not.
    """

    clock: Clock = field(default_factory=Clock)
    epoch: int | None = None
    loss: float | None = None
    batch: Any = None
    labels: Any = None
    data: dict[str, Any] = field(default_factory=dict)
    reason: str = ""

    @property
    def has_batch(self) -> bool:
        """Whether the loop handed over a batch in this step."""
        return self.batch is not None

    def as_batch(self) -> dict[str, Any]:
        """Return the plan's answer to `get_batch`: batch, loss, step, epoch and labels."""
        return {
            "batch": self.batch,
            "loss": self.loss,
            "step": self.clock.step,
            "epoch": self.epoch,
            "labels": self.labels,
        }
