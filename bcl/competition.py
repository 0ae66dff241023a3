"""The competition that every rule starts from: who claims which image, inside a neighbourhood of similar features.

Pure functions on detached tensors: nothing here is differentiated, nothing is changed in place that came from outside.

Letters in the trailing comments: B images of the batch, D features, F inputs, k neighbours of a feature.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bcl.constants import constant


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
    """One batch's competition; every name is the formula's own."""

    inputs: Tensor  # [B, F]
    neighbours: Neighbours
    strength: Tensor  # [B, D]
    rank_score: Tensor  # [B, D]
    image_coverage: Tensor  # [B]
    wins: Tensor  # [D]
    win_rate: Tensor  # [D]
    in_nbr: Tensor  # [B, D]


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


def rivals(strength: Tensor, index: Tensor) -> Tensor:
    """Return [D, k, B]: the strength of each feature's neighbours.

    Whole rows of the transpose are gathered: 15 times faster here than `strength[:, index]`.

    Args:
        strength: [B, D].
        index: [D, k].
    """
    gathered = strength.T.contiguous().index_select(0, index.flatten())  # [D * k, B]
    return gathered.view(*index.shape, len(strength))  # [D, k, B]


def strongest_neighbour(strength: Tensor, index: Tensor) -> Tensor:
    """Return [B, D]: the greatest strength among each feature's neighbours; 0 for a feature that has none.

    Args:
        strength: [B, D], not negative.
        index: [D, k].
    """
    if index.shape[1] == 0:
        return torch.zeros_like(strength)
    return rivals(strength, index).amax(1).T  # [B, D]


def margin(strength: Tensor, index: Tensor) -> Tensor:
    """Return [B, D]: how far each feature is ahead of the strongest of its neighbours, below 0 where it is behind.

    Args:
        strength: [B, D], not negative.
        index: [D, k].
    """
    return strength - strongest_neighbour(strength, index)  # [B, D]


def compete(inputs: Tensor, output: Tensor, neighbours: Neighbours, temperature: float) -> Competition:
    """Let the features of one layer compete for the images of one batch.

    Args:
        inputs: x [B, F], the layer's input.
        output: a [B, D], the layer's output before its activation function.
        neighbours: the features that each feature competes with.
        temperature: how sharply a margin decides.
    """
    strength = output.abs()  # [B, D]
    ahead = margin(strength, neighbours.index)  # [B, D]
    rank_score = ahead.mul_(constant(temperature, ahead)).sigmoid_()  # [B, D]
    wins = rank_score.sum(0)  # [D]
    return Competition(
        inputs=inputs,
        neighbours=neighbours,
        strength=strength,
        rank_score=rank_score,
        image_coverage=rank_score.sum(1),
        wins=wins,
        win_rate=wins / constant(len(rank_score), wins),
        in_nbr=neighbours.member.index_select(0, rank_score.argmax(1)),
    )
