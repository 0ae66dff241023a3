"""How the features fare by now, in rows and columns: what a tracker of their health knows, ready for a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from bcl.arrays import Array
from bcl.health import BCLHealthTracker, health_report

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Faring:
    """How the features of a run fare.

    Attributes:
        run: its name.
        epochs: one row an epoch, keys as in `EpochHealth`; the last is the one under way, if any.
        features: the features in the last epoch, [D] each, keys as in `FeatureHealth`; empty before the first step.
        steps_under_way: how many steps the epoch under way has; 0 if none is.
        report: all runs with the epochs that have ended, as `health_report` gives them.
    """

    run: str
    epochs: Sequence[Row]
    features: Row
    steps_under_way: int
    report: Mapping[str, Any]

    @property
    def data(self) -> dict[str, Any]:
        """All of it under the names that programs read."""
        return {
            "run": self.run,
            "epochs": self.epochs,
            "features": self.features or None,
            "under_way": self.steps_under_way > 0,
            **self.report,
        }

    def each_run(self) -> list[Row]:
        """Return a row for each run: its last epoch."""
        ended = [{"run": run["name"], **run["epochs"][-1]} for run in self.report["runs"][:-1] if run["epochs"]]
        return [*ended, *({"run": self.run, **epoch} for epoch in self.epochs[-1:])]

    def numbers_of(self, features: Sequence[int]) -> dict[str, Array]:
        """Return all but the status of some of the features [n], [n] by name."""
        known = {name: values for name, values in self.features.items() if name != "status" and values}
        return {name: np.asarray(values)[features] for name, values in known.items()}

    def status_of(self, features: Sequence[int]) -> list[str]:
        """Return "dead", "contender", "winner" or "unknown" for some of the features [n]."""
        return [self.features["status"][feature] for feature in features]

    def counts(self) -> dict[str, tuple[Array, Array]]:
        """Return how many features are dead, contenders and winners: (epochs [n], counts [n]) each."""
        epochs = np.asarray([row["epoch"] for row in self.epochs])
        words = ("dead", "contender", "winner")
        return {word: (epochs, np.asarray([row[word] for row in self.epochs])) for word in words}


def faring(tracker: BCLHealthTracker, weights: Tensor) -> Faring:
    """Return how the features fare, the epoch under way included as if it ended now.

    Args:
        tracker: was told of every step.
        weights: W [D, F].
    """
    report = health_report(tracker)
    run = report["runs"][-1] if report["runs"] else {"name": "", "epochs": [], "features": None}
    now = tracker.so_far(weights)
    if now is None:
        return Faring(run["name"], run["epochs"], run["features"] or {}, 0, report)
    epoch, features = now
    return Faring(run["name"], [*run["epochs"], vars(epoch)], vars(features), epoch.steps, report)


def columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Return rows as columns; what is None in a row stays blank."""
    return {name: ["" if row[name] is None else row[name] for row in rows] for name in rows[0]}
