"""What m3-0.2 makes of each feature: numbers, of one batch as it trains, or of many that are looked at together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from bcl.constants import constant
from bcl.terms import more_than_0, scale_of_shares


class Shares(NamedTuple):
    """What m3-0.2 makes of each feature: [D], or [k, D] of k batches.

    Attributes:
        effective_win: the win rate times the novelty; also how much of the gradient passes.
        contender_weight: how much of the pull is one to images that the neighbourhood won.
        attraction_weight: how much is one to images that the feature does not claim.
        grad_weight: the gradient's part of each image that the feature wins.
        local_scale: what brings the sum of the first pull to 1, where there is any.
        global_scale: the same of the second.
        local_part: the first scale times its weight.
        global_part: the second scale times its weight.
        whole: the sum of both weights.
    """

    effective_win: Tensor
    contender_weight: Tensor
    attraction_weight: Tensor
    grad_weight: Tensor
    local_scale: Tensor
    global_scale: Tensor
    local_part: Tensor
    global_part: Tensor
    whole: Tensor


def shares_of_features(win_rate: Tensor, novelty: Tensor, nearby: Tensor, far: Tensor) -> Shares:
    """Return the numbers of m3-0.2, each [..., D].

    Args:
        win_rate: [..., D].
        novelty: [..., D], what `feature_novelty` gives.
        nearby: [..., D], the sum of the pulls to images that the neighbourhood won.
        far: [..., D], the sum of those to images that the feature does not claim.
    """
    one = constant(1, win_rate)
    effective_win = win_rate * novelty
    not_won = one - effective_win
    contender_weight = not_won * win_rate
    attraction_weight = not_won * (one - win_rate)
    local_scale = scale_of_shares(nearby, (one - novelty) * contender_weight)
    global_scale = scale_of_shares(far, attraction_weight)
    return Shares(
        effective_win,
        contender_weight,
        attraction_weight,
        grad_weight=novelty * effective_win,
        local_scale=local_scale,
        global_scale=global_scale,
        local_part=local_scale * contender_weight,
        global_part=global_scale * attraction_weight,
        whole=more_than_0(contender_weight + attraction_weight),
    )


def metrics_of_m3_0_2(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the metrics of m3-0.2, of one batch [D] or of k [k, D]: see `Rule.of_parts`."""
    win_rate, novelty, nearby, far = (parts[name] for name in ("win_rate", "feature_novelty", "nearby", "far"))
    made = shares_of_features(win_rate, novelty, nearby, far)
    return {
        "grad_magnitude": made.grad_weight * parts["wins"],
        "som_magnitude": nearby * made.local_part + far * made.global_part,
        "feature_novelty": novelty,
        "effective_win": made.effective_win,
        "gradient_weight": made.effective_win,
        "contender_weight": made.contender_weight,
        "attraction_weight": made.attraction_weight,
    }
