"""The rules: what each makes of a competition. They are alike but for the few lines in which their formulas differ.

Every rule masks the gradient that arrives at the layer's output with `grad_mask`, and pulls each feature towards
images by a self-organising-map (SOM) force, to `som_targets`. In the order in which they were tried:

v1         losers near an image's winner are pulled to it; images that few features claim count more
m3-0       v1, without what an image has in common with the neighbours that beat the feature
m3-0.1     both, v1 without the neighbourhood and m3-0, blended by how often a feature wins
m3-0.2     winners of images that nobody else claims get the gradient; two pulls blended by how often a feature wins
decoupled  every winner gets the gradient; losers are given a few images that few features claim
nbr-k8     the gate alone: losers get a tenth of the gradient, and nobody is pulled

Pure functions on detached tensors: nothing here is differentiated, nothing is changed in place that came from outside.

Letters in the trailing comments: B images of the batch, D features, F inputs, k neighbours of a feature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor
from torch.linalg import vector_norm

from bcl.constants import EPSILON, constant
from bcl.shares import metrics_of_m3_0_2, shares_of_features
from bcl.terms import (
    bullies,
    feature_novelty,
    image_novelty,
    local_coverage,
    shares,
    unclaimed,
    without,
)

if TYPE_CHECKING:
    from bcl.competition import Competition
    from bcl.config import BCLConfig


Term: TypeAlias = Tensor | Callable[[], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a rule made of one batch. A term that training does without is there as what computes it, for looking.

    Attributes:
        grad_mask: [B, D] what the gradient at the layer's output is multiplied by.
        som_weight: [B, D] how much an image pulls a feature, for looking; None for a rule that does not pull.
        som_targets: [D, F] where each feature is pulled; None for a rule that does not pull.
        som_rate: [D] what the pull on each feature is multiplied by; None is 1 for all.
        novelty: [D] or [B] what the rule calls novel, features or images; None for a rule without novelty.
        terms: every other tensor of the formulas by its name, in their order.
        pulls: name -> the term [B, D] whose transpose times the inputs is the target [D, F] of this name, for looking.
        parts: name -> [D], what the rule's metrics are made of if it says so itself; see `Rule.of_parts`.
    """

    grad_mask: Tensor
    som_weight: Term | None = None
    som_targets: Tensor | None = None
    som_rate: Tensor | None = None
    novelty: Tensor | None = None
    terms: Mapping[str, Term] = field(default_factory=dict)
    pulls: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, Tensor] = field(default_factory=dict)


def value_of(term: Term) -> Tensor:
    """Return a term's tensor, computed now if it was not before."""
    return term if isinstance(term, Tensor) else term()


Formulas: TypeAlias = "Callable[[Competition, Tensor, BCLConfig], Outcome]"


@dataclass(frozen=True, slots=True)
class Rule:
    """One of the rules.

    Attributes:
        formulas: gives the outcome of a competition, from the weight W [D, F] and the configuration.
        metrics: which of the outcome's terms are one number a feature [D] that says how the feature fares.
        targets: which of its terms and pulls are targets [D, F].
        of_parts: makes grad_magnitude, som_magnitude and `metrics` of an outcome's parts, of those of k batches too, if
            each is [k, D] then. Without it they are sums over the images, and terms.
        pulls: whether the rule pulls the weight at all.
        ahead: so many forwards before every n-th are the neighbours found anew; if any, then also when the rule is
            attached, which stands for forward 0.
    """

    formulas: Formulas
    metrics: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    of_parts: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None = None
    pulls: bool = True
    ahead: int = 0

    @property
    def shared(self) -> tuple[str, ...]:
        """The metrics that are one number a feature, and that other rules have too."""
        return ("win_rate", "grad_magnitude", *(("som_magnitude",) if self.pulls else ()))

    @property
    def columns(self) -> tuple[str, ...]:
        """All metrics that are one number a feature and tell how it fares, in the order in which they are shown."""
        return (*self.shared, *self.metrics)


def v1(contest: Competition, _weight: Tensor, config: BCLConfig) -> Outcome:
    """Pull the losers in the winner's neighbourhood to the images that they lost."""
    rank_score, in_nbr = contest.rank_score, contest.in_nbr  # [B, D]
    novelty = image_novelty(contest, config.novelty_clamp)  # [B, 1]

    grad_mask = rank_score * novelty  # [B, D]
    som_weight = (1 - rank_score) * in_nbr * novelty  # [B, D]
    som_targets = shares(som_weight).T @ contest.inputs  # [D, F]

    return Outcome(
        grad_mask=grad_mask,
        som_weight=som_weight,
        som_targets=som_targets,
        novelty=novelty[:, 0],
        terms={"image_novelty": novelty[:, 0]},
    )


def m3_0(contest: Competition, weight: Tensor, config: BCLConfig) -> Outcome:
    """Pull as v1 does, but away from what the neighbours that beat a feature have in common."""
    rank_score, in_nbr = contest.rank_score, contest.in_nbr  # [B, D]
    novelty = image_novelty(contest, config.novelty_clamp)  # [B, 1]
    bully = bullies(contest, weight)

    grad_mask = rank_score * novelty  # [B, D]
    som_weight = (1 - rank_score) * in_nbr * novelty  # [B, D]
    som_targets = without(shares(som_weight).T @ contest.inputs, bully.direction)  # [D, F]

    return Outcome(
        grad_mask=grad_mask,
        som_weight=som_weight,
        som_targets=som_targets,
        novelty=novelty[:, 0],
        terms={
            "image_novelty": novelty[:, 0],
            "bully_direction": bully.direction,
            "bully_magnitude": bully.magnitude,
        },
    )


def m3_0_1(contest: Competition, weight: Tensor, config: BCLConfig) -> Outcome:
    """Winners get the gradient, contenders are pulled as in m3-0, losers to all images that they lost."""
    rank_score, in_nbr, win_rate = contest.rank_score, contest.in_nbr, contest.win_rate  # [B, D], [B, D], [D]
    novelty = image_novelty(contest, config.novelty_clamp)  # [B, 1]
    bully = bullies(contest, weight)

    gradient_weight = win_rate  # [D]
    rotation_weight = 4 * win_rate * (1 - win_rate)  # [D]
    attraction_weight = 1 - win_rate  # [D]

    grad_mask = rank_score * novelty * gradient_weight  # [B, D]
    lost = (1 - rank_score) * novelty  # [B, D]
    attract_pull = shares(lost * attraction_weight)  # [B, D]
    rotate_pull = shares(lost * in_nbr * rotation_weight)  # [B, D]
    attract_target = attract_pull.T @ contest.inputs  # [D, F]
    rotate_target = without(rotate_pull.T @ contest.inputs, bully.direction)  # [D, F]
    attract, rotate = attraction_weight[:, None], rotation_weight[:, None]  # [D, 1]
    som_targets = (attract * attract_target + rotate * rotate_target) / (attract + rotate + EPSILON)  # [D, F]
    som_weight = lost * (attraction_weight + in_nbr * rotation_weight)  # [B, D]

    return Outcome(
        grad_mask=grad_mask,
        som_weight=som_weight,
        som_targets=som_targets,
        novelty=novelty[:, 0],
        terms={
            "image_novelty": novelty[:, 0],
            "bully_direction": bully.direction,
            "bully_magnitude": bully.magnitude,
            "gradient_weight": gradient_weight,
            "rotation_weight": rotation_weight,
            "attraction_weight": attraction_weight,
            "attract_pull": attract_pull,
            "rotate_pull": rotate_pull,
            "attract_target": attract_target,
            "rotate_target": rotate_target,
        },
    )


def m3_0_2(contest: Competition, _weight: Tensor, _config: BCLConfig) -> Outcome:
    """Blend a pull to the images that the neighbourhood won with one to the images that a feature does not claim.

    A factor that is one number a feature passes through sums over the images. So both pulls are computed without their
    factors, the factors are multiplied with one another, and `som_targets` is one matrix product: the blend of both
    targets is a blend of both pulls.
    """
    rank_score, in_nbr = contest.rank_score, contest.in_nbr  # [B, D]
    one = constant(1, rank_score)
    free = unclaimed(contest)  # [B, 1]
    novelty = feature_novelty(contest, free)  # [D]

    crowd = local_coverage(rank_score, contest.neighbours).add_(one)  # [B, D]
    nearby = (rank_score * in_nbr).div_(crowd)  # [B, D]
    far = (one - rank_score).mul_(free)  # [B, D]
    all_nearby, all_far = nearby.sum(0), far.sum(0)  # [D]
    made = shares_of_features(contest.win_rate, novelty, all_nearby, all_far)  # [D] each
    grad_mask = rank_score * made.grad_weight  # [B, D]
    blend = nearby * (made.local_part / made.whole)  # [B, D]
    blend.addcmul_(far, made.global_part / made.whole)
    som_targets = torch.mm(blend.t(), contest.inputs)  # [D, F]

    return Outcome(
        grad_mask=grad_mask,
        som_weight=lambda: blend * made.whole,
        som_targets=som_targets,
        novelty=novelty,
        terms={
            "feature_novelty": novelty,
            "local_coverage": lambda: local_coverage(rank_score, contest.neighbours),
            "local_novelty": crowd.reciprocal,
            "effective_win": made.effective_win,
            "gradient_weight": made.effective_win,
            "contender_weight": made.contender_weight,
            "attraction_weight": made.attraction_weight,
            "local_pull": lambda: nearby * made.local_scale,
            "global_pull": lambda: far * made.global_scale,
        },
        pulls={"local_target": "local_pull", "global_target": "global_pull"},
        parts={
            "wins": contest.wins,
            "win_rate": contest.win_rate,
            "feature_novelty": novelty,
            "nearby": all_nearby,
            "far": all_far,
        },
    )


def decoupled(contest: Competition, weight: Tensor, config: BCLConfig) -> Outcome:
    """Blend a pull to the images that the neighbourhood won with a rescue: a few similar images that few claim.

    `som_targets` is one matrix product: the blend of both targets is a blend of both pulls.
    """
    rank_score, in_nbr, win_rate = contest.rank_score, contest.in_nbr, contest.win_rate  # [B, D], [B, D], [D]
    novelty = feature_novelty(contest, unclaimed(contest))  # [D]
    coverage = local_coverage(rank_score, contest.neighbours)  # [B, D]
    local_novelty = (coverage + 1).reciprocal()  # [B, D]

    grad_mask = rank_score  # [B, D]
    winner_pull = shares(rank_score * local_novelty * in_nbr)  # [B, D]
    similarity = _unit(contest.inputs) @ _unit(weight).T  # [B, D]
    images = len(similarity)
    ranks = torch.linspace(0, 1, images, dtype=rank_score.dtype, device=rank_score.device)  # [B]
    order = similarity.argsort(dim=0, stable=True)  # [B, D], the least similar image first
    similarity_rank = torch.empty_like(rank_score).scatter_(0, order, ranks[:, None].expand_as(order))  # [B, D]
    rescue_score = similarity_rank / (contest.image_coverage + 1)[:, None]  # [B, D]
    rescued = rescue_score.topk(min(config.rescue_k, images), dim=0).indices  # [rescue_k, D]
    rescue_pull = torch.zeros_like(rank_score).scatter_(0, rescued, 1 / len(rescued))  # [B, D]
    som_weight = win_rate * winner_pull + (1 - win_rate) * rescue_pull  # [B, D]
    som_targets = som_weight.T @ contest.inputs  # [D, F]
    som_rate = 1 - novelty  # [D]

    return Outcome(
        grad_mask=grad_mask,
        som_weight=som_weight,
        som_targets=som_targets,
        som_rate=som_rate,
        novelty=novelty,
        terms={
            "feature_novelty": novelty,
            "local_coverage": coverage,
            "local_novelty": local_novelty,
            "winner_pull": winner_pull,
            "similarity": similarity,
            "similarity_rank": similarity_rank,
            "rescue_score": rescue_score,
            "rescue_pull": rescue_pull,
            "som_rate": som_rate,
        },
        pulls={"winner_target": "winner_pull", "rescue_target": "rescue_pull"},
    )


def gating(contest: Competition, _weight: Tensor, _config: BCLConfig) -> Outcome:
    """Let the gradient of winners pass, and a tenth of the losers'."""
    return Outcome(grad_mask=0.1 + 0.9 * contest.rank_score)  # [B, D]


def _unit(rows: Tensor) -> Tensor:
    """Return rows of length 1, or nearly 0 where a row was."""
    lengths: Tensor = vector_norm(rows, dim=1, keepdim=True)
    return rows / (lengths + EPSILON)


RULES: Mapping[str, Rule] = {
    "v1": Rule(v1),
    "m3-0": Rule(m3_0, metrics=("bully_magnitude",)),
    "m3-0.1": Rule(
        m3_0_1,
        metrics=("gradient_weight", "rotation_weight", "attraction_weight", "bully_magnitude"),
        targets=("attract_target", "rotate_target"),
    ),
    "m3-0.2": Rule(
        m3_0_2,
        metrics=("feature_novelty", "effective_win", "gradient_weight", "contender_weight", "attraction_weight"),
        targets=("local_target", "global_target"),
        of_parts=metrics_of_m3_0_2,
    ),
    "decoupled": Rule(decoupled, metrics=("feature_novelty", "som_rate"), targets=("winner_target", "rescue_target")),
    "nbr-k8": Rule(gating, pulls=False, ahead=1),
}
