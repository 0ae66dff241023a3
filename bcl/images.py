"""What each image of a batch does to the features: who claims it, and how far it moves them.

Pure functions of a step's tensors by name, as `BCL.step_tensors` gives them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import vector_norm

from bcl.config import BCLConfig
from bcl.constants import EPSILON
from bcl.terms import shares

CLAIMED_ABOVE = 0.5
"""A rank score above it: the feature is stronger than all of its neighbours."""


@dataclass(frozen=True)
class Exerted:
    """The forces that the images of one batch exert.

    Attributes:
        rank_score: [B, D] how much each feature claims each image.
        coverage: [B] how much all features together do.
        winner: [B] the feature that claims it most.
        grad_mask: [B, D] what part of the image's gradient reaches the feature.
        grad_share: [B, D] the image's part in what the gradient of each feature's weight adds up from, by length;
            None before a gradient has arrived.
        pull_share: [B, D] the image's part in each feature's SOM target; None for a rule that does not pull.
        pull: [B, D] the length by which the image alone moves each feature's weight in this step; None before the
            weight was pulled, and for a rule that does not pull.
    """

    rank_score: Tensor
    coverage: Tensor
    winner: Tensor
    grad_mask: Tensor
    grad_share: Tensor | None
    pull_share: Tensor | None
    pull: Tensor | None

    @property
    def claims(self) -> Tensor:
        """[B, D] whether the feature is stronger than all of its neighbours."""
        return self.rank_score > CLAIMED_ABOVE


def exerted(tensors: Mapping[str, Tensor], config: BCLConfig) -> Exerted:
    """Return what the images of a batch exert.

    Args:
        tensors: of the step, by name.
        config: of the rule.

    Raises:
        LookupError: the layer's inputs were overwritten since.
    """
    if "inputs" not in tensors:
        raise LookupError("the images of this step were overwritten since")
    share = pull_shares(tensors)
    return Exerted(
        rank_score=tensors["rank_score"],
        coverage=tensors["image_coverage"],
        winner=tensors["winner"],
        grad_mask=tensors["grad_mask"],
        grad_share=_grad_share(tensors),
        pull_share=None if share is None else share.whole,
        pull=None if share is None or "som_delta" not in tensors else _pull(tensors, share, config),
    )


@dataclass(frozen=True)
class Share:
    """[B, D] each image's part in each feature's target.

    Attributes:
        whole: the part; a column adds up to 1, or to less where the target lies nearer to the origin.
        freed: what of it is a pull to the image freed of its projection on the bully's direction; None for none.
    """

    whole: Tensor
    freed: Tensor | None = None


def pull_shares(tensors: Mapping[str, Tensor]) -> Share | None:
    """Return how the targets are composed of images, for whichever rule the tensors are of; None if it has none."""
    if "som_targets" not in tensors:
        return None
    som_weight = tensors["som_weight"]
    if "attract_pull" in tensors:  # m3-0.1
        attract, rotate = tensors["attraction_weight"], tensors["rotation_weight"]  # [D]
        whole = attract + rotate + EPSILON  # [D]
        freed = rotate * tensors["rotate_pull"] / whole  # [B, D]
        return Share(attract * tensors["attract_pull"] / whole + freed, freed)
    if "contender_weight" in tensors:  # m3-0.2
        return Share(som_weight / (tensors["contender_weight"] + tensors["attraction_weight"] + EPSILON))
    if "rescue_pull" in tensors:  # decoupled
        return Share(som_weight)
    share = shares(som_weight)  # v1, m3-0
    return Share(share, share if "bully_direction" in tensors else None)


def _grad_share(tensors: Mapping[str, Tensor]) -> Tensor | None:
    if "arriving" not in tensors:
        return None
    lengths = vector_norm(tensors["inputs"], dim=1, keepdim=True)  # [B, 1]
    contribution: Tensor = (tensors["arriving"] * tensors["grad_mask"]).abs() * lengths  # [B, D]
    total = contribution.sum(0)  # [D]
    return contribution / total.where(total > 0, torch.ones_like(total))


def _pull(tensors: Mapping[str, Tensor], share: Share, config: BCLConfig) -> Tensor:
    """Return [B, D] the length of p (x - w) - q (x . u) u times the rate: the image's own part of `som_delta`.

    p is the image's share in the target, q what of it is freed of the bully's direction u, and w the weight that was
    pulled. Summed over the images these vectors are `som_delta`, but for what a target lacks to shares of 1: that is a
    pull to the origin.
    """
    inputs, targets, delta = tensors["inputs"], tensors["som_targets"], tensors["som_delta"]
    rate = config.som_lr * tensors.get("som_rate", torch.ones_like(targets[:, 0]))  # [D]
    weight = targets - delta / rate.where(rate > 0, torch.ones_like(rate))[:, None]  # [D, F]
    square = share.whole.square() * torch.cdist(inputs, weight).square()  # [B, D]
    if share.freed is not None:
        direction = tensors["bully_direction"]  # [D, F]
        along = inputs @ direction.T  # [B, D], x . u
        apart = along - (weight * direction).sum(1)  # [B, D], (x - w) . u
        square = square - 2 * share.whole * share.freed * along * apart + (share.freed * along).square()
    return rate * square.clamp_min(0).sqrt()  # [B, D]


def image_columns(found: Exerted, loss: Tensor | None = None) -> dict[str, Tensor]:
    """Return what is told of each image, [B] by name: the most telling numbers, as far as there are any.

    Args:
        found: what the images exert.
        loss: [B] of each image, if it is known.
    """
    columns = {"image": torch.arange(len(found.coverage))}
    if loss is not None:
        columns["loss"] = loss
    columns |= {"coverage": found.coverage, "claims": found.claims.sum(1), "winner": found.winner}
    if found.pull is not None:
        columns["pull"] = found.pull.sum(1)
    return columns


def feature_columns(found: Exerted, image: int) -> dict[str, Tensor]:
    """Return what one image does to each feature, [D] by name."""
    columns = {"rank_score": found.rank_score, "grad_mask": found.grad_mask, "grad_share": found.grad_share}
    columns |= {"pull_share": found.pull_share, "pull": found.pull}
    return {name: value[image] for name, value in columns.items() if value is not None}


def means_by(groups: Tensor, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean of each column [B] over the images of each group, the groups in order.

    Args:
        groups: [B] whole numbers, such as labels.
        columns: [B] each.
    """
    names, index, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    means = {
        name: column.new_zeros(len(names), dtype=torch.float64).index_add_(0, index, column.double()) / counts
        for name, column in columns.items()
    }
    return {"group": names, "images": counts, **means}
