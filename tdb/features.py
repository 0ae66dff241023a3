"""Features: the focus layer's units, their metrics and status, as plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.counted import counted
from tdb.errors import NotCapturedError, StateError, TdbError, did_you_mean
from tdb.expressions import compile_expression, evaluate_rows
from tdb.generic_metrics import GENERIC_METRICS
from tdb.panel import StatusRule
from tdb.queries import array_of
from tdb.results import Array, Table
from tdb.step import Progress, not_yet
from tdb.target import model_of

if TYPE_CHECKING:
    from tdb.controller import DebugController
    from tdb.panel import Panel

# Without a rule that says otherwise: a unit that is never active is dead, and none is a winner.
GENERIC_STATUS = StatusRule("active_fraction", dead_below=0.01, winner_above=1.0)


@dataclass(frozen=True)
class Features:
    """The features of one step.

    Attributes:
        layer: the focus layer in words.
        count: D.
        metrics: name -> [D].
        columns: the metrics that the table shows if none is named.
        status: one word a feature.
        scatter: the metrics that `scatter` shows by default: x, y and colour.
        captured: the step was captured from its start; otherwise metrics may be missing.
        progress: how far the step has come.
        later: metrics that it may have when it is complete.
    """

    layer: str
    count: int
    metrics: Mapping[str, Array]
    columns: Sequence[str]
    status: Sequence[str]
    scatter: tuple[str, str, str]
    captured: bool = True
    progress: Progress = field(default_factory=Progress)
    later: Collection[str] = ()

    @property
    def is_complete(self) -> bool:
        """Whether the metrics that the table shows are all that there would be of a captured step."""
        return self.captured or not set(self.columns) <= set(GENERIC_METRICS)

    def metric(self, name: str) -> Array:
        """Return a metric [D]; "feature_id" is one.

        Raises:
            TdbError: there is none of this name.
            StateError: the step has not come to it.
        """
        if name == "feature_id":
            return np.arange(self.count)
        if name in GENERIC_METRICS and name not in self.metrics and not self.captured:
            raise NotCapturedError(f"{name} of this step was not captured")
        if name not in self.metrics and name in self.later:
            raise not_yet(name, self.progress)
        if name not in self.metrics:
            known = ", ".join(self.metrics)
            raise TdbError(f"no column {name!r}", did_you_mean(name, self.metrics) or f"Columns: {known}")
        return self.metrics[name]

    def groups(self) -> dict[str, list[int]]:
        """Return the features of each status."""
        return {
            word: [i for i, each in enumerate(self.status) if each == word] for word in ("dead", "contender", "winner")
        }


def panel_of(controller: DebugController) -> Panel | None:
    """Return the panel of the rule that is attached to the focus layer, if any."""
    return controller.recorder.rule()


def status_rule_of(controller: DebugController) -> StatusRule:
    """Return how a feature's status is read, as the focus layer's rule says, or for layers without one."""
    panel = panel_of(controller)
    return (panel.status if panel is not None else None) or GENERIC_STATUS


def features_of(controller: DebugController, thresholds: Mapping[str, float]) -> Features:
    """Return the features of this step; called in the training thread.

    Args:
        controller: whose focus layer and panels are asked.
        thresholds: "dead" and "winner" where the user has set them.

    Raises:
        StateError: there is no focus layer.
    """
    layer, panel = controller.layer, panel_of(controller)
    if layer.info is None:
        has_begun = model_of(controller.target) is not None
        hint = "The model has no layer with features" if has_begun else "It is there once training has begun: `start`"
        raise StateError("no focus layer", hint)
    count = layer.info.features
    metrics = {name: array_of(value) for name, value in layer.metrics().items()}
    columns = tuple(name for name in GENERIC_METRICS if name in metrics)
    if panel is not None and controller.progress.has_output:
        found = {name: array_of(value) for name, value in panel.metrics().items()}
        own = {name: value for name, value in found.items() if value.shape == (count,)}
        metrics = {**own, **metrics}
        columns = tuple(name for name in panel.columns if name in own) or columns
    rule = status_rule_of(controller).with_thresholds(thresholds)
    status = rule(metrics[rule.metric]) if rule.metric in metrics else ["unknown"] * count
    later = [] if controller.progress.complete else [*GENERIC_METRICS, *(panel.columns if panel is not None else ())]
    scatter = (panel.scatter if panel is not None else None) or ("weight_norm", "update_norm", "active_fraction")
    progress = replace(controller.progress)
    return Features(layer.title, count, metrics, columns, status, scatter, layer.captured, progress, later)


@dataclass(frozen=True)
class Choice:
    """Which rows of the table, and in which order."""

    columns: Sequence[str] = ()
    ids: Sequence[int] | None = None
    where: str = ""
    sort: str = ""
    ascending: bool = False
    top: int | None = None


def metrics_table(features: Features, choice: Choice) -> Table:
    """Return the per-feature table: chosen rows, sorted, with mean, min and max of all rows that were chosen.

    Rows whose sort value is not a number come first: what is broken must not hide at the end.

    Raises:
        TdbError: there is no such column.
        UsageError: the condition cannot be understood.
    """
    names = [name for name in (choice.columns or features.columns) if name != "feature_id"]
    values = {name: features.metric(name) for name in names}
    rows = np.arange(features.count) if choice.ids is None else np.asarray(choice.ids, dtype=int)
    if choice.where:
        known = {**features.metrics, "feature_id": features.metric("feature_id"), "id": features.metric("feature_id")}
        rows = rows[evaluate_rows(compile_expression(choice.where), known)[rows]]
    if choice.sort:
        rows = rows[sorted_order(features.metric(choice.sort)[rows], ascending=choice.ascending)]
    chosen = len(rows)
    shown = rows if choice.top is None else rows[: choice.top]
    order = f", sorted by {choice.sort} {'ascending' if choice.ascending else 'descending'}" if choice.sort else ""
    condition = f", where {choice.where}" if choice.where else ""
    return Table(
        {"feature_id": shown, **{name: value[shown] for name, value in values.items()}},
        status=[features.status[row] for row in shown],
        summary=_summary({name: value[rows] for name, value in values.items()}) if chosen else {},
        note=f"{len(shown):,} of {counted(features.count, 'row')} of {features.layer}{condition}{order}",
    )


def sorted_order(values: Array, *, ascending: bool) -> Array:
    """Return the order that sorts `values`, stable, with what is not a number first."""
    keys = values.astype(np.float64) if ascending else -values.astype(np.float64)
    return np.lexsort((np.nan_to_num(keys, nan=0.0, posinf=np.inf, neginf=-np.inf), ~np.isnan(keys)))


def _summary(values: Mapping[str, Array]) -> dict[str, dict[str, float]]:
    finite = {name: value[np.isfinite(value)].astype(np.float64) for name, value in values.items()}
    functions: dict[str, Callable[[Array], Any]] = {"mean": np.mean, "min": np.min, "max": np.max}
    return {
        label: {name: float(function(value)) if value.size else float("nan") for name, value in finite.items()}
        for label, function in functions.items()
    }
