"""The door through which a learning rule enters tdb: one declaration, and the only module a rule may import.

    panel = Panel(
        name="bcl",
        layer="encoder.0",
        metrics=rule.get_step_metrics,          # {"win_rate": [D], ..., "mean_novelty": []}
        columns=("win_rate", "grad_magnitude"),
        status=StatusRule("win_rate", dead_below=0.01, winner_above=0.05),
        sources={"som_targets": lambda: rule.last["som_targets"]},
        forces={"som": lambda: rule.last["som_delta"]},
        inert=rule.inert,
    )
    controller.add_panel(panel)

Everything here is called in the training thread, at a boundary, and only if somebody looks.

A rule that has commands of its own takes what they need from here, too: `from tdb.panel import Result, Table, command`.
That is handed on from where it lives, and imported when it is asked for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.captures import Lazy

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from tdb.commands import command
    from tdb.commands.arguments import Count, Ids, Integer, Kind
    from tdb.counted import counted
    from tdb.errors import StateError, TdbError, UsageError, did_you_mean, in_words
    from tdb.queries import array_of, bounds_of
    from tdb.results import Curves, Facts, Images, Matrix, Page, Picture, Profiles, Result, Table, Text
    from tdb.session import Session
    from tdb.step import not_yet
    from tdb.this_step import feature_ids, features_now, row_image_shape

__all__ = [
    "Count",
    "Curves",
    "Facts",
    "Ids",
    "Images",
    "Integer",
    "Kind",
    "Matrix",
    "Page",
    "Panel",
    "Picture",
    "Profiles",
    "Result",
    "Session",
    "StateError",
    "StatusRule",
    "Table",
    "TdbError",
    "Text",
    "UsageError",
    "array_of",
    "bounds_of",
    "command",
    "counted",
    "did_you_mean",
    "feature_ids",
    "features_now",
    "in_words",
    "not_yet",
    "row_image_shape",
]

_HOMES = {
    "tdb.commands": ("command",),
    "tdb.commands.arguments": ("Count", "Ids", "Integer", "Kind"),
    "tdb.counted": ("counted",),
    "tdb.errors": ("StateError", "TdbError", "UsageError", "did_you_mean", "in_words"),
    "tdb.queries": ("array_of", "bounds_of"),
    "tdb.results": (
        *("Curves", "Facts", "Images", "Matrix", "Page", "Picture", "Profiles", "Result", "Table", "Text"),
    ),
    "tdb.session": ("Session",),
    "tdb.step": ("not_yet",),
    "tdb.this_step": ("feature_ids", "features_now", "row_image_shape"),
}


def __getattr__(name: str) -> Any:
    """Hand on what a rule's commands need."""
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'tdb.panel' has no attribute {name!r}")
    return getattr(import_module(home), name)


@dataclass(frozen=True)
class StatusRule:
    """How a feature's status is read from one metric: dead below one value, winner above another."""

    metric: str
    dead_below: float
    winner_above: float

    def __call__(self, values: NDArray[Any]) -> list[str]:
        """Return one word a feature for `values` [D]; a value that is not a number is "unknown"."""
        words = np.select(
            [np.isnan(values), values < self.dead_below, values > self.winner_above],
            ["unknown", "dead", "winner"],
            "contender",
        )
        return [str(word) for word in words]

    def with_thresholds(self, chosen: Mapping[str, float]) -> StatusRule:
        """Return the rule with "dead" and "winner" as the user has set them, where that is so."""
        dead, winner = chosen.get("dead", self.dead_below), chosen.get("winner", self.winner_above)
        return replace(self, dead_below=dead, winner_above=winner)


@dataclass(frozen=True)
class Recorded:
    """How a rule's metrics are recorded: those of many steps are computed together.

    Attributes:
        parts: gives what a step's metrics are made of: n tensors [D], the same n in every step; none before the first.
            They must not change afterwards, and should not hold much memory.
        columns: makes the panel's columns, [k, D] each, of the parts [k, n, D] of k steps.
    """

    parts: Callable[[], Sequence[Tensor]]
    columns: Callable[[Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Panel:
    """What a learning rule shows of itself.

    Attributes:
        name: the rule's name, for messages.
        layer: the layer it is attached to, by its name in the model.
        metrics: gives the step's metrics by name: [D] tensors, one value a feature, and scalars. If it takes `names`,
            it is asked for some of them at a time, and computes no others. It must not change anything.
        columns: the per-feature metrics that the table shows, in order.
        status: how a feature's status is read from the metrics.
        sources: name -> gives a tensor that can be looked at; rows are features where there are D of them.
        forces: part name -> gives [D, F]: what the rule itself added to the layer's weight in this step. With the
            optimizer's part ("grad", measured by tdb) the parts add up to the step's change.
        scatter: the two metrics that `scatter` shows by default, and the one that colours the points.
        commands: further commands, functions as in `tdb.commands`.
        inert: a context in which the rule's hooks do nothing: what is evaluated at the prompt runs inside it.
        state: gives all that the rule would need to go on from here (counters, neighbours), for checkpoints.
        restore: takes what `state` gave.
        settings: gives the constants that can be changed while training stands, with their values.
        change: takes the name of one of them and another value; raises ValueError if it cannot be that.
        recorded: how the columns are recorded; without it a step's `metrics` are computed at once, which takes longer.
        step_data: key -> gives what `data KEY` shows of a step, as if the loop had handed it over in each. If it takes
            `names`, a condition on entries has it give them alone.
    """

    name: str
    layer: str
    metrics: Callable[..., Mapping[str, Tensor]]
    columns: Sequence[str]
    status: StatusRule | None = None
    sources: Mapping[str, Callable[[], Tensor]] = field(default_factory=dict)
    forces: Mapping[str, Callable[[], Tensor]] = field(default_factory=dict)
    scatter: tuple[str, str, str] | None = None
    commands: Sequence[Callable[..., Any]] = ()
    inert: Callable[[], AbstractContextManager[Any]] = nullcontext
    state: Callable[[], Mapping[str, Any]] = dict
    restore: Callable[[Mapping[str, Any]], None] | None = None
    settings: Callable[[], Mapping[str, int | float]] = dict
    change: Callable[[str, Any], None] | None = None
    recorded: Recorded | None = None
    step_data: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    @cached_property
    def takes_names(self) -> bool:
        """Whether the rule can be asked for some of its metrics."""
        return _takes_names(self.metrics)

    @cached_property
    def offered(self) -> Mapping[str, Lazy]:
        """The step data as a step keeps them until somebody looks."""
        return {key: Lazy(give, takes_names=_takes_names(give)) for key, give in self.step_data.items()}

    def some_metrics(self, names: Collection[str]) -> Mapping[str, Tensor]:
        """Return those of the rule's metrics that are among `names`, computing no others if the rule can do so."""
        if self.takes_names:
            return self.metrics(names=names)
        return {name: value for name, value in self.metrics().items() if name in names}


def _takes_names(give: Callable[..., Any]) -> bool:
    return "names" in inspect.signature(give).parameters
