"""The clock, and the finished record of one training step."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from tdb.errors import StateError


def step_number(step: Any) -> int:
    """Return a loop's number of a step as an int.

    Raises:
        TypeError: it is no whole number.
    """
    try:
        return operator.index(step)
    except TypeError:
        raise TypeError(f"the number of a step is a whole one, not {step!r}") from None


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


BOUNDARY = "boundary"
CRASH = "crash"
"""Where a step stands that will never be complete."""


@dataclass
class Progress:
    """How far the step under way has come, for those who look at it before it is complete.

    Attributes:
        phase: where it stands, such as "forward" or "backward 2 of 4", see `tdb.phases`; "boundary" if it is complete.
        forwards: passes through the model that are done.
        backwards: passes backward that are done.
        updates: updates by an optimizer that are done.
        updating: one is being made: it calls the loop's own function for the loss.
    """

    phase: str = BOUNDARY
    forwards: int = 0
    backwards: int = 0
    updates: int = 0
    updating: bool = False

    def begin(self, phase: str) -> None:
        """A step stands at `phase`, and nothing was done of it; at the boundary all was."""
        self.phase, self.forwards, self.backwards, self.updates, self.updating = phase, 0, 0, 0, False

    @property
    def complete(self) -> bool:
        """Whether the step is complete: all of it can be looked at."""
        return self.phase == BOUNDARY

    @property
    def has_output(self) -> bool:
        """Whether the model has given something in this step."""
        return self.complete or self.forwards > 0

    @property
    def has_gradients(self) -> bool:
        """Whether the gradients are those of this step."""
        return self.complete or self.backwards > 0

    @property
    def has_update(self) -> bool:
        """Whether an optimizer has updated in this step."""
        return self.complete or self.updates > 0


def not_yet(what: str, progress: Progress) -> StateError:
    """Return the error of a question about something that a step has not come to yet."""
    if progress.phase == CRASH:
        return StateError(f"no {what}: this step has crashed before", "What there is show `metrics` and `layers`")
    return StateError(f"no {what} yet: this step is at {progress.phase}", "`phase` goes on, `step` completes it")


class Position(NamedTuple):
    """Where training is: its last finished step; published whole, so that a reader never sees half of it.

    Attributes:
        tick: as in `Clock`.
        step: as in `Clock`.
        epoch: the loop's epoch, None if it did not say.
        loss: a number, a tensor with one element, or None.
        wall_time: when it was finished, in seconds since the epoch of `time.time`.
    """

    tick: int = 0
    step: int = 0
    epoch: int | None = None
    loss: Any = None
    wall_time: float = 0.0


Finished: TypeAlias = "tuple[int, int, int | None, Any, float]"
"""A `Position` as the training thread notes it: between two steps, in cold caches, a bare tuple is made in a tenth of
the time."""


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
    """

    clock: Clock = field(default_factory=Clock)
    epoch: int | None = None
    loss: float | None = None
    batch: Any = None
    labels: Any = None
    data: dict[str, Any] = field(default_factory=dict)

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
