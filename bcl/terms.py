"""The terms that several rules share, each one formula.

Letters in the trailing comments: B images of the batch, D features, F inputs, k neighbours of a feature.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.linalg import vector_norm
from torch.nn import functional

from bcl.competition import Competition, Neighbours, rivals
from bcl.constants import EPSILON, constant


class Bullies(NamedTuple):
    """What the neighbours that beat a feature have in common."""

    direction: Tensor  # [D, F], rows of length 1, or 0 where nobody beats the feature
    magnitude: Tensor  # [D], the length before it was made 1


def more_than_0(sums: Tensor) -> Tensor:
    """Return sums that can be divided by."""
    return sums + constant(EPSILON, sums)


def shares(pull: Tensor) -> Tensor:
    """Return [B, D]: each image's share in the whole pull on a feature; columns add up to 1, or to 0."""
    return pull / more_than_0(pull.sum(0))  # [B, D]


def scale_of_shares(whole: Tensor, factor: Tensor) -> Tensor:
    """Return [D]: what a pull, of the sums `whole` [D], is multiplied by to be the shares in it times `factor` [D]."""
    return factor / more_than_0(factor * whole)  # [D]


def unclaimed(contest: Competition) -> Tensor:
    """Return [B, 1]: one over an image's coverage, great where no feature claims it."""
    return more_than_0(contest.image_coverage).reciprocal().unsqueeze(1)  # [B, 1]


def image_novelty(contest: Competition, clamp: float) -> Tensor:
    """Return [B, 1]: how little an image is claimed, compared with the other images of its batch; at most `clamp`."""
    free = unclaimed(contest)  # [B, 1]
    return (free / (free.mean() + EPSILON)).clamp_max(clamp)  # [B, 1]


def feature_novelty(contest: Competition, free: Tensor) -> Tensor:
    """Return [D]: how little the images that a feature wins are claimed by others.

    Args:
        contest: the batch's competition.
        free: [B, 1], what `unclaimed` gives.
    """
    return (contest.rank_score * free).sum(0) / more_than_0(contest.wins)  # [D]


def local_coverage(rank_score: Tensor, neighbours: Neighbours) -> Tensor:
    """Return [B, D]: how much a feature's neighbours claim an image."""
    return rank_score @ neighbours.member.T  # [B, D]


def bullies(contest: Competition, weight: Tensor) -> Bullies:
    """Return the directions in which each feature is beaten by its neighbours, from how far they beat it.

    Args:
        contest: the batch's competition.
        weight: W [D, F].
    """
    index, strength = contest.neighbours.index, contest.strength
    beat = (rivals(strength, index) - strength.T[:, None]).relu().mean(2)  # [D, k]
    beat = beat / (beat.sum(1, keepdim=True) + EPSILON)  # [D, k]
    # As a [D, D] matrix: gathering the neighbours' weights would take k times the memory of the weight.
    blend = beat.new_zeros(len(weight), len(weight)).scatter_(1, index, beat)  # [D, D]
    direction = blend @ weight  # [D, F]
    return Bullies(functional.normalize(direction, dim=1), vector_norm(direction, dim=1))


def without(targets: Tensor, direction: Tensor) -> Tensor:
    """Return [D, F]: targets of inputs that were each freed of their projection on a feature's `direction`.

    With p the pulls on a feature, u its direction and t = sum_b p_b x_b its target, the freed inputs
    x_b - (x_b . u) u have the target t - (t . u) u: there is no need for them, one copy of the batch a feature.

    Args:
        targets: t [D, F].
        direction: u [D, F], rows of length 1 or 0.
    """
    return targets - (targets * direction).sum(1, keepdim=True) * direction  # [D, F]
