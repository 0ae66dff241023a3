"""One batch through the rule, tensor by tensor in the order of its formulas: where do the features lose their variety?

Pure functions of a step's tensors by name, as `BCL.step_tensors` gives them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bcl.measures import weight_cosine_similarity

SYMMETRIC_ABOVE = 0.9  # mean cosine: from there on, features do nearly the same

AXES: Mapping[str, str] = {
    "inputs": "BF",
    "neighbours": "Dk",
    "strength": "BD",
    "margin": "BD",
    "rank_score": "BD",
    "image_coverage": "B",
    "image_novelty": "B",
    "feature_novelty": "D",
    "local_coverage": "BD",
    "local_novelty": "BD",
    "win_rate": "D",
    "winner": "B",
    "in_nbr": "BD",
    "bully_direction": "DF",
    "bully_magnitude": "D",
    "effective_win": "D",
    "gradient_weight": "D",
    "contender_weight": "D",
    "rotation_weight": "D",
    "attraction_weight": "D",
    "grad_mask": "BD",
    "local_pull": "BD",
    "local_target": "DF",
    "global_pull": "BD",
    "global_target": "DF",
    "attract_pull": "BD",
    "attract_target": "DF",
    "rotate_pull": "BD",
    "rotate_target": "DF",
    "winner_pull": "BD",
    "winner_target": "DF",
    "similarity": "BD",
    "similarity_rank": "BD",
    "rescue_score": "BD",
    "rescue_pull": "BD",
    "rescue_target": "DF",
    "som_weight": "BD",
    "som_targets": "DF",
    "arriving": "BD",
    "som_rate": "D",
    "som_delta": "DF",
}
"""Every tensor of every rule in the order of the formulas. B images, D features, F inputs, k neighbours."""

IDS = ("neighbours", "winner")
"""Numbers of features: they have no variation."""

MADE_FROM: Mapping[str, tuple[str, ...]] = {
    "margin": ("strength",),
    "rank_score": ("margin",),
    "local_coverage": ("rank_score",),
    "local_novelty": ("local_coverage",),
    "in_nbr": ("rank_score",),
    "bully_direction": ("strength",),
    "grad_mask": ("rank_score",),
    "local_pull": ("rank_score", "local_novelty", "in_nbr"),
    "local_target": ("local_pull",),
    "global_pull": ("rank_score",),
    "global_target": ("global_pull",),
    "attract_pull": ("rank_score",),
    "attract_target": ("attract_pull",),
    "rotate_pull": ("rank_score", "in_nbr"),
    "rotate_target": ("rotate_pull", "bully_direction"),
    "winner_pull": ("rank_score", "local_novelty", "in_nbr"),
    "winner_target": ("winner_pull",),
    "similarity_rank": ("similarity",),
    "rescue_score": ("similarity_rank",),
    "rescue_pull": ("rescue_score",),
    "rescue_target": ("rescue_pull",),
    "som_weight": ("rank_score", "in_nbr", "local_pull", "global_pull", "winner_pull", "rescue_pull"),
    "som_targets": (
        *("local_target", "global_target", "attract_target", "rotate_target"),
        *("winner_target", "rescue_target", "bully_direction", "som_weight"),
    ),
    "som_delta": ("som_targets",),
}
"""From which others with a row or column a feature a tensor is made, as far as a rule has them."""


@dataclass(frozen=True)
class Line:
    """What is told of one tensor.

    Attributes:
        name: of the tensor, as in the formulas.
        shape: its sizes.
        low: its least finite value; not a number where there is none, as of the neighbours of a single feature.
        high: its greatest finite value.
        not_finite: how many of its values are none.
        cosine: mean cosine over all pairs of features: the columns of [B, D], the rows of [D, F]; of the inputs, over
            all pairs of images; None where there is one number a feature.
        variation: the coefficient of variation of all its values, their standard deviation over their mean's size;
            None where the values are numbers of features.
        symmetry: "appears" where features are alike and nothing that the tensor is made from is, "stays" where
            something is; else empty.
    """

    name: str
    shape: tuple[int, ...]
    low: float
    high: float
    not_finite: int
    cosine: float | None
    variation: float | None
    symmetry: str = ""


def trace(tensors: Mapping[str, Tensor]) -> list[Line]:
    """Return a line for each tensor, in the order of the formulas."""
    lines: dict[str, Line] = {}
    for name in in_order(tensors):
        tensor = tensors[name]
        finite = tensor[tensor.isfinite()]
        cosine = _cosine(name, tensor)
        lines[name] = Line(
            name,
            tuple(tensor.shape),
            finite.min().item() if finite.numel() else math.nan,
            finite.max().item() if finite.numel() else math.nan,
            tensor.numel() - finite.numel(),
            cosine,
            None if name in IDS else variation(tensor),
            _symmetry(name, cosine, lines),
        )
    return list(lines.values())


def in_order(names: Mapping[str, object]) -> list[str]:
    """Return those of the rules' tensors that are among `names`, in the order of the formulas."""
    return [name for name in AXES if name in names]


def columns_of_lines(lines: Sequence[Line]) -> dict[str, list[Any]]:
    """Return the lines as columns of a table; what a tensor does not have stays blank."""
    not_finite = [line.not_finite for line in lines]
    return {
        "tensor": [line.name for line in lines],
        "shape": ["x".join(map(str, line.shape)) for line in lines],
        "min": [line.low for line in lines],
        "max": [line.high for line in lines],
        **({"not finite": not_finite} if any(not_finite) else {}),
        "cosine": ["" if line.cosine is None else f"{line.cosine:.3f}" for line in lines],
        "variation": ["" if line.variation is None else f"{line.variation:.3f}" for line in lines],
        "symmetry": [line.symmetry for line in lines],
    }


def variation(tensor: Tensor) -> float:
    """Return the population's standard deviation over the size of the mean; not a number for zeros alone."""
    values = tensor.double()
    mean, deviation = values.mean().abs().item(), values.std(correction=0).item()
    return deviation / mean if mean else math.inf if deviation else math.nan


def verdict(lines: list[Line]) -> str:
    """Return in a sentence where the features become alike, on the way to where they are pulled."""
    found = {line.name: line for line in lines}
    targets = found.get("som_targets")
    broken = next((line for line in lines if line.not_finite), None)
    if broken is not None and (targets is None or targets.not_finite):
        return f"{broken.name} is the first that is not finite: how alike features are cannot be told from there on"
    if targets is None or targets.cosine is None:
        first = next((line for line in lines if line.symmetry), None)
        return f"features are alike from {first.name} on" if first else "features are alike in none of these tensors"
    if not targets.symmetry:
        return f"the SOM targets differ: mean cosine {targets.cosine:.3f}"
    path = [targets]
    while path[-1].symmetry == "stays":
        path.append(max(_alike(path[-1].name, found), key=lambda line: line.cosine or 0.0))
    way = ", ".join(f"{line.name} {line.cosine:.3f}" for line in reversed(path))
    before = [found[name] for name in MADE_FROM.get(path[-1].name, ()) if name in found]
    fresh = "".join(f"; {line.name}, before it, has {line.cosine:.3f}" for line in before[:1])
    return f"the SOM targets are alike, and the symmetry appears in {path[-1].name}: {way}{fresh}"


def _cosine(name: str, tensor: Tensor) -> float | None:
    match AXES[name]:
        case "BD":
            return weight_cosine_similarity(tensor.T).item()
        case "DF" | "BF":
            return weight_cosine_similarity(tensor).item()
    return None


def _symmetry(name: str, cosine: float | None, before: Mapping[str, Line]) -> str:
    if cosine is None or AXES[name] == "BF" or not cosine > SYMMETRIC_ABOVE:
        return ""
    return "stays" if _alike(name, before) else "appears"


def _alike(name: str, lines: Mapping[str, Line]) -> list[Line]:
    """Return the tensors that this one is made from and in which features are alike."""
    return [lines[source] for source in MADE_FROM.get(name, ()) if source in lines and lines[source].symmetry]
