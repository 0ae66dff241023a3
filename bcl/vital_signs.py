"""Single questions about how features fare: pure functions of win rates, magnitudes and weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.linalg import vector_norm

from bcl.measures import weight_cosine_similarity

Floats: TypeAlias = NDArray[np.float64]

DEAD_BELOW, WINNER_ABOVE = 0.01, 0.05  # of the win rate
UNREACHABLE_BELOW = 0.1  # of both magnitudes
STALE_EPOCHS, STALE_BELOW = 5, 1e-6  # of the win rate's variance
TOP = 5  # whose share of all wins is told
LOWEST = 20  # among which the diversity of the dead is measured


def statuses(win_rate: Floats) -> list[str]:
    """Return "dead", "contender" or "winner" for each win rate [D]; "unknown" for what is not a number."""
    words = np.select(
        [np.isnan(win_rate), win_rate < DEAD_BELOW, win_rate > WINNER_ABOVE], ["unknown", "dead", "winner"], "contender"
    )
    return [str(word) for word in words]


def gini(win_rate: Floats) -> float:
    """Return how unequal the win rates [D] are, from 0 to 1 - 1/D; not a number if nobody wins anything.

    1 - 2 sum(cumsum(sorted wins)) / (D total) + 1/D.
    """
    total = win_rate.sum()
    if not total > 0:
        return math.nan
    count = len(win_rate)
    return float(1 - 2 * np.sort(win_rate).cumsum().sum() / (count * total) + 1 / count)


def top5_share(win_rate: Floats) -> float:
    """Return the share of the five highest win rates in the sum of all [D]; not a number if nobody wins anything."""
    total = win_rate.sum()
    return float(np.sort(win_rate)[-TOP:].sum() / total) if total > 0 else math.nan


def stale(win_rates: Sequence[Floats]) -> NDArray[np.bool_]:
    """Return [D]: whose win rate has a variance (ddof 1) below 1e-6 over the last five epochs; nobody's before.

    Args:
        win_rates: [D] each epoch, the last one last.
    """
    last = np.stack(win_rates[-STALE_EPOCHS:])  # [epochs, D]
    if len(last) < STALE_EPOCHS:
        return np.zeros(last.shape[1], dtype=bool)
    return np.asarray(last.var(0, ddof=1) < STALE_BELOW)


def unreachable(grad_magnitude: Floats, som_magnitude: Floats) -> NDArray[np.bool_]:
    """Return [D]: who is moved by neither force, both magnitudes being below 0.1 on average."""
    return (grad_magnitude < UNREACHABLE_BELOW) & (som_magnitude < UNREACHABLE_BELOW)


def velocity(before: Tensor | None, after: Tensor | None) -> Floats:
    """Return [D]: the length of each row's change; empty if there is nothing to compare."""
    if before is None or after is None:
        return np.empty(0)
    moved: Floats = vector_norm(after - before, dim=1).cpu().double().numpy()
    return moved


def dead_diversity(win_rate: Floats, weights: Tensor | None) -> float | None:
    """Return the mean cosine among the weights [D, F] of the 20 features of lowest win rate; None without weights."""
    if weights is None:
        return None
    lowest = np.argsort(win_rate, kind="stable")[:LOWEST]
    return weight_cosine_similarity(weights[torch.from_numpy(lowest).to(weights.device)]).item()
