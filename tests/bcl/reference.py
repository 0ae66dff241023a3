"""M3-0.2 by loops over Python floats, written from the description alone: slow, obvious, in double precision."""

from __future__ import annotations

import math
from collections.abc import Sequence

Vector = list[float]
Rows = Sequence[Sequence[float]]


def cosine(left: Sequence[float], right: Sequence[float]) -> float:
    dot = sum(p * q for p, q in zip(left, right, strict=True))
    lengths = math.sqrt(sum(p * p for p in left)) * math.sqrt(sum(q * q for q in right))
    return dot / lengths if lengths > 0 else 0.0


def neighbours(weight: Rows, k: int) -> list[list[int]]:
    found = []
    for d, row in enumerate(weight):
        others = [j for j in range(len(weight)) if j != d]
        others.sort(key=lambda j: cosine(row, weight[j]), reverse=True)
        found.append(others[:k])
    return found


def rule(x: Rows, a: Rows, nbr: Sequence[Sequence[int]], temperature: float) -> dict[str, list[Vector] | Vector]:
    images, features, inputs = range(len(a)), range(len(a[0])), range(len(x[0]))
    s = [[abs(a[b][d]) for d in features] for b in images]
    r = [[0.0 for _ in features] for _ in images]
    for b in images:
        for d in features:
            margin = s[b][d] - max((s[b][j] for j in nbr[d]), default=0.0)
            r[b][d] = 1 / (1 + math.exp(-temperature * margin))

    coverage = [sum(r[b]) for b in images]
    novelty = []
    for d in features:
        shares = sum(r[b][d] / (coverage[b] + 1e-8) for b in images)
        novelty.append(shares / (sum(r[b][d] for b in images) + 1e-8))
    local_coverage = [[sum(r[b][j] for j in nbr[d]) for d in features] for b in images]
    local_novelty = [[1 / (local_coverage[b][d] + 1) for d in features] for b in images]

    win_rate = [sum(r[b][d] for b in images) / len(images) for d in features]
    effective_win = [win_rate[d] * novelty[d] for d in features]
    gradient_weight = effective_win
    contender = [(1 - effective_win[d]) * win_rate[d] for d in features]
    attraction = [(1 - effective_win[d]) * (1 - win_rate[d]) for d in features]

    in_nbr = [[0.0 for _ in features] for _ in images]
    for b in images:
        winner = r[b].index(max(r[b]))
        for d in nbr[winner]:
            in_nbr[b][d] = 1.0

    grad_mask = [[r[b][d] * novelty[d] * gradient_weight[d] for d in features] for b in images]

    local_pull = [
        [r[b][d] * local_novelty[b][d] * (1 - novelty[d]) * in_nbr[b][d] * contender[d] for d in features]
        for b in images
    ]
    global_pull = [[(1 - r[b][d]) / (coverage[b] + 1e-8) * attraction[d] for d in features] for b in images]
    local_sums = [sum(local_pull[b][d] for b in images) for d in features]
    for pull in (local_pull, global_pull):
        for d in features:
            total = sum(pull[b][d] for b in images) + 1e-8
            for b in images:
                pull[b][d] /= total
    local_target = [[sum(local_pull[b][d] * x[b][f] for b in images) for f in inputs] for d in features]
    global_target = [[sum(global_pull[b][d] * x[b][f] for b in images) for f in inputs] for d in features]

    som_targets = []
    for d in features:
        total = contender[d] + attraction[d] + 1e-8
        som_targets.append(
            [(contender[d] * local_target[d][f] + attraction[d] * global_target[d][f]) / total for f in inputs]
        )
    som_weight = [
        [local_pull[b][d] * contender[d] + global_pull[b][d] * attraction[d] for d in features] for b in images
    ]
    return {
        "strength": s,
        "rank_score": r,
        "image_coverage": coverage,
        "feature_novelty": novelty,
        "local_coverage": local_coverage,
        "local_novelty": local_novelty,
        "win_rate": win_rate,
        "effective_win": effective_win,
        "gradient_weight": gradient_weight,
        "contender_weight": contender,
        "attraction_weight": attraction,
        "in_nbr": in_nbr,
        "grad_mask": grad_mask,
        "local_pull": local_pull,
        "local_target": local_target,
        "global_pull": global_pull,
        "global_target": global_target,
        "som_targets": som_targets,
        "som_weight": som_weight,
        "local_sums": local_sums,
    }
