"""Branches of a run: try something else from here, and compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tdb.commands import command
from tdb.commands.arguments import MetricName, Word
from tdb.commands.travel import IN_PLACE, arrive, need_travel
from tdb.errors import StateError, UsageError
from tdb.results import Curves, Matrix, Result, Table, Text
from tdb.similarity import cosine_matrix
from tdb.travel.compare import Pair, pair_of
from tdb.travel.edits import drop_copies

if TYPE_CHECKING:
    from torch import Tensor

    from tdb.session import Session

MOST_SHOWN = 10


@command()
def fork(session: Session, name: Word | None = None) -> Result:
    """Begin a branch here: what is changed and trained from now on is kept apart from the branch left.

    History, trajectories and what stop points remember belong to a branch; `switch` goes back to another one.

    Example:
        fork
        fork slower
    """
    need_travel(session)
    controller = session.controller
    branch = controller.gate.call(lambda: controller.travel.fork(name or ""))
    drop_copies(session, branch)
    text = f"branch {branch.name}, forked from {branch.parent} at step {branch.forked_at}"
    return Result([Text(text)], {"branch": branch.name, "parent": branch.parent, "step": branch.forked_at})


@command()
def branches(session: Session) -> Result:
    """List the branches: where each was forked, how far it has come, and what was changed on it.

    Example:
        branches
    """
    travel = session.controller.travel
    found = list(travel.branches)
    changed = {
        each.name: [
            f"{edit.text} (step {edit.step})" for edit in travel.branches.edits if edit.timeline == each.timeline
        ]
        for each in found
    }
    now, here = travel.branches.now, session.controller.position.step
    table = Table(
        {
            "branch": [each.name for each in found],
            "": ["*" if each is now else "" for each in found],
            "from": [f"{each.parent} at step {each.forked_at}" if each.parent else "" for each in found],
            "last step": [max(each.head.step, here) if each is now else each.head.step for each in found],
            "changes": ["; ".join(changed[each.name]) for each in found],
        },
        note=f"training stands at step {here} of {now.name}",
    )
    return Result([table], {"table": table, "now": now.name, "changes": changed})


@command()
def switch(session: Session, name: Word) -> Result:
    """Go to the last step of another branch.

    Example:
        switch main
    """
    need_travel(session)
    branches_ = session.controller.travel.branches
    branch = branches_.get(name)
    if branch is branches_.now:
        raise StateError(f"training is on branch {name} already", "`branches` lists them")
    drop_copies(session, branch, branches_.now)
    return arrive(session, IN_PLACE.goto(session, branch.head.step, branch=branch))


@command()
def compare(session: Session, one: Word, other: Word, *metrics: MetricName) -> Result:
    """Compare two branches: where they first differ, values at common steps, and a figure with both curves.

    Without a metric: the loss. Of a metric with a value for each feature, the mean over the features is compared.

    Example:
        compare main fork-1
        compare main fork-1 loss win_rate
    """
    found = [_pair(session, one, other, name) for name in metrics or ("loss",)]
    parts: list[Text | Table | Curves] = []
    for pair in found:
        parts += [Text(pair.sentence()), pair.table(), pair.curves()]
    return Result(parts, {pair.metric: {"first_difference": pair.first, "table": pair.table()} for pair in found})


def _pair(session: Session, one: str, other: str, metric: str) -> Pair:
    travel, history = session.controller.travel, session.controller.recorder.history
    timelines = [travel.branches.get(name).timeline for name in (one, other)]
    if one == other:
        raise UsageError("compare takes two branches", "`branches` lists them")
    columns = [
        history.loss(timeline=timeline) if metric == "loss" else history.metric(metric, timeline=timeline)
        for timeline in timelines
    ]
    forks = [travel.branches.get(name).forked_at for name in (one, other)]
    return pair_of(metric, (one, other), columns, [step for step in forks if step is not None])


def ends_of_branches(session: Session, *names: str) -> list[Tensor]:
    """Return the focus layer's weights [D, F] at the end of each branch."""
    travel = session.controller.travel
    return session.controller.call(lambda: [travel.weights_of(name) for name in names])


@command()
def diff(session: Session, what: Word, one: Word, other: Word) -> Result:
    """Compare the focus layer's weights at the end of two branches, feature by feature.

    Example:
        diff weights main fork-1
    """
    if what != "weights":
        raise UsageError(f"diff takes `weights` and two branches, not {what!r}", "Example: diff weights main fork-1")
    travel, rows = session.controller.travel, ends_of_branches(session, one, other)
    cosines = cosine_matrix(*rows)
    norms = [each.norm(dim=1).numpy() for each in rows]
    change = (rows[1] - rows[0]).norm(dim=1).numpy()
    order = np.argsort(-change, kind="stable")
    steps = [travel.last_step(name) for name in (one, other)]
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
