"""Forces: what one step did to the focus layer's weight, part by part, as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.queries import array_of
from tdb.results import Array, Table
from tdb.sources import rule_parts
from tdb.step import not_yet

if TYPE_CHECKING:
    from tdb.controller import DebugController

MOST_OPPOSED = 10


@dataclass(frozen=True)
class Forces:
    """What one step did to the focus layer's weight.

    Attributes:
        weights: [D, F], after the step.
        parts: part name -> [D, F]: "grad" first, then the rule's own; they add up to `combined`.
        status: one word a feature.
        combined: [D, F], after - before.
    """

    weights: Array
    parts: Mapping[str, Array]
    combined: Array
    status: Sequence[str] = ()
    norms: Mapping[str, Array] = field(init=False)

    def __post_init__(self) -> None:
        norms = {f"{name}_delta": np.linalg.norm(part, axis=1) for name, part in self.parts.items()}
        object.__setattr__(self, "norms", {**norms, "combined": np.linalg.norm(self.combined, axis=1)})

    @property
    def rule_part(self) -> str:
        """The name of the rule's first part, empty without one."""
        return next((name for name in self.parts if name != "grad"), "")

    def cosine(self) -> Array:
        """Return the cosine of the gradient's part with the rule's [D]; NaN where one of them is zero."""
        grad, rule = self.parts["grad"].astype(np.float64), self.parts[self.rule_part].astype(np.float64)
        product = np.linalg.norm(grad, axis=1) * np.linalg.norm(rule, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(product > 0, (grad * rule).sum(axis=1) / product, np.nan)

    def table(self, ids: Sequence[int], note: str = "") -> Table:
        """Return a row for each of `ids`: the norms of the parts, the cosine of gradient and rule, the status."""
        rows = np.asarray(ids, dtype=int)
        columns: dict[str, Array] = {"feature_id": rows, **{name: norm[rows] for name, norm in self.norms.items()}}
        if self.rule_part:
            columns[f"cos_grad_{self.rule_part}"] = self.cosine()[rows]
        status = [self.status[row] for row in rows] if self.status else []
        return Table(columns, status=status, note=note or "norms of the step's parts, L2")

    def agreement(self) -> dict[str, Any]:
        """Return how many features' parts agree, fight or cannot be compared, the parts' norms, and their ratio.

        The norms are those of displacements of the whole weight, as in the columns of `table`: `grad_norm` is a metric.
        """
        grad = float(np.linalg.norm(self.parts["grad"].astype(np.float64)))
        if not self.rule_part:
            return {"grad_delta_norm": grad}
        cosine = self.cosine()
        rule = float(np.linalg.norm(self.parts[self.rule_part].astype(np.float64)))
        return {
            "agree": int((cosine > 0).sum()),
            "fight": int((cosine < 0).sum()),
            "orthogonal": int((cosine == 0).sum()),
            "undefined": int(np.isnan(cosine).sum()),
            f"{self.rule_part}_delta_norm": rule,
            "grad_delta_norm": grad,
            f"{self.rule_part}_to_grad": rule / grad if grad else float("inf") if rule else float("nan"),
        }

    def most_opposed(self) -> list[int]:
        """Return the features whose parts point apart most, at most ten, the most opposed first."""
        cosine = self.cosine()
        return [int(row) for row in np.argsort(cosine, kind="stable") if cosine[row] < 0][:MOST_OPPOSED]


def forces_of(controller: DebugController, status: Sequence[str]) -> Forces:
    """Return the forces of this step; called in the training thread.

    Raises:
        StateError: the step was not captured from its start.
    """
    layer = controller.layer
    if not controller.progress.has_update:
        raise not_yet("forces", controller.progress)
    parts = layer.forces(rule_parts(controller))
    return Forces(
        array_of(layer.weights()),
        {name: array_of(part) for name, part in parts.items()},
        array_of(layer.combined()),
        status,
    )
