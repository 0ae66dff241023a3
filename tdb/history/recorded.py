"""What is recorded, as any thread reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.errors import UsageError, did_you_mean
from tdb.history.budget import MIB, Budget
from tdb.history.density import Span, spans
from tdb.history.lineage import Lineage
from tdb.history.metrics import Metrics
from tdb.history.series import Series

if TYPE_CHECKING:
    from tdb.results import Array

LEFT_OUT = np.dtype([("tick", "i8"), ("step", "i8"), ("timeline", "i4")], align=True)
STEP = np.dtype(
    [("tick", "i8"), ("step", "i8"), ("wall_time", "f8"), ("loss", "f8"), ("timeline", "i4"), ("epoch", "i4")]
)


class Recorded:
    """The steps that are recorded; everything here may be called from any thread.

    Queries answer for one timeline, the newest unless another is named; they return owned arrays with the steps that
    they belong to, in the order in which the steps were recorded.
    """

    def __init__(self, budget_bytes: int = 256 * MIB) -> None:
        self.budget = Budget(budget_bytes)
        self.appended = 0
        self.timeline = 0
        self.lineages: dict[int, Lineage] = {}
        self._last = (-1, -1)  # tick and step of the newest row
        self._steps = Series(self.budget, STEP)
        self._left_out = Series(self.budget, LEFT_OUT)
        self._layers: dict[str, Metrics] = {}
        self._focus = ""
        self._features: Metrics | None = None
        self._words: list[str] = []
        self._refused = ""

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def nbytes(self) -> int:
        """Bytes taken by everything that shares the budget."""
        return self.budget.used

    @property
    def refused(self) -> str:
        """Why metrics of the focused layer are not recorded, for want of room; empty if they are."""
        return self._refused if self._features is None else ""

    @property
    def newest(self) -> tuple[int, int]:
        """Tick and step of the newest row; (-1, -1) before the first."""
        return self._last

    def layers(self) -> list[str]:
        """Return the layers that have metrics here, in the order in which they were focused."""
        return list(self._layers)

    def metric_names(self, layer: str | None = None) -> list[str]:
        """Return the metrics of `layer`, of the focused layer if None."""
        features = self._features if layer is None else self._layers.get(layer)
        return [] if features is None else list(features.names)

    def loss(
        self, first: int | None = None, last: int | None = None, timeline: int | None = None
    ) -> tuple[Array, Array]:
        """Return (steps [n], losses [n] float64) of the steps from `first` to `last`."""
        columns = self.range(first, last, timeline)
        return columns["step"], columns["loss"]

    def metric(
        self,
        name: str,
        layer: str | None = None,
        first: int | None = None,
        last: int | None = None,
        timeline: int | None = None,
    ) -> tuple[Array, Array]:
        """Return (steps [n], values [n, D] float32).

        Raises:
            UsageError: no such metric was recorded.
        """
        metrics = self._metrics(name, layer)
        snapshot = metrics.series.snapshot()
        steps = snapshot.column("step")
        rows = self.of_branch(snapshot.column("timeline"), snapshot.column("tick"), timeline)
        chosen = rows & between(steps, first, last)
        return steps[chosen], metrics.values(snapshot, name)[chosen]

    def is_beside(self, name: str, other: str) -> bool:
        """Return whether another metric is recorded of the layer, too, of which `metric(name)` is.

        What `range` has of each step, as its loss, is of no layer.

        Raises:
            UsageError: no such metric was recorded.
        """
        return name not in (STEP.names or ()) and other in self._metrics(name, None).names

    def at(self, step: int) -> dict[str, Any]:
        """Return what is recorded of one step: the columns of `range`, the metrics by name, and its mark or "".

        Raises:
            UsageError: the step is not in history; the hint names its recorded neighbours.
        """
        row = self._row_of(step)
        found: dict[str, Any] = {name: row[name].item() for name in STEP.names or ()}
        for metrics in self._layers.values():
            snapshot = metrics.series.snapshot()
            here = np.flatnonzero(snapshot.column("tick") == row["tick"])
            for name in metrics.names if len(here) else ():
                found[name] = metrics.values(snapshot, name)[here[0]]
        found["mark"] = self.marks().get(step, "")
        return found

    def last(self, count: int) -> dict[str, Array]:
        """Return the columns of `range` for the last `count` recorded steps."""
        return {name: values[max(0, len(values) - count) :] for name, values in self.range().items()}

    def range(self, first: int | None = None, last: int | None = None, timeline: int | None = None) -> dict[str, Array]:
        """Return tick, step, wall_time, loss, timeline and epoch [n] of the steps from `first` to `last`, both in.

        An epoch that the loop did not tell is -1; a loss that it did not tell is NaN.
        """
        snapshot = self._steps.snapshot()
        columns = {name: snapshot.column(name) for name in STEP.names or ()}
        chosen = self.of_branch(columns["timeline"], columns["tick"], timeline) & between(columns["step"], first, last)
        return {name: values[chosen] for name, values in columns.items()}

    def marks(self, timeline: int | None = None) -> dict[int, str]:
        """Return step -> word for the steps that were marked, a later word in place of an earlier one."""
        snapshot = self.budget.marks.snapshot()
        chosen = self.of_branch(snapshot.column("timeline"), snapshot.column("tick"), timeline)
        steps, words = snapshot.column("step")[chosen], snapshot.column("word")[chosen]
        return {int(step): self._words[word] for step, word in zip(steps, words, strict=True)}

    def left_out(self, first: int | None = None, last: int | None = None, timeline: int | None = None) -> Array:
        """Return the steps [k] from `first` to `last` that were left out by `overhead`: no other answer has them."""
        snapshot = self._left_out.snapshot()
        steps = snapshot.column("step")
        rows = self.of_branch(snapshot.column("timeline"), snapshot.column("tick"), timeline)
        missing: Array = steps[rows & between(steps, first, last)]
        return np.setdiff1d(missing, self.range(first, last, timeline)["step"])  # training stopped there

    def tables(self, stop: tuple[int, str] | None = None) -> dict[str, dict[str, Array]]:
        """Return everything that is recorded, of all timelines, as owned columns: for those who carry it elsewhere.

        `stop` is the step at which training stands, and why: it is marked when training goes on.

        "steps" has the columns of `range`, "marks" tick, step, timeline and word; "left_out" tick, step and timeline,
        if there are any; "metrics/LAYER" tick, step, timeline and a column [n, D] a metric.
        """
        snapshot = self._steps.snapshot()
        found = {"steps": {name: snapshot.column(name) for name in STEP.names or ()}}
        snapshot = self.budget.marks.snapshot()
        found["marks"] = {name: snapshot.column(name) for name in ("tick", "step", "timeline")}
        found["marks"]["word"] = np.array([self._words[word] for word in snapshot.column("word")], dtype=str)
        if stop is not None and stop[0] in found["steps"]["step"] and stop[0] not in self.marks():
            here = self._row_of(stop[0])
            row = {"tick": here["tick"], "step": here["step"], "timeline": here["timeline"], "word": stop[1]}
            found["marks"] = {name: np.append(values, row[name]) for name, values in found["marks"].items()}
        if len(self._left_out):
            snapshot = self._left_out.snapshot()
            found["left_out"] = {name: snapshot.column(name) for name in LEFT_OUT.names or ()}
        for layer, metrics in list(self._layers.items()):
            snapshot = metrics.series.snapshot()
            columns = {name: snapshot.column(name) for name in ("tick", "step", "timeline")}
            found[f"metrics/{layer}"] = columns | {name: metrics.values(snapshot, name) for name in metrics.names}
        return found

    def after(self, tick: int, lineage: Lineage) -> tuple[Array, tuple[str, ...], Array | None]:
        """Return what is recorded of a branch after the boundary `tick`, for steps that are taken again.

        Rows with tick, step and loss [n]; the names of the focused layer's metrics, and rows with tick and `values`
        [k, m, D] of them, None if there are none.
        """
        rows = self._steps.snapshot().rows_after(tick, self._steps.dtype)
        rows = rows[lineage.chosen(rows["timeline"], rows["tick"], ahead=True)]
        if self._features is None:
            return rows, (), None
        series = self._features.series
        blocks = series.snapshot().rows_after(tick, series.dtype)
        return rows, self._features.names, blocks[lineage.chosen(blocks["timeline"], blocks["tick"], ahead=True)]

    def density(self, name: str | None = None) -> list[Span]:
        """Return how densely the steps (or a metric's) are recorded, oldest first, pinned steps left out."""
        series = self._steps if name is None else self._metrics(name, None).series
        return spans(series.levels())

    def _row_of(self, step: int) -> Any:
        """Return the newest row of `step` in the newest timeline."""
        columns = self.range()
        here = np.flatnonzero(columns["step"] == step)
        if not len(here):
            steps = np.unique(columns["step"])
            near = [str(found[0]) for found in (steps[steps < step][-1:], steps[steps > step][:1]) if len(found)]
            raise UsageError(
                f"step {step} is not in history", f"Recorded nearby: {' and '.join(near)}" if near else "It is empty"
            )
        return {name: values[here[-1]] for name, values in columns.items()}

    def _metrics(self, name: str, layer: str | None) -> Metrics:
        """Return where `name` is recorded: for the focused layer, or else for another."""
        others = [self._layers[other] for other in reversed(list(self._layers))]
        where = [self._features, *others] if layer is None else [self._layers.get(layer)]
        for metrics in where:
            if metrics is not None and name in metrics.names:
                return metrics
        known = self.metric_names(layer)
        of_layer = f" of {layer}" if layer else ""
        hint = self.refused or did_you_mean(name, known) or f"Recorded: {', '.join(known) or 'none'}"
        raise UsageError(f"no metric {name!r}{of_layer} in history", hint)

    def of_branch(self, timelines: Array, ticks: Array, timeline: int | None = None) -> Array:
        """Return [n] bool: the rows of one timeline, and of those it was forked from.

        Of the newest, what lies beyond the point to which training has gone back is left out; a timeline that is named
        comes whole.
        """
        number = self.timeline if timeline is None else timeline
        lineage = self.lineages.get(number)
        if lineage is None:
            rows: Array = timelines == number
            return rows
        return lineage.chosen(timelines, ticks, ahead=timeline is not None)


def between(steps: Array, first: int | None, last: int | None) -> Array:
    """Return which of `steps` [n] lie from `first` to `last`, both in; None is the first or the last there is."""
    chosen = np.ones(steps.shape, dtype=bool)
    if first is not None:
        chosen &= steps >= first
    if last is not None:
        chosen &= steps <= last
    return chosen
