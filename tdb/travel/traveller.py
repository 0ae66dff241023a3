"""The training thread's side of time travel: checkpoints at boundaries, going back, and taking steps again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdb.captures import is_tensor
from tdb.errors import StateError
from tdb.history.lineage import FOREVER
from tdb.step import Clock, Position, Step
from tdb.travel.branches import Branch, Branches, Edit
from tdb.travel.checkpoints import Checkpoint, Checkpoints
from tdb.travel.known import Comparison, Known
from tdb.travel.reach import Reach
from tdb.travel.snapshot import Snapshot
from tdb.travel.spill import Spill
from tdb.travel.taking import FORESIGHT, Moment, Replay, Taking, foreseen, steps_to_stop

if TYPE_CHECKING:
    from torch import Tensor

    from tdb.loop_side import LoopSide
    from tdb.passes.passes import Passes


class Traveller:
    """What a loop's boundaries need to be gone back to; everything but `register` runs in the training thread.

    Args:
        loop: the loop's side of the controller.

    Attributes:
        branches: what was forked.
        replay: the steps that are being taken again; None while training goes on.
        comparison: how the steps that were taken again since training last went back have come out.
        due: the tick from which a boundary has something to do here; 0 if what is foreseen has changed.
        last_hits: the steps at which stop points would have stopped when they were last taken again, and what they
            would have said.
        reach: what of the loop can be gone back to.
    """

    def __init__(self, loop: LoopSide) -> None:
        self.branches = Branches()
        self.replay: Replay | None = None
        self.comparison = Comparison()
        self.due = 0
        self._loop = loop
        self.reach = Reach(loop)
        self._taking = Taking()
        self._stops_seen = 0
        self._told = 0
        self._passing_again = False  # this boundary has been passed before: what was changed here is changed again
        self.last_hits: list[tuple[int, str]] = []

    # ---- any thread ------------------------------------------------------------------------------------------------

    @property
    def checkpoints(self) -> Checkpoints:
        """What was copied."""
        return self._taking.checkpoints

    @property
    def floor(self) -> int:
        """The step before the first that can be gone back to: of this loop, or of what was loaded."""
        return self.branches.now.floor

    @property
    def furthest(self) -> int:
        """The last step that was taken on the present branch."""
        return max(self.branches.now.head.step, self._loop.position.step)

    @property
    def why_not(self) -> str:
        """Why training cannot go back in place; empty if it can."""
        return self.reach.why_not

    # ---- what a loop's boundaries call -----------------------------------------------------------------------------

    def begin(self, target: Any) -> None:
        """A loop is about to begin: what was before it lies behind another loop, and cannot be gone back to."""
        loop = self._loop
        self._taking.begin(loop.position.tick)
        self.replay = loop.recorder.known = None
        self.reach.begin(target)
        self.branches = Branches(loop.position, max(loop.recorder.history.lineages, default=loop.timeline))
        loop.timeline = self.branches.now.timeline
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
            self._taking.begin(loop.position.tick)
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

    def arrive(self, position: Position) -> None:
        """A step is complete and recorded: take a checkpoint if one is due, and see whether the known steps end."""
        if self.reach.state is None:
            self._arrive_without_state()
            return
        pace, stops = self._taking.pace, self._loop.stops()
        if position.tick < self.due and stops == self._stops_seen and self._loop.granted() is None:
            return  # as at most boundaries of a free run
        if stops != self._stops_seen:
            self._stops_seen = stops
            pace.interrupted()
        pace.arrived(position.tick, time.perf_counter())
        known = self._loop.recorder.known
        self._passing_again = known is not None or self.replay is not None
        if known is not None:
            self._pass_known(position, known)
        to_stop = steps_to_stop(self._loop, self.replay, position)
        if self._taking.is_wanted(position.tick, to_stop, again=self.replay is not None):
            self._loop.question.look(position)
            self._take_unless_there()
        if self.checkpoints.notices:
            self._loop.notices.extend(self.checkpoints.notices)
            self.checkpoints.notices.clear()
        self._look_ahead(position)
        pace.left(position.tick, time.perf_counter())

    def wants_boundary(self, position: Position) -> bool:
        """Return whether the boundary of `position` has more to do than to be recorded."""
        return self.replay is not None or bool(self.branches.edits and self.branches.edits_at(position.tick))

    def may_stop(self, step: int) -> bool:
        """Return whether the step ahead is the goal, or stop points need it captured."""
        replay, check = self.replay, self._loop.question.check
        needs = check.may_stop(step) if check is not None else False
        return needs or (replay is not None and step >= replay.goal)

    def reason(self, position: Position) -> str:
        """Return why training stops at a step that was taken again: it is the goal; nothing else stops there."""
        replay, check = self.replay, self._loop.question.check
        assert replay is not None
        would_hit = check.rehearse(position) if check is not None else ""
        if would_hit:
            self.last_hits.append((position.step, would_hit))
        if position.step < replay.goal:
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

    def take(self, name: str = "", *, kept: bool = False) -> Checkpoint:
        """Copy everything, with what the user has changed here.

        Raises:
            StateError: training cannot go back in place.
        """
        return self._taking.take(self.reach.need(), self._moment(self._edits_here()), name, kept=kept)

    def part(self) -> None:
        """Training is about to leave where it stands: at the end of its branch, everything is kept as it is."""
        branch, position = self.branches.now, self._loop.position
        self.branches.note(position)
        if branch.head.tick != position.tick:
            return
        if branch.parting is not None:
            self.checkpoints.forget(branch.parting)
        branch.parting = self._taking.take_again(self.reach.need(), self._moment(self._edits_here()))

    def spill_to(self, directory: Path | None) -> None:
        """Let checkpoints that do not fit into memory go to files in a folder, or nowhere.

        Raises:
            TdbError: nothing can be written there; nothing has changed then.
        """
        self.checkpoints.spill_to(Spill(directory) if directory is not None else None)

    def resize(self, limit: int) -> None:
        """Let the checkpoints take another number of bytes; those that exceed it go at once."""
        self.checkpoints.limit = limit
        self.checkpoints.thin(self._loop.position.tick)

    def set_out(
        self, goal: int, before: int | None = None, branch: Branch | None = None, reason: str = ""
    ) -> Replay | None:
        """Go back to the last checkpoint before `goal`, from where the loop takes the steps to it again.

        Args:
            goal: the step to stop at.
            before: the step before which to set out, if that is not the goal.
            branch: the branch to go to, if it is another one.
            reason: why training stops there, if that is not that it was told to go there.

        Returns:
            What the loop will do when it goes on; None if training stands before the first step of the loop already.

        Raises:
            StateError: training cannot go back in place, or not so far.
        """
        self.reach.need()
        branches = self.branches
        self.part()
        lineage = (branch or branches.now).lineage
        earliest = (branch or branches.now).floor + 1
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
        if branch is not None and branch is not branches.now:
            branches.leave(self._loop.position)
            branches.now = branch
        self._loop.stop_measuring()
        self._put_back(origin, snapshot)
        self.last_hits = []
        if goal <= self.floor:
            return None
        self.replay = Replay(goal, origin, self.comparison, reason or f"goto {goal}")
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
        loop, position = self._loop, self._loop.position
        self.part()
        branch = self.branches.fork(name, position)
        loop.recorder.known = None
        self._follow(branch)
        loop.tick_ahead = self.branches.go_on(position.tick)
        self._look_ahead(position)
        return branch

    def go_on_from(self, position: Position) -> Branch:
        """What was put back comes from elsewhere: begin a branch there, which inherits nothing.

        Args:
            position: where it was; its tick does not matter.
        """
        loop, branches = self._loop, self.branches
        loop.captures.skip.give_up()
        branches.leave(loop.position)
        branch, loop.position = branches.load(position)
        loop.record = Step(Clock(branch.timeline, *loop.position[:2]))
        loop.recorder.known = self.replay = None
        self._follow(branch)
        loop.tick_ahead = loop.position.tick + 1
        self.comparison = Comparison()
        self._remember(None, at_start=False)
        self.take(kept=True)
        self._look_ahead(loop.position)
        return branch

    def end_of(self, name: str) -> tuple[Tensor, int]:
        """Return where a branch was left, or stands if training is on it: the focus layer's weights [D, F], the step.

        Raises:
            UsageError: there is no such branch.
            StateError: no weights are kept of it.
        """
        branch, layer = self.branches.get(name), self._loop.captures.layer
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
        self._taking.begin(self._loop.position.tick)
        self._take_first()
        return True

    def _arrive_without_state(self) -> None:
        """A step is complete that cannot be gone back to: from here on it may be, if that was asked for."""
        if self.reach.requested:
            if self._begins_on_request():
                return
            self._loop.notices.append(f"this loop does not go back in place: {self.reach.why_not}")
        self.due = FOREVER

    def _pass_known(self, position: Position, known: Known) -> None:
        """A step was taken again that is known from before: go on along what is known, or on from its end."""
        lineage = self.branches.now.lineage
        lineage.cursor = position.tick
        if position.tick >= known.until:
            self._loop.recorder.known = None
            lineage.cursor = FOREVER
            self._loop.tick_ahead = self.branches.go_on(position.tick)
        else:
            self._loop.tick_ahead = lineage.after(position.tick) or position.tick + 1
        self._tell()

    def _take_first(self) -> None:
        self.take(kept=True)
        self._look_ahead(self._loop.position)

    def _take_unless_there(self) -> None:
        """Copy everything, unless that was done here before; what the user has changed here is yet to be repeated."""
        tick = self._loop.position.tick
        may_be_there = self.replay is not None or self._loop.recorder.known is not None
        if not may_be_there or not self.checkpoints.has(tick, self.branches.now.lineage.owner(tick), edits=0):
            self._taking.take(self.reach.need(), self._moment(edits=0))

    def _moment(self, edits: int) -> Moment:
        loop = self._loop
        timeline = self.branches.now.lineage.owner(loop.position.tick)
        check = loop.question.check
        memory = check.remembered() if check is not None else None
        return Moment(_owned(loop.position), timeline, edits, memory, loop.served())

    def _edits_here(self) -> int:
        return len(self.branches.edits_at(self._loop.position.tick)) if self.branches.edits else 0

    def _put_back(self, checkpoint: Checkpoint, snapshot: Snapshot) -> None:
        loop, lineage = self._loop, self.branches.now.lineage
        loop.captures.skip.give_up()  # it was of the step after the boundary that is left
        self.reach.need().put_back(snapshot)
        loop.position = checkpoint.position
        loop.record = Step(Clock(checkpoint.timeline, *checkpoint.position[:2])) if not checkpoint.tick else loop.record
        self._follow(self.branches.now)
        self.comparison = Comparison()
        self._told = 0
        known = Known(loop.recorder.history, lineage, checkpoint.tick, self.comparison)
        loop.recorder.known = known if known.until > checkpoint.tick else None
        lineage.cursor = checkpoint.tick if loop.recorder.known is not None else FOREVER
        loop.tick_ahead = lineage.after(checkpoint.tick) or self.branches.go_on(checkpoint.tick)
        self._remember(checkpoint.memory, at_start=checkpoint.position.step <= self.floor)
        self._passing_again = True
        self.repeat_edits(checkpoint.position, checkpoint.edits)
        self._taking.set_out(checkpoint, 0)
        self._look_ahead(checkpoint.position)

    def _remember(self, memory: Any, *, at_start: bool) -> None:
        if self._loop.question.check is not None:
            self._loop.question.check.remember(memory, at_start=at_start)

    def _follow(self, branch: Branch) -> None:
        """Let everything that is recorded and asked from now on be of one branch."""
        history = self._loop.recorder.history
        self._loop.timeline = history.timeline = branch.timeline
        for each in self.branches:
            history.lineages[each.timeline] = each.lineage
        self.reach.data.follow(branch.timeline)

    def _look_ahead(self, position: Position) -> None:
        known = self._loop.recorder.known
        stop = foreseen(self._loop, position.step + 1)
        taking = self._taking
        due = [position.tick if self.replay is not None else taking.pace.look(position.tick, taking.due)]
        due += [position.tick + stop - position.step - FORESIGHT] if stop is not None else []
        if known is not None:
            due.append(min(known.until, self.branches.now.lineage.span_end(position.tick)))
            edit = self.branches.next_edit(position.tick) if self.branches.edits else None
            due += [edit] if edit is not None else []
        self.due = max(position.tick + 1, min(due))

    def _tell(self) -> None:
        """Say when a step that was taken again has come out otherwise; the first time only."""
        if self.comparison.count and not self._told:
            self._told = self.comparison.count
            self._loop.notices.append(f"not as before: {self.comparison.differences[0]}")


def _owned(position: Position) -> Position:
    loss = position.loss
    return position._replace(loss=loss.clone()) if is_tensor(loss) else position
