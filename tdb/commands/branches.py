"""Branches of a run: try something else from here, and compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tdb.commands import command
from tdb.commands.arguments import MetricName, Word
from tdb.commands.travel import IN_PLACE, arrive, need_still, need_travel
from tdb.elsewhere.known_branches import KnownBranch
from tdb.errors import StateError, UsageError, did_you_mean
from tdb.journal import Change
from tdb.results import Curves, Matrix, Result, Table, Text
from tdb.similarity import cosine_matrix
from tdb.step import BOUNDARY
from tdb.travel.branches import Forked, named, parted_at
from tdb.travel.compare import pair_of
from tdb.travel.route import best, by_best

if TYPE_CHECKING:
    from torch import Tensor

    from tdb.elsewhere.way import Elsewhere
    from tdb.results import Array
    from tdb.session import Session
    from tdb.stopping import StopReport
    from tdb.travel.branches import Branch

MOST_SHOWN = 10


@command()
def fork(session: Session, name: Word | None = None) -> Result:
    """Begin a branch here: what is changed and trained from now on is kept apart from the branch left.

    History, trajectories and what stop points remember belong to a branch; `switch` goes back to another one. In a
    script that cannot go back in place, of the branch left losses and metrics are kept, and what was changed on it.

    Example:
        fork
        fork slower
    """
    session.need_boundary()
    travel = session.controller.travel
    if travel.why_not:
        best(session.routes, session, session.controller.position.step)  # nobody could come back otherwise
        branch: Forked = session.branches.fork(session, name or "")
    else:
        branch = session.controller.gate.call(lambda: travel.fork(name or ""))
    session.route("fork").drop_after(branch.forked_at)
    text = f"branch {branch.name}, forked from {branch.parent} at step {branch.forked_at}"
    return Result([Text(text)], {"branch": branch.name, "parent": branch.parent, "step": branch.forked_at})


@command()
def branches(session: Session) -> Result:
    """List the branches: where each was forked, how far it has come, and what was changed on it.

    Example:
        branches
    """
    here = session.controller.position.step
    if session.controller.travel.why_not:
        now, *others = session.branches.all(session)
        found: list[KnownBranch] = sorted(
            [now, *others], key=lambda each: -1 if each.forked_at is None else each.forked_at
        )
    else:
        there = session.controller.travel.branches
        found = [_known(session, each) for each in there]
        now = next(each for each in found if each.name == there.now.name)
    settings = dict(session.settings.described())
    changed = {
        each.name: [
            f"{change.text} (step {change.step})"
            for change in each.own_changes
            if not (change.text.startswith("set ") and change.text.split()[1] in settings)
        ]
        for each in found
    }
    table = Table(
        {
            "branch": [each.name for each in found],
            "": ["*" if each is now else "" for each in found],
            "from": [f"{each.parent} at step {each.forked_at}" if each.parent else "" for each in found],
            "last step": [each.last for each in found],
            "changes": ["; ".join(changed[each.name]) for each in found],
        },
        note=f"training stands at step {here} of {now.name}",
    )
    return Result([table], {"table": table, "now": now.name, "changes": changed})


def _known(session: Session, branch: Branch) -> KnownBranch:
    """Return what is to be listed of a branch that can be gone back to in place."""
    there, here = session.controller.travel.branches, session.controller.position.step
    edits = [edit for edit in there.edits if edit.timeline == branch.timeline]
    changes = tuple(Change(edit.step, True, BOUNDARY, edit.text) for edit in edits)
    last = max(branch.head.step, here) if branch is there.now else branch.head.step
    return KnownBranch(branch.name, branch.parent, branch.forked_at, last, changes)


@command()
def switch(session: Session, name: Word) -> Result:
    """Go to the last step of another branch.

    In a script that cannot go back in place, a copy of the process that was set aside before they parted takes the
    steps of that branch again, or a fresh process does, with what was changed on it.

    Example:
        switch main
    """
    need_still(session)
    if session.controller.travel.why_not:
        now, *others = session.branches.all(session)
        known = named([now, *others], name)
        _need_another(known.name, now.name)
        return by_best(session, known.last, switched, name)
    need_travel(session)
    branches_ = session.controller.travel.branches
    branch = branches_.get(name)
    _need_another(name, branches_.now.name)
    session.route("fork").drop_after(parted_at(branches_, branch, branches_.now))
    return arrive(session, IN_PLACE.goto(session, branch.head.step, branch=branch))


def switched(session: Session, way: Elsewhere, name: str) -> StopReport:
    """Go to the last step of a branch that is in no process."""
    return arrive(session, way.switch(session, name))


def _need_another(name: str, now: str) -> None:
    if name == now:
        raise StateError(f"training is on branch {name} already", "`branches` lists them")


@command()
def compare(session: Session, one: Word, other: Word, *metrics: MetricName) -> Result:
    """Compare two branches: where they first differ, values at common steps, and a figure with both curves.

    Without a metric: the loss. Of a metric with a value for each feature, the mean over the features is compared.

    Example:
        compare main fork-1
        compare main fork-1 loss win_rate
    """
    if one == other:
        raise UsageError("compare takes two branches", "`branches` lists them")
    branches, column = _recorded_of(session, one, other)
    forks = [each.forked_at for each in branches if each.forked_at is not None]
    found = [
        pair_of(metric, (one, other), [column(each, metric) for each in branches], forks)
        for metric in metrics or ("loss",)
    ]
    parts: list[Text | Table | Curves] = []
    for pair in found:
        parts += [Text(pair.sentence()), pair.table(), pair.curves()]
    return Result(parts, {pair.metric: {"first_difference": pair.first, "table": pair.table()} for pair in found})


def _recorded_of(session: Session, *names: str) -> tuple[Sequence[Forked], Callable[[Any, str], tuple[Array, Array]]]:
    """Return branches by their names, and what gives the steps [n] and values [n] or [n, D] of a metric of one."""
    if session.controller.travel.why_not:
        known = session.branches.all(session)
        return [named(known, name) for name in names], _column_of
    there, history = session.controller.travel.branches, session.controller.recorder.history

    def column(branch: Branch, metric: str) -> tuple[Array, Array]:
        if metric == "loss":
            return history.loss(timeline=branch.timeline)
        return history.metric(metric, timeline=branch.timeline)

    return [there.get(name) for name in names], column


def _column_of(branch: KnownBranch, metric: str) -> tuple[Array, Array]:
    if metric not in branch.columns:
        near = did_you_mean(metric, branch.columns) or f"Recorded: {', '.join(branch.columns)}"
        raise UsageError(f"no metric {metric!r} is known of branch {branch.name}", near)
    return branch.columns[metric]


class End(NamedTuple):
    """Where a branch ends: the focus layer's weights [D, F] after its last step."""

    weights: Tensor
    step: int


def ends_of_branches(session: Session, *names: str) -> list[End]:
    """Return where branches end."""
    travel = session.controller.travel
    if travel.why_not:
        import torch

        known = session.branches.all(session)
        ends = [named(known, name) for name in names]
        return [End(torch.from_numpy(_weights_of(end)), end.last) for end in ends]
    return session.controller.call(lambda: [End(travel.weights_of(name), travel.last_step(name)) for name in names])


def _weights_of(branch: KnownBranch) -> Array:
    if branch.weights is None:
        raise StateError(f"no weights are kept of branch {branch.name}", "Those of a layer of up to 16 MiB are")
    return branch.weights


@command()
def diff(session: Session, what: Word, one: Word, other: Word) -> Result:
    """Compare the focus layer's weights at the end of two branches, feature by feature.

    Example:
        diff weights main fork-1
    """
    if what != "weights":
        raise UsageError(f"diff takes `weights` and two branches, not {what!r}", "Example: diff weights main fork-1")
    rows, steps = zip(*ends_of_branches(session, one, other), strict=True)
    cosines = cosine_matrix(*rows)
    norms = [each.norm(dim=1).numpy() for each in rows]
    change = (rows[1] - rows[0]).norm(dim=1).numpy()
    order = np.argsort(-change, kind="stable")
    table = Table(
        {
            "feature_id": order,
            f"norm {one}": norms[0][order],
            f"norm {other}": norms[1][order],
            "norm of difference": change[order],
            "cosine": np.diagonal(cosines)[order],
        },
        note=f"{one} at step {steps[0]}, {other} at step {steps[1]}, sorted by norm of difference descending",
    )
    same = int(np.count_nonzero(change == 0))
    caption = f"cosine of the weights of {one} (rows) and {other}: {same} of {len(change)} features are the same"
    shown = Table(
        {name: values[:MOST_SHOWN] for name, values in table.columns.items()},
        note=f"{min(MOST_SHOWN, len(order))} of {len(order)} features; {table.note}",
    )
    matrix = Matrix(cosines, caption=caption, title=caption, row_name=one, column_name=other, limits=(-1, 1))
    return Result([shown, matrix], {"table": table, "cosines": cosines})
