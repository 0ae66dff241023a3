"""The training thread's side of time travel: checkpoints at boundaries, going back, and taking steps again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tdb.errors import StateError
from tdb.history.lineage import FOREVER
from tdb.step import Position
from tdb.travel.branches import Branch, Edit
from tdb.travel.checkpoints import Checkpoint, Checkpoints
from tdb.travel.copies import Copies
from tdb.travel.course import Course
from tdb.travel.known import Comparison
from tdb.travel.reach import Reach
from tdb.travel.replay import Replay
from tdb.travel.snapshot import Snapshot
from tdb.travel.taking import FORESIGHT, foreseen, steps_to_stop

if TYPE_CHECKING:
    from torch import Tensor

    from tdb.loop_side import LoopSide
    from tdb.passes.passes import Passes
    from tdb.step import Finished


class Traveller:
    """What a loop's boundaries need to be gone back to; all but what any thread may ask runs in the training thread.

    Args:
        loop: the loop's side of the controller.

    Attributes:
        branches: what was forked.
        replay: the steps that are being taken again; None while training goes on.
        due: the tick from which a boundary has something to do here; 0 if what is foreseen has changed.
        reach: what of the loop can be gone back to.
        copies: takes checkpoints of it.
    """

    def __init__(self, loop: LoopSide) -> None:
        self.replay: Replay | None = None
        self.due = 0
        self.reach = Reach(loop)
        self._loop = loop
        self._course = Course(loop)
        self.branches = self._course.branches
        self.copies = Copies(loop, self.reach, self._course)
        self._taking = self.copies.taking
        self._stops_seen = 0
        self._passing_again = False  # this boundary has been passed before: what was changed here is changed again

    # ---- any thread ------------------------------------------------------------------------------------------------

    @property
    def checkpoints(self) -> Checkpoints:
        """What was copied."""
        return self._taking.checkpoints

    @property
    def floor(self) -> int:
        """The step before the first that can be gone back to: of this loop, or of what was loaded."""
        return self._course.floor

    @property
    def furthest(self) -> int:
        """The last step that was taken on the present branch."""
        return self._course.furthest

    @property
    def why_not(self) -> str:
        """Why training cannot go back in place; empty if it can."""
        return self.reach.why_not

    # ---- what a loop's boundaries call -----------------------------------------------------------------------------

    def begin(self, target: Any) -> None:
        """A loop is about to begin: what was before it lies behind another loop, and cannot be gone back to."""
        self.copies.begin()
        self.replay = None
        self.reach.begin(target)
        self._course.begin()
        self.due = 0
        if self.reach.state is not None:
            self._take_first()

    def request(self, wanted: bool) -> None:
        """Go back in place in a script's loop, too, from the boundary on at which training stands, or from its first.

        Raises:
            StateError: that cannot be, or it is done already and cannot be undone.
        """
        reach, has_begun = self.reach, self._loop.position.tick > 0
        if not wanted and reach.requested and reach.state is not None:
            raise StateError("training goes back in place already", "`restart` begins anew, as it is set then")
        reach.requested, self.due = wanted, 0
        if wanted and has_begun and reach.state is None and not self._begins_on_request():
            reach.requested = False
            raise StateError(f"this loop cannot go back in place: {reach.why_not}")

    def begin_passes(self) -> Passes | None:
        """The loop is about to go over batches of `controller.steps`: return what they come through, if anything.

        A loop that took steps in another way before does not go back in place: only here can its data.
        """
        loop, reach = self._loop, self.reach
        if loop.idle:
            reach.why_not = "nobody looked yet when the loop began: with `controller.pause()` before it, it can"
        is_fresh = reach.data.passes is None and not loop.idle and loop.position.step == self.floor
        if is_fresh and reach.begin_passes(self.branches.now.timeline, self.checkpoints.limit):
            self.copies.begin()
            self._take_first()
        return reach.data.passes if reach.state is not None else None

    def out_of_reach(self, step: int, branch: Branch | None = None) -> str:
        """Return why the data of the steps up to `step` cannot be had again; empty if they can."""
        lineage = (branch or self.branches.now).lineage
        origin = self.checkpoints.before(max(step, self.floor + 1), lineage)
        if origin is None:
            first = min((each.position.step for each in self.checkpoints), default=self.furthest)
            return f"checkpoints begin at step {first}"
        return self.reach.data.refusal(origin, lineage.timeline, lambda: self.horizon)

    @property
    def horizon(self) -> int | None:
        """The first step that can be gone back to; None if none can be."""
        return self.reach.data.horizon(self.checkpoints, self.floor, self.branches.now.timeline)

    def arrive(self, position: Position, before: Finished) -> None:
        """A step is complete and recorded: take a checkpoint if one is due, and see whether the known steps end.

        Args:
            position: the step.
            before: the one before it.
        """
        if self.reach.state is None:
            self._arrive_without_state()
            return
        pace, stops = self._taking.pace, self._loop.stops()
        if position.tick < self.due and stops == self._stops_seen and self._loop.granted() is None:
            return  # as at most boundaries of a free run
        if stops == self._stops_seen:
            pace.arrived(position, before)
        self._stops_seen = stops
        known = self._loop.recorder.known
        self._passing_again = known is not None or self.replay is not None
        if known is not None:
            self._course.pass_known(position, known)
            if news := known.comparison.news():
                self._loop.notices.append(news)
        to_stop = steps_to_stop(self._loop, self.replay, position)
        if self._taking.is_wanted(position.tick, to_stop, again=self.replay is not None):
            self._loop.question.look(position)
            # What the user has changed here is yet to be repeated.
            self.copies.take_unless_there(again=self.replay is not None or self._loop.recorder.known is not None)
        if self.checkpoints.notices:
            self._loop.notices.extend(self.checkpoints.notices)
            self.checkpoints.notices.clear()
        self._look_ahead(position)
        pace.left(position.tick, time.time())

    def wants_boundary(self, position: Position) -> bool:
        """Return whether the boundary of `position` has more to do than to be recorded."""
        return self.replay is not None or bool(self.branches.edits and self.branches.edits_at(position.tick))

    def reason(self, position: Position) -> str:
        """Return why training stops at a step that was taken again: it is the goal; nothing else stops there."""
        replay = self.replay
        assert replay is not None
        if not replay.arrive(position, self._loop.question.check):
            return ""
        self.replay = None
        return replay.reason

    def repeat_edits(self, position: Position, done: int = 0) -> None:
        """Do again what the user changed at this boundary, when it is passed again.

        Args:
            position: the boundary.
            done: how many of the changes a checkpoint that was put back has in its state.
        """
        if not self._passing_again:
            return
        for number, edit in enumerate(self.branches.edits_at(position.tick)):
            if number < done and not edit.is_ahead:
                continue
            try:
                edit.apply()
            except Exception as error:  # noqa: BLE001 - told, and then seen in the comparison
                self._loop.notices.append(f"could not repeat {edit.text!r} of step {edit.step}: {error}")

    # ---- at a stop -------------------------------------------------------------------------------------------------

    def set_out(self, goal: int, before: int | None = None, branch: Branch | None = None) -> Replay | None:
        """Go back to the last checkpoint before `goal`, from where the loop takes the steps to it again.

        Args:
            goal: the step to stop at.
            before: the step before which to set out, if that is not the goal.
            branch: the branch to go to, if it is another one.

        Returns:
            What the loop will do when it goes on; None if training stands before the first step of the loop already.

        Raises:
            StateError: training cannot go back in place, or not so far.
        """
        self.reach.need()
        self.copies.part()
        lineage = (branch or self.branches.now).lineage
        earliest = (branch or self.branches.now).floor + 1
        origin = self.checkpoints.before(max(goal if before is None else before, earliest), lineage)
        if origin is None:
            raise StateError(f"no checkpoint before step {goal} is left", "`checkpoints` lists them")
        if not self.reach.data.lead_on_from(origin, lineage.timeline):
            raise StateError(f"cannot go to step {goal}", self.out_of_reach(origin.position.step + 1, branch))
        try:
            snapshot = origin.snapshot
        except StateError as error:  # its file is gone, or damaged: the one before it will do
            self.checkpoints.forget(origin)
            self._loop.notices.append(str(error))
            return self.set_out(goal, before, branch)
        if branch is not None:
            self._course.turn_to(branch)
        self._loop.stop_measuring()
        comparison = self._put_back(origin, snapshot)
        if goal <= self.floor:
            return None
        self.replay = Replay(goal, origin, comparison)
        self._taking.set_out(origin, goal - origin.position.step)
        self.due = origin.tick + 1
        return self.replay

    def give_up(self) -> None:
        """Training stopped on the way: it stays where it is."""
        self.replay = None

    def fork(self, name: str = "") -> Branch:
        """Begin a branch here.

        Raises:
            StateError: training cannot go back in place, so nobody could return.
            UsageError: there is a branch of this name.
        """
        self.reach.need()
        self.copies.part()
        branch = self._course.fork(name)
        self.reach.data.follow(branch.timeline)
        self._look_ahead(self._loop.position)
        return branch

    def go_on_from(self, position: Position) -> Branch:
        """What was put back comes from elsewhere: begin a branch there, which inherits nothing.

        Args:
            position: where it was; its tick does not matter.
        """
        self._loop.captures.skip.give_up()
        self.replay = None
        branch = self._course.load(position)
        self.reach.data.follow(branch.timeline)
        self._remember(None, at_start=False)
        self.copies.take(kept=True)
        self._look_ahead(self._loop.position)
        return branch

    def end_of(self, name: str) -> tuple[Tensor, int]:
        """Return where a branch was left, or stands if training is on it: the focus layer's weights [D, F], the step.

        Raises:
            UsageError: there is no such branch.
            StateError: no weights are kept of it.
        """
        branch, layer = self.branches.get(name), self._loop.captures.focus
        if branch is self.branches.now:
            return layer.weights(), self._loop.position.step
        weight = ("parameter", ".".join(filter(None, (layer.name, "weight"))))
        copied = branch.parting and branch.parting.snapshot.tensors.get(weight)
        if not copied:
            raise StateError(f"no weights are kept of branch {name}", f"`switch {name}` goes there")
        return copied.own().flatten(1), branch.head.step

    def note_edit(self, text: str, apply: Callable[[], Any], *, is_ahead: bool = False) -> Branch | None:
        """Remember what the user has changed here, so that it is done again when this boundary is passed again.

        Args:
            text: what was typed.
            apply: does it again.
            is_ahead: see `Edit`.

        Returns:
            The branch that was begun for it, because the present one has steps ahead that it would contradict.
        """
        position = self._loop.position
        branch = self.fork() if self._loop.recorder.known is not None else None
        self.branches.edits.append(Edit(self._loop.timeline, position.tick, position.step, text, apply, is_ahead))
        return branch

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _begins_on_request(self) -> bool:
        """Return whether a script's loop can be gone back to from this boundary on; if not, `why_not` says why."""
        if not self.reach.begin_on_request(self.branches.now.timeline, self.checkpoints.limit):
            return False
        self.copies.begin()
        self._take_first()
        return True

    def _arrive_without_state(self) -> None:
        """A step is complete that cannot be gone back to: from here on it may be, if that was asked for."""
        if self.reach.requested:
            if self._begins_on_request():
                return
            self._loop.notices.append(f"this loop does not go back in place: {self.reach.why_not}")
        self.due = FOREVER

    def _take_first(self) -> None:
        self.copies.take(kept=True)
        self._look_ahead(self._loop.position)

    def _put_back(self, checkpoint: Checkpoint, snapshot: Snapshot) -> Comparison:
        self._loop.captures.skip.give_up()  # it was of the step after the boundary that is left
        self.reach.need().put_back(snapshot)
        comparison = self._course.go_back(checkpoint)
        self.reach.data.follow(self.branches.now.timeline)
        self._remember(checkpoint.memory, at_start=checkpoint.position.step <= self.floor)
        self._passing_again = True
        self.repeat_edits(checkpoint.position, checkpoint.edits)
        self._taking.set_out(checkpoint, 0)
        self._look_ahead(checkpoint.position)
        return comparison

    def _remember(self, memory: Any, *, at_start: bool) -> None:
        if self._loop.question.check is not None:
            self._loop.question.check.remember(memory, at_start=at_start)

    def _look_ahead(self, position: Position) -> None:
        stop, taking = foreseen(self._loop, position.step + 1), self._taking
        due = [position.tick if self.replay is not None else taking.due]
        due += [position.tick + stop - position.step - FORESIGHT] if stop is not None else []
        due += self._course.next_turns(position.tick)
        self.due = max(position.tick + 1, min(due))
