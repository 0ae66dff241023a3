"""`health`: how the features fare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bcl.health import health_report
from bcl.panel.attached import attached_to
from tdb.panel import Curves, Ids, Result, StateError, Table, command, counted, feature_ids, features_now

if TYPE_CHECKING:
    from tdb.panel import Session


@command(running="queued", topic="bcl")
def health(session: Session, *ids: Ids, runs: bool = False) -> Result:
    """Show how the features fare, epoch by epoch: how many are dead, contenders and winners, stale and unreachable.

    gini says how unequal the win rates are, top5_share what share the best five have, dead_diversity how alike the 20
    features of lowest win rate are (mean cosine), velocity how far weights moved since the last epoch. The last line is
    the epoch under way. With IDS: the features themselves, by the mean of this epoch's win rates. `health runs`
    compares the conditions trained so far.

    Example:
        health
        health 31
        health @dead
        health runs
    """

    def look() -> tuple[Any, Any]:
        panel = attached_to(session)
        if panel.tracker is None:
            raise StateError("nobody follows the features' health here", "bcl_panel takes a BCLHealthTracker")
        return panel.tracker.so_far(panel.bcl.layer.weight), health_report(panel.tracker)

    now, report = session.ask(look)
    run = report["runs"][-1]
    epochs = [*run["epochs"], *([vars(now[0])] if now else [])]
    features = vars(now[1]) if now else run["features"]
    data = {"run": run["name"], "epochs": epochs, "features": features, "under_way": now is not None, **report}
    if not (epochs or (runs and len(report["runs"]) > 1)):
        raise StateError("no step has been taken yet", "`step` takes the first")
    if runs:
        ended = [{"run": each["name"], **each["epochs"][-1]} for each in report["runs"][:-1] if each["epochs"]]
        lines = [*ended, *({"run": run["name"], **epoch} for epoch in epochs[-1:])]
        each = "each " if len(lines) > 1 else ""
        table = Table(_columns(lines), note=f"{counted(len(lines), 'run')}, {each}in its last epoch")
        return Result([table], {**data, "table": table})
    if ids:
        rows = feature_ids(session, ids, features_now(session))
        columns = {name: np.asarray(column)[rows] for name, column in features.items() if name != "status" and column}
        steps = counted(epochs[-1]["steps"], "step")
        table = Table(
            {"feature_id": rows, **columns},
            status=[features["status"][row] for row in rows],
            note=f"means of epoch {epochs[-1]['epoch']}, {steps}" + (", under way" if now else ""),
        )
        return Result([table], {**data, "table": table})
    under_way = f", the last one under way for {counted(now[0].steps, 'step')}" if now else ""
    table = Table(_columns(epochs), title=run["name"], note=f"{counted(len(epochs), 'epoch')}{under_way}")
    parts: list[Any] = [table]
    if len(epochs) > 1:
        numbers = np.asarray([epoch["epoch"] for epoch in epochs])
        counts = {word: np.asarray([epoch[word] for epoch in epochs]) for word in ("dead", "contender", "winner")}
        caption = ", ".join(f"{values[-1]} {word}" for word, values in counts.items())
        lines_of = {word: (numbers, values) for word, values in counts.items()}
        parts.append(Curves(lines_of, "features", "epoch", caption=caption, title=f"health of {run['name']}"))
    return Result(parts, {**data, "table": table})


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return rows as columns; what there is not stays blank."""
    return {name: ["" if row[name] is None else row[name] for row in rows] for name in rows[0]}
