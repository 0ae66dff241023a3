"""Branches of a run: try something else from here, and compare."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np

from tdb.branching import End, branching_of
from tdb.commands import command
from tdb.commands.arguments import BranchName, Kind, MetricName, Name, some
from tdb.commands.travel import need_still
from tdb.counted import counted
from tdb.errors import StateError, UsageError
from tdb.results import Curves, Matrix, Result, Table, Text
from tdb.similarity import cosine_matrix
from tdb.travel.branches import named
from tdb.travel.compare import pair_of

if TYPE_CHECKING:
    from tdb.session import Session

Weights = Annotated[str, Kind("weights", complete=some(["weights"]))]
MOST_SHOWN = 10


@command()
def fork(session: Session, name: Name | None = None) -> Result:
    """Begin a branch here: what is changed and trained from now on is kept apart from the branch left.

    History, trajectories and what stop points remember belong to a branch; `switch` goes back to another one. In a
    script that cannot go back in place, of the branch left losses and metrics are kept, and what was changed on it.

    Example:
        fork
        fork slower
    """
    session.need_boundary()
    branch = branching_of(session).fork(name or "")
    session.route("fork").drop_after(branch.forked_at)
    text = f"branch {branch.name}, forked from {branch.parent} at step {branch.forked_at}"
    return Result([Text(text)], {"branch": branch.name, "parent": branch.parent, "step": branch.forked_at})


@command()
def branches(session: Session) -> Result:
    """List the branches: where each was forked, how far it has come, and what was changed on it.

    Example:
        branches
    """
    here, kept = session.controller.position.step, branching_of(session)
    found, now, settings = kept.listed(), kept.now, dict(session.settings.described())
    changed = {
        each.name: [
            f"{text} (step {step})"
            for text, step in each.changes
            if not (text.startswith("set ") and text.split()[1] in settings)
        ]
        for each in found
    }
    table = Table(
        {
            "branch": [each.name for each in found],
            "": ["*" if each.name == now else "" for each in found],
            "from": [f"{each.parent} at step {each.forked_at}" if each.parent else "" for each in found],
            "last step": [each.last for each in found],
            "changes": ["; ".join(changed[each.name]) for each in found],
        },
        note=f"training stands at step {here} of {now}",
    )
    return Result([table], {"table": table, "now": now, "changes": changed})


@command()
def switch(session: Session, name: BranchName) -> Result:
    """Go to the last step of another branch.

    In a script that cannot go back in place, a copy of the process that was set aside before they parted takes the
    steps of that branch again, or a fresh process does, with what was changed on it.

    Example:
        switch main
    """
    need_still(session)
    kept = branching_of(session)
    named(kept.listed(), name)
    if name == kept.now:
        raise StateError(f"training is on branch {name} already", "`branches` lists them")
    return kept.switch(name)


@command()
def compare(session: Session, one: BranchName, other: BranchName, *metrics: MetricName) -> Result:
    """Compare two branches: where they first differ, values at common steps, and a figure with both curves.

    Without a metric: the loss. Of a metric with a value for each feature, the mean over the features is compared.

    Example:
        compare main fork-1
        compare main fork-1 loss win_rate
    """
    _need_two(one, other)
    kept = branching_of(session)
    listed = kept.listed()
    forks = [at for name in (one, other) if (at := named(listed, name).forked_at) is not None]
    found = [
        pair_of(metric, (one, other), [kept.column(name, metric) for name in (one, other)], forks)
        for metric in metrics or ("loss",)
    ]
    parts: list[Text | Table | Curves] = []
    for pair in found:
        parts += [Text(pair.sentence()), replace(pair.table(), exact=pair.whole_table()), pair.curves()]
    return Result(parts, {pair.metric: {"first_difference": pair.first, "table": pair.table()} for pair in found})


def ends_of_branches(session: Session, one: str, other: str) -> list[End]:
    """Return where branches end."""
    _need_two(one, other)
    kept = branching_of(session)
    return [kept.end(one), kept.end(other)]


def _need_two(one: str, other: str) -> None:
    if one == other:
        raise UsageError(f"{one} is compared with itself: two branches are wanted", "`branches` lists them")


@command()
def diff(session: Session, what: Weights, one: BranchName, other: BranchName) -> Result:
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
    caption = f"cosine of the weights of {one} (rows) and {other}: {same} of {counted(len(change), 'feature')} the same"
    shown = Table(
        {name: values[:MOST_SHOWN] for name, values in table.columns.items()},
        note=f"{min(MOST_SHOWN, len(order))} of {counted(len(order), 'feature')}; {table.note}",
    )
    title = f"weights of {one} and {other}"
    matrix = Matrix(cosines, caption=caption, title=title, row_name=one, column_name=other, limits=(-1, 1))
    return Result([shown, matrix], {"table": table, "cosines": cosines})
