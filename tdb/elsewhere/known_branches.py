"""The branches of a run that cannot go back in place.

Training is on one of them in this process; those that were left are in no process any more. To go back to them it takes
what the user changed on each, and what came out, to compare with: all of that goes along from process to process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tdb.history.lineage import FOREVER
from tdb.travel.branches import MAIN, name_of_fork
from tdb.watches import Course

if TYPE_CHECKING:
    from tdb.journal import Change
    from tdb.results import Array
    from tdb.session import Session

MOST_WEIGHTS = 16 * 2**20
"""Bytes of weights that go along from process to process for each branch."""

Columns = Mapping[str, "tuple[Array, Array]"]


@dataclass(frozen=True)
class KnownBranch:
    """How a branch went, from the start of the run.

    Attributes:
        name: what the user calls it.
        parent: the name of the branch it was forked from; empty for the first.
        forked_at: the step at which it was; None for the first.
        last: the last step that was taken on it.
        changes: what the user changed on the way there.
        inherited: how many of them before it was forked.
        columns: "loss" and metrics: steps [n] and values [n] or [n, D].
        weights: [D, F] the focus layer's after `last`; None if there is no such layer, or it is larger than 16 MiB.
        course: what was followed on the way there.
    """

    name: str
    parent: str = ""
    forked_at: int | None = None
    last: int = 0
    changes: tuple[Change, ...] = ()
    inherited: int = 0
    columns: Columns = field(default_factory=dict)
    weights: Array | None = None
    course: Course = field(default_factory=Course)

    def begun_anew(self) -> KnownBranch:
        """Return the first branch of a run that begins as this one did."""
        changes = tuple(each for each in self.changes if not each.has_begun)
        return KnownBranch(MAIN, changes=changes, columns={"loss": (np.zeros(0), np.zeros(0))})

    @property
    def own_changes(self) -> tuple[Change, ...]:
        """What was changed on it since it was forked."""
        return self.changes[self.inherited :]


class KnownBranches:
    """All branches of a run, in the process in which training goes on.

    Args:
        known: the branches as they were when training came here, the one it is on first.
        here: the step it came to.
    """

    def __init__(self, known: Sequence[KnownBranch] = (KnownBranch(MAIN),), here: int = 0) -> None:
        self._now, *others = known
        self._others = {each.name: each for each in others}
        # Changes that were taken back are not made again: beyond the first, training is on another branch.
        taken_back = [each.step for each in self._now.changes if each.has_begun and each.step >= here]
        self._ends = min(taken_back, default=FOREVER)

    @property
    def others(self) -> tuple[str, ...]:
        """The names of the branches that training is not on."""
        return tuple(self._others)

    def all(self, session: Session) -> list[KnownBranch]:
        """Return all branches as they are known now, the present one first."""
        self.part_from_changes(session)
        return [self._present(session), *self._others.values()]

    def part_from_changes(self, session: Session) -> list[str]:
        """Begin a branch if a step has been passed without what was changed there, and return what has to be said."""
        at = self._ends
        if session.controller.position.step <= at:
            return []
        undone = ", ".join(each.text for each in self._now.changes if each.has_begun and each.step == at)
        self._ends = FOREVER
        if not session.controller.travel.why_not:  # it goes back in place from here on, and has branches of its own
            return [f"what was changed at step {at} was not done again: {undone}"]
        left = self._others[self._now.name] = self._now
        name, changes = name_of_fork(self._others, ""), session.journal.changes
        before = [each for each in changes if not each.has_begun or each.step < at]
        self._now = KnownBranch(name, left.name, at, at, inherited=len(before))
        return [f"what was changed at step {at} stays on branch {left.name} ({undone}); this is branch {name} now"]

    def furthest(self, here: int) -> int:
        """Return the last step of the present branch that was ever taken, if training stands at step `here` of it."""
        return max(here, self._now.last) if here <= self._ends else here

    def fork(self, session: Session, name: str) -> KnownBranch:
        """Begin a branch where training stands, and make it the present one.

        Args:
            session: the session whose branches these are.
            name: of the branch; if empty, one that no branch has.

        Raises:
            UsageError: there is a branch of this name already.
        """
        self.part_from_changes(session)
        name = name_of_fork({self._now.name, *self._others}, name)
        left, here = self._present(session), session.controller.position.step
        self._others[left.name] = left
        self._now = KnownBranch(name, left.name, here, here, inherited=len(session.journal.changes))
        self._ends = FOREVER
        _go_back_in_place_no_more(session, left.name)
        return self._now

    def fork_for_a_change(self, session: Session) -> KnownBranch | None:
        """Begin a branch if steps are known ahead, which a change here would contradict."""
        self.part_from_changes(session)
        here = session.controller.position.step
        return self.fork(session, "") if self.furthest(here) > here else None

    def _present(self, session: Session) -> KnownBranch:
        here, changes = session.controller.position.step, tuple(session.journal.changes)
        columns, course = recorded_columns(session), session.controller.recorder.watched_layers.course()
        last = self.furthest(here)
        if last == here:
            weights = _weights(session)
        else:
            weights = self._now.weights
            changes += tuple(each for each in self._now.changes if each.has_begun and each.step >= here)
            columns = {name: _joined(column, self._now.columns.get(name), here) for name, column in columns.items()}
            course = course.going_on(self._now.course, here)
        return replace(self._now, last=last, changes=changes, columns=columns, weights=weights, course=course)


def recorded_columns(session: Session) -> dict[str, tuple[Array, Array]]:
    """Return the loss and every metric of the present branch by name: steps [n] and values [n] or [n, D]."""
    history = session.controller.recorder.history
    return {"loss": history.loss(), **{name: history.metric(name) for name in history.metric_names()}}


def _go_back_in_place_no_more(session: Session, left: str) -> None:
    """A branch was left that going back in place would not know: that is off."""
    if session.settings["checkpoints.in_place"]:
        session.settings.change("checkpoints.in_place", "off")
        told = f"a run that goes back in place from here on would not know the branch {left}"
        session.journal.notices.append(f"checkpoints.in_place is off: {told}")


def _weights(session: Session) -> Array | None:
    layer = session.controller.layer
    if layer.info is None:
        return None
    weights: Array = session.controller.call(lambda: layer.weights().detach().float().cpu().numpy().copy())
    return weights if weights.nbytes <= MOST_WEIGHTS else None


def _joined(column: tuple[Array, Array], ahead: tuple[Array, Array] | None, here: int) -> tuple[Array, Array]:
    """Return a column, and after the step `here` what is known of it from before."""
    if ahead is None or ahead[1].shape[1:] != column[1].shape[1:]:
        return column
    beyond = ahead[0] > here
    return np.concatenate([column[0], ahead[0][beyond]]), np.concatenate([column[1], ahead[1][beyond]])
