"""How the features fare over a run: who is dead, who wins, who has stopped to change. Epoch by epoch, run by run.

    tracker = BCLHealthTracker()
    tracker.begin_run("bcl-slow")
    ...
    tracker.record_bcl_step(bcl.get_step_metrics(METRICS))     # every step
    tracker.end_epoch(layer.weight)                            # every epoch
    health_report(tracker)

Recording a step adds up three rows on the device and waits for nothing; numbers are read back at the end of an epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bcl.vital_signs import (
    STALE_EPOCHS,
    Floats,
    dead_diversity,
    gini,
    stale,
    statuses,
    top5_share,
    unreachable,
    velocity,
)

METRICS = ("win_rate", "grad_magnitude", "som_magnitude")


@dataclass(frozen=True)
class EpochHealth:
    """One epoch in a line.

    Attributes:
        epoch: counts the run's epochs from 1.
        steps: how many steps it had.
        dead: how many features have a win rate below 0.01, by the mean of the batches' win rates.
        contender: how many lie between.
        winner: how many have a win rate above 0.05.
        stale: how many have kept their win rate over five epochs.
        unreachable: how many are moved by neither force.
        gini: how unequal the win rates are: 0 if all are equal, towards 1 if one feature wins everything.
        top5_share: the share of the five highest win rates in the sum of all.
        dead_diversity: mean cosine among the weights of the 20 features of lowest win rate; None without weights.
        velocity: mean length of a weight's change since the last epoch; None without two epochs' weights.
    """

    epoch: int
    steps: int
    dead: int
    contender: int
    winner: int
    stale: int
    unreachable: int
    gini: float
    top5_share: float
    dead_diversity: float | None
    velocity: float | None


@dataclass(frozen=True)
class FeatureHealth:
    """The features in one epoch, [D] each.

    Attributes:
        win_rate: mean of the batches' win rates.
        grad_magnitude: mean of what the mask lets pass.
        som_magnitude: mean of the images' pulls; 0 under a rule that does not pull.
        status: "dead", "contender" or "winner"; "unknown" where the win rate is not a number.
        stale: whether its win rate has not changed over five epochs.
        unreachable: whether neither force moves it.
        velocity: length of the weight's change since the last epoch; empty without two epochs' weights.
    """

    win_rate: Sequence[float]
    grad_magnitude: Sequence[float]
    som_magnitude: Sequence[float]
    status: Sequence[str]
    stale: Sequence[bool]
    unreachable: Sequence[bool]
    velocity: Sequence[float]


@dataclass(frozen=True)
class Run:
    """One run's health.

    Attributes:
        name: of the run, such as "bcl-slow".
        epochs: one line an epoch.
        features: the features in the last epoch; None before the first has ended.
        log: step -> win rates [D] of the batch, every so many steps; steps count from 1.
    """

    name: str
    epochs: tuple[EpochHealth, ...] = ()
    features: FeatureHealth | None = None
    log: Mapping[int, Tensor] = field(default_factory=dict)


@dataclass(slots=True)
class _Epoch:
    """What an epoch under way, and the ones before it, leave for its end."""

    step: int = 0  # of the run
    steps: int = 0  # of this epoch
    sums: dict[str, Tensor] = field(default_factory=dict)  # [D] each
    win_rates: tuple[Floats, ...] = ()  # of the last epochs, [D] each
    weights: Tensor | None = None  # [D, F], at the end of the last epoch

    def copy(self) -> _Epoch:
        return replace(self, sums={name: total.clone() for name, total in self.sums.items()})


class BCLHealthTracker:
    """Follows the health of a layer's features over one or several runs."""

    def __init__(self, log_every: int = 500) -> None:
        self.log_every = log_every
        self.runs: tuple[Run, ...] = ()
        self._now = _Epoch()

    def begin_run(self, name: str) -> None:
        """Begin a run anew; what is known of other runs stays, an earlier one of this name goes."""
        self.runs = (*(run for run in self.runs if run.name != name), Run(name))
        self._now = _Epoch()

    @property
    def steps_in_epoch(self) -> int:
        """How many steps were recorded since the last epoch ended."""
        return self._now.steps

    def record_bcl_step(self, metrics: Mapping[str, Tensor]) -> None:
        """Add a step.

        Args:
            metrics: the rule's, by name, [D] each; those in `METRICS` are used; all but
                "som_magnitude" must be there.
        """
        if not self.runs:
            self.begin_run("")
        now = self._now
        now.step += 1
        now.steps += 1
        for name in METRICS:
            if name not in now.sums and name in metrics:
                now.sums[name] = metrics[name].detach().float().clone()
            elif name in metrics:
                now.sums[name] += metrics[name].detach()
        if now.step % self.log_every == 0:
            run = self.runs[-1]
            log = {**run.log, now.step: metrics["win_rate"].detach().clone()}
            self.runs = (*self.runs[:-1], replace(run, log=log))

    def so_far(self, weights: Tensor | None = None) -> tuple[EpochHealth, FeatureHealth] | None:
        """Return the health of the epoch under way, as if it ended now; None if no step of it was recorded.

        Args:
            weights: W [D, F], for the diversity of the dead and the velocity.
        """
        now = self._now
        if now.steps == 0:
            return None
        means = {name: total.cpu().double().numpy() / now.steps for name, total in now.sums.items()}
        win_rate = means["win_rate"]
        weights = None if weights is None else weights.detach()
        features = _features(means, [*now.win_rates, win_rate], velocity(now.weights, weights))
        number = len(self.runs[-1].epochs) + 1
        return _summary(number, now.steps, features, dead_diversity(win_rate, weights)), features

    def end_epoch(self, weights: Tensor | None = None) -> EpochHealth:
        """End the epoch and return its health.

        Args:
            weights: W [D, F], for the diversity of the dead and the velocity.

        Raises:
            LookupError: no step was recorded since the last epoch.
        """
        ended = self.so_far(weights)
        if ended is None:
            raise LookupError("no step was recorded in this epoch")
        epoch, features = ended
        now, run = self._now, self.runs[-1]
        now.win_rates = (*now.win_rates, np.asarray(features.win_rate))[-STALE_EPOCHS:]
        now.weights = None if weights is None else weights.detach().clone()
        now.steps, now.sums = 0, {}
        self.runs = (*self.runs[:-1], replace(run, epochs=(*run.epochs, epoch), features=features))
        return epoch

    def adopt_run(self, report: Mapping[str, Any]) -> None:
        """Take in a finished run as `health_report` told it, in place of one of the same name."""
        run = Run(
            report["name"],
            tuple(EpochHealth(**epoch) for epoch in report["epochs"]),
            report["features"] and FeatureHealth(**report["features"]),
            {entry["step"]: torch.tensor(entry["win_rate"]) for entry in report["win_rate_log"]},
        )
        self.runs = (*(other for other in self.runs if other.name != run.name), run)
        self._now = _Epoch()

    def state(self) -> dict[str, Any]:
        """Return all that the tracker carries from step to step, as a copy that later steps do not change."""
        return {"runs": self.runs, "epoch": self._now.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, as `state()` gave it; the state stays its own."""
        self.runs, self._now = state["runs"], state["epoch"].copy()


def health_report(tracker: BCLHealthTracker) -> dict[str, Any]:
    """Return what the tracker knows as plain lists and numbers, a run each under "runs", in the order they ran.

    A run has "name", "epochs" (a dictionary an epoch, keys as in `EpochHealth`), "features" (lists, keys as in
    `FeatureHealth`; None before an epoch has ended) and "win_rate_log" (dictionaries of "step" and "win_rate").
    """
    return {
        "runs": [
            {
                "name": run.name,
                "epochs": [asdict(epoch) for epoch in run.epochs],
                "features": run.features and asdict(run.features),
                "win_rate_log": [{"step": step, "win_rate": rates.tolist()} for step, rates in run.log.items()],
            }
            for run in tracker.runs
        ]
    }


def _features(means: Mapping[str, Floats], win_rates: Sequence[Floats], moved: Floats) -> FeatureHealth:
    win_rate, grad_magnitude = means["win_rate"], means["grad_magnitude"]
    som_magnitude = means.get("som_magnitude", np.zeros_like(win_rate))
    return FeatureHealth(
        win_rate.tolist(),
        grad_magnitude.tolist(),
        som_magnitude.tolist(),
        statuses(win_rate),
        stale(win_rates).tolist(),
        unreachable(grad_magnitude, som_magnitude).tolist(),
        moved.tolist(),
    )


def _summary(epoch: int, steps: int, features: FeatureHealth, diversity: float | None) -> EpochHealth:
    win_rate = np.asarray(features.win_rate)
    return EpochHealth(
        epoch=epoch,
        steps=steps,
        dead=features.status.count("dead"),
        contender=features.status.count("contender"),
        winner=features.status.count("winner"),
        stale=sum(features.stale),
        unreachable=sum(features.unreachable),
        gini=gini(win_rate),
        top5_share=top5_share(win_rate),
        dead_diversity=diversity,
        velocity=float(np.mean(features.velocity)) if features.velocity else None,
    )
