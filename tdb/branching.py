"""The branches of a run, wherever they are kept: in this process where training goes back in place, else in none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tdb.arrival import arrive
from tdb.errors import StateError, UsageError, did_you_mean
from tdb.travel.branches import named, parted_at
from tdb.travel.in_place import InPlace, need_in_place
from tdb.travel.route import best, by_best

if TYPE_CHECKING:
    from torch import Tensor

    from tdb.elsewhere.known_branches import KnownBranch
    from tdb.elsewhere.way import Elsewhere
    from tdb.results import Array, Result
    from tdb.session import Session
    from tdb.stopping import StopReport
    from tdb.travel.branches import Forked


class Listed(NamedTuple):
    """What is to be told of a branch.

    Attributes:
        name: what the user calls it.
        parent: the name of the branch it was forked from; empty for the first.
        forked_at: the step at which it was; None for the first.
        last: the last step that was taken on it.
        changes: what was changed on it, and at which step.
    """

    name: str
    parent: str
    forked_at: int | None
    last: int
    changes: Sequence[tuple[str, int]]


class End(NamedTuple):
    """Where a branch ends: the focus layer's weights [D, F] after its last step."""

    weights: Tensor
    step: int


class Branching(Protocol):
    """What can be done with branches, and what is known of them; a name that none has raises UsageError."""

    @property
    def now(self) -> str:
        """The name of the branch that training is on."""

    def fork(self, name: str) -> Forked:
        """Begin a branch here; without a name, one that no branch has."""

    def switch(self, name: str) -> Result:
        """Go to the last step of another branch."""

    def listed(self) -> list[Listed]:
        """Return all branches, in the order in which they began."""

    def column(self, name: str, metric: str) -> tuple[Array, Array]:
        """Return the steps [n] and values [n] or [n, D] of the loss, or of a metric, on a branch."""

    def end(self, name: str) -> End:
        """Return where a branch ends; raises StateError if its weights are not kept."""


class InThisProcess:
    """Branches of a run that goes back in place: everything is kept of them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._travel = session.controller.travel

    @property
    def now(self) -> str:
        """The name of the branch that training is on."""
        return self._travel.branches.now.name

    def fork(self, name: str) -> Forked:
        """Begin a branch here."""
        return self._session.controller.gate.call(lambda: self._travel.fork(name))

    def switch(self, name: str) -> Result:
        """Go to the last step of another branch, from a checkpoint before it."""
        session, branches, way = self._session, self._travel.branches, InPlace()
        need_in_place(session)
        branch = branches.get(name)
        session.route("fork").drop_after(parted_at(branches, branch, branches.now))
        return arrive(session, way.goto(session, branch.head.step, branch=branch))

    def listed(self) -> list[Listed]:
        """Return all branches."""
        branches, here = self._travel.branches, self._session.controller.position.step
        return [
            Listed(
                each.name,
                each.parent,
                each.forked_at,
                max(each.head.step, here) if each is branches.now else each.head.step,
                [(edit.text, edit.step) for edit in branches.edits if edit.timeline == each.timeline],
            )
            for each in branches
        ]

    def column(self, name: str, metric: str) -> tuple[Array, Array]:
        """Return what history has of a branch."""
        history, timeline = self._session.controller.recorder.history, self._travel.branches.get(name).timeline
        return history.loss(timeline=timeline) if metric == "loss" else history.metric(metric, timeline=timeline)

    def end(self, name: str) -> End:
        """Return where a branch ends."""
        return End(*self._session.controller.call(lambda: self._travel.end_of(name)))


class InNoProcess:
    """Branches of any other run: what was changed on them is known, and what came out; another process goes there."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @cached_property
    def _known(self) -> list[KnownBranch]:
        # Reads all that is recorded: not for a fork, which does so itself.
        return self._session.branches.all(self._session)

    @property
    def now(self) -> str:
        """The name of the branch that training is on."""
        return self._known[0].name

    def fork(self, name: str) -> Forked:
        """Begin a branch here, unless nobody could come back."""
        session = self._session
        best(session.routes, session, session.controller.position.step)
        return session.branches.fork(session, name)

    def switch(self, name: str) -> Result:
        """Go to the last step of another branch, in a copy set aside before they parted, or a fresh process."""
        return by_best(self._session, self._get(name).last, switched, name)

    def listed(self) -> list[Listed]:
        """Return all branches."""
        found = sorted(self._known, key=lambda each: -1 if each.forked_at is None else each.forked_at)
        return [
            Listed(
                each.name,
                each.parent,
                each.forked_at,
                each.last,
                [(change.text, change.step) for change in each.own_changes],
            )
            for each in found
        ]

    def column(self, name: str, metric: str) -> tuple[Array, Array]:
        """Return what has come along of a branch."""
        columns = self._get(name).columns
        if metric not in columns:
            near = did_you_mean(metric, columns) or f"Recorded: {', '.join(columns)}"
            raise UsageError(f"no metric {metric!r} is known of branch {name}", near)
        return columns[metric]

    def end(self, name: str) -> End:
        """Return where a branch ends."""
        import torch

        branch = self._get(name)
        if branch.weights is None:
            raise StateError(f"no weights are kept of branch {name}", "Those of a layer of up to 16 MiB are")
        return End(torch.from_numpy(branch.weights), branch.last)

    def _get(self, name: str) -> KnownBranch:
        return named(self._known, name)


def branching_of(session: Session) -> Branching:
    """Return the branches of a session's run."""
    return InNoProcess(session) if session.controller.travel.why_not else InThisProcess(session)


def switched(session: Session, way: Elsewhere, name: str) -> StopReport:
    """Go to the last step of a branch that is in no process."""
    return arrive(session, way.switch(session, name))
