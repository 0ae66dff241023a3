"""Watching features: their weights and metrics, followed from step to step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdb import over_time
from tdb.commands import command
from tdb.commands.arguments import Count, Ids, MetricName, StepNumber
from tdb.commands.time import curves_result, what_is_missing
from tdb.counted import counted
from tdb.errors import StateError, TdbError, UsageError, did_you_mean
from tdb.ids import looks_like_ids
from tdb.results import Result, Table, Text
from tdb.this_step import some_ids

if TYPE_CHECKING:
    from tdb.session import Session

FIRST_METRICS = 6
"""Weight cosine and the first five metrics: what still fits on a page."""


@command(running="yes")
def watch(session: Session, *ids: Ids, clear: bool = False) -> Result:
    """Follow features: their weights and metrics at every step, whether training steps or runs.

    `watch 3 17` replaces the set, `watch +10` adds to it, `watch` lists it, `watch clear` forgets the trajectories and
    goes on watching. To stop when a value changes: `break changed EXPR`.

    Example:
        watch 0 15 31 47 63
        watch +10
        watch 0:64:16
        watch clear
    """
    recorder = session.controller.recorder
    if clear:
        if ids:
            raise UsageError("watch clear forgets all trajectories, and takes no features", "Example: watch clear")
        session.at_boundary(recorder.clear_trajectories)
    elif ids:
        adding = [word.startswith("+") for word in ids]
        if any(adding) and not all(adding):
            raise UsageError("watch either replaces the set or adds to it", "watch 3 17, or watch +3 +17")
        for word in ids:
            if not looks_like_ids(word.removeprefix("+")):
                hint = f"to stop when a value changes: break changed {word}"
                raise UsageError("watch follows features; " + hint)
        chosen = _features_named(session, [word.removeprefix("+") for word in ids], "`unwatch` follows none")
        session.at_boundary(lambda: recorder.watch(chosen, replace=not all(adding)))
    return _watched(session)


@command(running="yes")
def unwatch(session: Session, *ids: Ids) -> Result:
    """Stop following features; without ids, all of them. Their trajectories stay.

    Example:
        unwatch 0
    """
    recorder = session.controller.recorder
    chosen = some_ids(session, ids) if ids else recorder.watched()
    session.at_boundary(lambda: recorder.unwatch(chosen))
    return _watched(session)


def _features_named(session: Session, words: list[str], hint: str = "") -> list[int]:
    """Return the features that words name; where there are words, there are features.

    Raises:
        TdbError: the words name none, or one that there is not.
    """
    chosen = some_ids(session, words)
    if words and not chosen:
        raise TdbError(f"{' '.join(words)} is no feature now", hint)
    return chosen


def _watched(session: Session) -> Result:
    recorder = session.controller.recorder
    watched = recorder.watched()
    if not recorder.history.layers() and not recorder.watches.features():
        words = ", ".join(map(str, watched)) if watched else "nothing"
        return Result([Text(f"watching {words}")], {"watched": watched, "trajectories": {}})
    points = {feature: len(recorder.watches.trajectory(feature)["step"]) for feature in recorder.watches.features()}
    shown = list(dict.fromkeys([*watched, *points]))
    table = Table(
        {
            "feature_id": shown,
            "watched": ["yes" if feature in watched else "no" for feature in shown],
            "points": [points.get(feature, 0) for feature in shown],
        },
        note=f"watching {counted(len(watched), 'feature')} of {session.controller.layer.title}",
    )
    return Result([table], {"watched": watched, "trajectories": {str(key): value for key, value in points.items()}})


@command("t", running="now")
def traj(
    session: Session,
    *metrics_and_ids: MetricName,
    from_: StepNumber | None = None,
    to: StepNumber | None = None,
    smooth: Count = 1,
    log: bool = False,
    table: bool = False,
    pairs: bool = False,
) -> Result:
    """Draw the trajectories of watched features: one line a feature, a panel a metric.

    Without a metric: weight_cos_to_init and the first metrics of the rule. `pairs` draws the cosine of the weights of
    each pair of watched features instead; `smooth N` a trailing mean over N steps; `table` the numbers.

    Example:
        traj
        traj win_rate 0 31 from 100 to 500 smooth 10
        traj pairs
    """
    watches = session.controller.recorder.watches
    if not watches.features():
        raise StateError("no feature was watched yet", "`watch 3 17` follows features from the next step on")
    ids = _features_named(session, [word for word in metrics_and_ids if looks_like_ids(word)])
    names = [word for word in metrics_and_ids if not looks_like_ids(word)]
    features = ids or watches.features()
    marks, gaps = session.marks(), session.controller.recorder.history.left_out()
    if pairs and (names or log):
        what = f"no {names[0]}" if names else "they have no logarithm"
        raise UsageError(f"traj pairs draws cosines of weights, and {what}", "Example: traj pairs 0 31 from 100 to 500")
    if pairs:
        curves = [over_time.pair_curves(watches, ids, from_, to, smooth, marks, gaps)]
    else:
        known = watches.metric_names()
        for name in names:
            if name not in known and len(known) == 1:
                raise StateError("the trajectories have no step yet", "The next one begins them")
            if name not in known:
                near = did_you_mean(name, known) or f"Metrics: {', '.join(known)}"
                raise TdbError(f"no trajectory of {name!r}", near)
        curves = [
            over_time.trajectory_curves(watches, name, features, from_, to, smooth, log, marks, gaps)
            for name in names or known[:FIRST_METRICS]
        ]
    return curves_result(session, curves, what_is_missing(session, watches.density(), from_, to), as_table=table)


@command(running="now")
def pairs(session: Session) -> Result:
    """Draw the cosine similarity of the watched features' weights now.

    Example:
        pairs
    """
    matrix = session.at_boundary(lambda: over_time.pair_matrix(session.controller.recorder.watches))
    return Result([matrix], {"ids": matrix.row_ids, "cosines": matrix.values})
