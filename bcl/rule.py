"""M3-0.2, the formulas: features compete for every image inside a neighbourhood of similar features.

Winners receive the gradient of the loss through `grad_mask`; every feature is also pulled towards images by a
self-organising-map (SOM) force, towards `som_targets`. Pure functions on detached tensors: nothing here is
differentiated, nothing is changed in place that came from outside.

Letters in the trailing comments: B images of the batch, D features, F inputs, k neighbours of a feature.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

EPSILON = 1e-8


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Which features a feature competes with.

    Attributes:
        index: [D, k] the neighbours of each feature, most similar first.
        member: [D, D] 1 where the column is a neighbour of the row, else 0.
    """

    index: Tensor
    member: Tensor


@dataclass(frozen=True, slots=True)
class Competition:
    """All that the rule computed for one batch; every name is the formula's own."""

    inputs: Tensor  # [B, F]
    neighbours: Tensor  # [D, k]
    strength: Tensor  # [B, D]
    rank_score: Tensor  # [B, D]
    image_coverage: Tensor  # [B]
    feature_novelty: Tensor  # [D]
    local_coverage: Tensor  # [B, D]
    local_novelty: Tensor  # [B, D]
    win_rate: Tensor  # [D]
    effective_win: Tensor  # [D]
    gradient_weight: Tensor  # [D]
    contender_weight: Tensor  # [D]
    attraction_weight: Tensor  # [D]
    in_nbr: Tensor  # [B, D]
    grad_mask: Tensor  # [B, D]
    local_pull: Tensor  # [B, D]
    global_pull: Tensor  # [B, D]
    som_weight: Tensor  # [B, D]
    som_targets: Tensor  # [D, F]

    def local_target(self) -> Tensor:
        """Return [D, F]: where each feature is pulled by the images that its neighbourhood won."""
        return self.local_pull.T @ self.inputs  # [D, F]

    def global_target(self) -> Tensor:
        """Return [D, F]: where each feature is pulled by the images that it does not claim."""
        return self.global_pull.T @ self.inputs  # [D, F]


def nearest_neighbours(weight: Tensor, count: int) -> Neighbours:
    """Return the features most alike by signed cosine, a feature itself excluded.

    Args:
        weight: [D, F].
        count: k; there are never more than D - 1 neighbours.
    """
    features = len(weight)
    unit = functional.normalize(weight, dim=1)  # [D, F]
    cosine = (unit @ unit.T).fill_diagonal_(-torch.inf)  # [D, D]
    index = cosine.topk(min(count, features - 1), dim=1).indices  # [D, k]
    return neighbours_of(index, weight)


def neighbours_of(index: Tensor, weight: Tensor) -> Neighbours:
    """Return the neighbours `index` [D, k] in both of their forms, of the type and on the device of `weight`."""
    index = index.to(weight.device)
    member = weight.new_zeros(len(index), len(index)).scatter_(1, index, 1.0)  # [D, D]
    return Neighbours(index, member)


def strongest_neighbour(strength: Tensor, index: Tensor) -> Tensor:
    """Return [B, D]: the greatest strength among each feature's neighbours; 0 for a feature that has none.

    Whole rows of the transpose are gathered: 15 times faster here than `strength[:, index].amax(-1)`.

    Args:
        strength: [B, D], not negative.
        index: [D, k].
    """
    features, count = index.shape
    if count == 0:
        return torch.zeros_like(strength)
    rivals = strength.T.contiguous().index_select(0, index.flatten())  # [D * k, B]
    return rivals.view(features, count, len(strength)).amax(1).T  # [B, D]


def compete(inputs: Tensor, output: Tensor, neighbours: Neighbours, temperature: float) -> Competition:
    """Compute one batch of M3-0.2.

    `som_targets` is one matrix product: the blend of both targets is a blend of both pulls.

    Args:
        inputs: x [B, F], the layer's input.
        output: a [B, D], the layer's output before its activation function.
        neighbours: the features that each feature competes with.
        temperature: how sharply a margin decides.
    """
    strength = output.abs()  # [B, D]
    margin = strength - strongest_neighbour(strength, neighbours.index)  # [B, D]
    rank_score = torch.sigmoid(temperature * margin)  # [B, D]

    image_coverage = rank_score.sum(1)  # [B]
    image_novelty = (image_coverage + EPSILON).reciprocal()[:, None]  # [B, 1]
    wins = rank_score.sum(0)  # [D]
    feature_novelty = (rank_score * image_novelty).sum(0) / (wins + EPSILON)  # [D]
    local_coverage = rank_score @ neighbours.member.T  # [B, D]
    local_novelty = (local_coverage + 1).reciprocal()  # [B, D]

    win_rate = wins / len(rank_score)  # [D]
    effective_win = win_rate * feature_novelty  # [D]
    gradient_weight = effective_win  # [D]
    not_won = 1 - effective_win  # [D]
    contender_weight = not_won * win_rate  # [D]
    attraction_weight = not_won * (1 - win_rate)  # [D]

    winner = rank_score.argmax(1)  # [B]
    in_nbr = neighbours.member.index_select(0, winner)  # [B, D]

    grad_mask = rank_score * (feature_novelty * gradient_weight)  # [B, D]
    local_pull = rank_score * local_novelty * in_nbr * ((1 - feature_novelty) * contender_weight)  # [B, D]
    local_pull = local_pull / (local_pull.sum(0) + EPSILON)  # [B, D]
    global_pull = (1 - rank_score) * image_novelty * attraction_weight  # [B, D]
    global_pull = global_pull / (global_pull.sum(0) + EPSILON)  # [B, D]

    som_weight = local_pull * contender_weight + global_pull * attraction_weight  # [B, D]
    blend = som_weight / (contender_weight + attraction_weight + EPSILON)  # [B, D]
    som_targets = blend.T @ inputs  # [D, F]

    return Competition(
        inputs=inputs,
        neighbours=neighbours.index,
        strength=strength,
        rank_score=rank_score,
        image_coverage=image_coverage,
        feature_novelty=feature_novelty,
        local_coverage=local_coverage,
        local_novelty=local_novelty,
        win_rate=win_rate,
        effective_win=effective_win,
        gradient_weight=gradient_weight,
        contender_weight=contender_weight,
        attraction_weight=attraction_weight,
        in_nbr=in_nbr,
        grad_mask=grad_mask,
        local_pull=local_pull,
        global_pull=global_pull,
        som_weight=som_weight,
        som_targets=som_targets,
    )


def metrics(batch: Competition) -> dict[str, Tensor]:
    """Return the step's metrics: [D] tensors, one value a feature, and scalars over the batch."""
    return {
        "win_rate": batch.win_rate,
        "grad_magnitude": batch.grad_mask.sum(0),
        "som_magnitude": batch.som_weight.sum(0),
        "mean_activation": batch.strength.mean(0),
        "feature_novelty": batch.feature_novelty,
        "effective_win": batch.effective_win,
        "gradient_weight": batch.gradient_weight,
        "contender_weight": batch.contender_weight,
        "attraction_weight": batch.attraction_weight,
        "mean_novelty": batch.feature_novelty.mean(),
        "novelty_std": spread(batch.feature_novelty),
        "mean_crowding": batch.image_coverage.mean(),
        "crowding_std": spread(batch.image_coverage),
    }


def spread(values: Tensor) -> Tensor:
    """Return the sample standard deviation (ddof 1); 0 for a single value, which has no spread to estimate."""
    return values.std() if len(values) > 1 else values.new_zeros(())
