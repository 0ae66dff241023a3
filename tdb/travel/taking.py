"""When a checkpoint is taken: as often as it costs next to nothing, and close together where one is about to stop.

Whoever stops at a step may want to go back to the one before. A step is gone back to by taking it again, so that takes
a checkpoint of two steps before: one is taken there wherever the stop is known that long before.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from tdb.travel.checkpoints import Checkpoint, Checkpoints
from tdb.travel.pace import Pace
from tdb.travel.snapshot import Snapshot

if TYPE_CHECKING:
    from tdb.loop_side import LoopSide
    from tdb.step import Position
    from tdb.travel.replay import Replay
    from tdb.travel.state import State

BUDGET = 2**30

AT_A_STOP = frozenset({0, 2, 3})
"""How many steps before a stop checkpoints are taken: here, and where `back 1` and `back 2` set out from."""

FORESIGHT = max(AT_A_STOP)
LONGEST = 0.05
"""Seconds that a checkpoint may take which is taken only because training stops."""

LONGEST_TRAIL = 32


class Moment(NamedTuple):
    """A boundary, with what has been done at it.

    Attributes:
        position: the boundary.
        timeline: the branch it belongs to.
        edits: how many of the user's changes at this boundary are made.
        memory: what stop points remember.
        served: how many times something was run in the training thread for the prompt until then.
    """

    position: Position
    timeline: int
    edits: int
    memory: Any
    served: int

    def is_still(self, before: Moment) -> bool:
        """Return whether this is the boundary at which `before` was, and nothing but what asks was run since."""
        here, there = (
            (self.position.tick, self.timeline, self.edits),
            (before.position.tick, before.timeline, before.edits),
        )
        return here == there and self.served - before.served <= 1


class Taking:
    """Takes checkpoints, and knows when.

    Attributes:
        checkpoints: what was taken.
        pace: how often they are taken while training goes on.
        last: the one that was taken or put back last: what has not changed since is shared with it.
        due: the tick at which the next one is due while training goes on.
    """

    def __init__(self) -> None:
        self.checkpoints = Checkpoints(BUDGET)
        self.pace = Pace()
        self.last: Checkpoint | None = None
        self.due = 0
        self._trail = 0
        self._moment: Moment | None = None  # of the last copy

    def begin(self, tick: int) -> None:
        """A loop begins: what was copied before belongs to another one."""
        self.checkpoints.clear()
        self.last = self._moment = None
        self.due = tick

    def is_wanted(self, tick: int, to_stop: int | None, *, again: bool) -> bool:
        """Return whether a checkpoint is to be taken here.

        Args:
            tick: the boundary.
            to_stop: how many steps there are to the next stop, as far as is known.
            again: steps are being taken again.
        """
        if again:
            return to_stop is not None and 2 <= to_stop <= self._trail + 1
        return tick >= self.due or (to_stop in AT_A_STOP and self.pace.cost <= LONGEST)

    def set_out(self, origin: Checkpoint, steps: int) -> None:
        """Steps will be taken again: the last of them leave a trail, so that going back further is quick."""
        self.last, self._moment = origin, None
        self.due = origin.tick + self.pace.interval
        room = self.checkpoints.limit // (8 * max(1, origin.nbytes))
        self._trail = max(2, min(LONGEST_TRAIL, room, self.pace.affordable(steps)))

    def take(self, state: State, moment: Moment, name: str = "", *, kept: bool = False) -> Checkpoint:
        """Copy everything.

        Args:
            state: what training consists of.
            moment: where training stands.
            name: given by the user, or empty.
            kept: thinning never takes it.
        """
        began = time.perf_counter()
        snapshot = state.take(self.checkpoints.slots, self.last.in_memory if self.last is not None else None)
        checkpoint = self._add(moment, snapshot, name, kept=kept)
        self.pace.took(time.perf_counter() - began)
        return checkpoint

    def take_again(self, state: State, moment: Moment) -> Checkpoint:
        """Keep everything as it is, in the last copy if that was taken here and nothing can have changed since."""
        last = self.last.in_memory if self.last is not None else None
        if last is None or self._moment is None or not moment.is_still(self._moment):
            return self.take(state, moment, kept=True)
        shared = Snapshot(self.checkpoints.slots.share(last.tensors), last.values)
        return self._add(moment, shared, kept=True)

    def _add(self, moment: Moment, snapshot: Snapshot, name: str = "", *, kept: bool) -> Checkpoint:
        position, timeline, edits, memory, _ = moment
        checkpoint = Checkpoint(position, timeline, snapshot, edits, memory, name, kept)
        self.checkpoints.add(checkpoint, position.tick)
        self.last, self._moment = checkpoint, moment
        self.due = position.tick + self.pace.interval
        return checkpoint


def steps_to_stop(loop: LoopSide, replay: Replay | None, position: Position) -> int | None:
    """Return how many steps there are to the next stop, as far as is known."""
    if replay is not None:
        return replay.goal - position.step
    granted = loop.granted()
    if granted is not None:
        return granted
    stop = foreseen(loop, position.step)
    return stop - position.step if stop is not None else None


def foreseen(loop: LoopSide, step: int) -> int | None:
    """Return the first step, from `step` on, at which what may stop training says that it will."""
    check = loop.question.check
    return check.foreseen(step) if check is not None else None
