"""The rules by loops over Python floats, written from the description alone: slow, obvious, in double precision.

Each rule gives every tensor of its formulas by name. Under "noise" stand numbers that may be zero but not nearly so:
there, the formula itself divides noise by noise, or its answer jumps, and a comparison would say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

Vector = list[float]
Rows = Sequence[Sequence[float]]
Tensors = dict[str, list[Vector] | Vector]


def dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(p * q for p, q in zip(left, right, strict=True))


def norm(vector: Sequence[float]) -> float:
    return math.sqrt(dot(vector, vector))


def cosine(left: Sequence[float], right: Sequence[float]) -> float:
    lengths = norm(left) * norm(right)
    return dot(left, right) / lengths if lengths > 0 else 0.0


def neighbours(weight: Rows, k: int) -> list[list[int]]:
    found = []
    for d, row in enumerate(weight):
        others = [j for j in range(len(weight)) if j != d]
        others.sort(key=lambda j: cosine(row, weight[j]), reverse=True)
        found.append(others[:k])
    return found


class Batch:
    """One batch and its competition: the part that all rules share."""

    def __init__(self, x: Rows, w: Rows, a: Rows, nbr: Sequence[Sequence[int]], temperature: float) -> None:
        self.x, self.w, self.nbr = x, w, nbr
        self.images, self.features, self.inputs = range(len(a)), range(len(w)), range(len(w[0]))
        self.s = [[abs(a[b][d]) for d in self.features] for b in self.images]
        self.r = [[0.0 for _ in self.features] for _ in self.images]
        for b in self.images:
            for d in self.features:
                margin = self.s[b][d] - max((self.s[b][j] for j in nbr[d]), default=0.0)
                self.r[b][d] = 1 / (1 + math.exp(-temperature * margin))
        self.coverage = [sum(self.r[b]) for b in self.images]
        self.win_rate = [sum(self.r[b][d] for b in self.images) / len(self.images) for d in self.features]
        self.in_nbr = [[0.0 for _ in self.features] for _ in self.images]
        for b in self.images:
            winner = self.r[b].index(max(self.r[b]))
            for d in nbr[winner]:
                self.in_nbr[b][d] = 1.0

    def tensors(self) -> Tensors:
        return {
            "strength": self.s,
            "rank_score": self.r,
            "image_coverage": self.coverage,
            "win_rate": self.win_rate,
            "in_nbr": self.in_nbr,
        }

    def column_normalised(self, pull: Rows) -> list[Vector]:
        sums = [sum(pull[b][d] for b in self.images) + 1e-8 for d in self.features]
        return [[pull[b][d] / sums[d] for d in self.features] for b in self.images]

    def target(self, pull: Rows) -> list[Vector]:
        return [[sum(pull[b][d] * self.x[b][f] for b in self.images) for f in self.inputs] for d in self.features]

    def image_novelty(self, clamp: float) -> Vector:
        nv = [1 / (coverage + 1e-8) for coverage in self.coverage]
        mean = sum(nv) / len(nv)
        return [min(novelty / (mean + 1e-8), clamp) for novelty in nv]

    def feature_novelty(self) -> Vector:
        novelty = []
        for d in self.features:
            free = sum(self.r[b][d] / (self.coverage[b] + 1e-8) for b in self.images)
            novelty.append(free / (sum(self.r[b][d] for b in self.images) + 1e-8))
        return novelty

    def local_coverage(self) -> list[Vector]:
        return [[sum(self.r[b][j] for j in self.nbr[d]) for d in self.features] for b in self.images]

    def bullies(self) -> tuple[list[Vector], Vector]:
        directions, magnitudes = [], []
        for d in self.features:
            beat = []
            for j in self.nbr[d]:
                excess = [max(self.s[b][j] - self.s[b][d], 0.0) for b in self.images]
                beat.append(sum(excess) / len(excess))
            total = sum(beat) + 1e-8
            direction = [0.0 for _ in self.inputs]
            for share, j in zip(beat, self.nbr[d], strict=True):
                for f in self.inputs:
                    direction[f] += share / total * self.w[j][f]
            length = norm(direction)
            magnitudes.append(length)
            directions.append([value / length if length > 0 else 0.0 for value in direction])
        return directions, magnitudes

    def rotated_target(self, pull: Rows, directions: Rows) -> list[Vector]:
        """The target of inputs that each lost its projection on the direction: one copy of the batch a feature."""
        targets = []
        for d in self.features:
            target = [0.0 for _ in self.inputs]
            for b in self.images:
                along = dot(self.x[b], directions[d])
                for f in self.inputs:
                    target[f] += pull[b][d] * (self.x[b][f] - along * directions[d][f])
            targets.append(target)
        return targets


def v1(batch: Batch, clamp: float) -> Tensors:
    r, nv = batch.r, batch.image_novelty(clamp)
    som_weight = [[(1 - r[b][d]) * batch.in_nbr[b][d] * nv[b] for d in batch.features] for b in batch.images]
    return {
        **batch.tensors(),
        "image_novelty": nv,
        "grad_mask": [[r[b][d] * nv[b] for d in batch.features] for b in batch.images],
        "som_weight": som_weight,
        "som_targets": batch.target(batch.column_normalised(som_weight)),
    }


def m3_0(batch: Batch, clamp: float) -> Tensors:
    tensors = v1(batch, clamp)
    directions, magnitudes = batch.bullies()
    som_weight = tensors["som_weight"]
    return {
        **tensors,
        "bully_direction": directions,
        "bully_magnitude": magnitudes,
        "som_targets": batch.rotated_target(batch.column_normalised(som_weight), directions),
        "noise": magnitudes,
    }


def m3_0_1(batch: Batch, clamp: float) -> Tensors:
    r, nv, wr = batch.r, batch.image_novelty(clamp), batch.win_rate
    directions, magnitudes = batch.bullies()
    rotation = [4 * rate * (1 - rate) for rate in wr]
    attraction = [1 - rate for rate in wr]
    attract = [[(1 - r[b][d]) * nv[b] * attraction[d] for d in batch.features] for b in batch.images]
    rotate = [[(1 - r[b][d]) * nv[b] * batch.in_nbr[b][d] * rotation[d] for d in batch.features] for b in batch.images]
    attract, rotate = batch.column_normalised(attract), batch.column_normalised(rotate)
    attract_target, rotate_target = batch.target(attract), batch.rotated_target(rotate, directions)
    som_targets = []
    for d in batch.features:
        total = attraction[d] + rotation[d] + 1e-8
        som_targets.append(
            [(attraction[d] * attract_target[d][f] + rotation[d] * rotate_target[d][f]) / total for f in batch.inputs]
        )
    return {
        **batch.tensors(),
        "image_novelty": nv,
        "bully_direction": directions,
        "bully_magnitude": magnitudes,
        "gradient_weight": wr,
        "rotation_weight": rotation,
        "attraction_weight": attraction,
        "attract_pull": attract,
        "rotate_pull": rotate,
        "attract_target": attract_target,
        "rotate_target": rotate_target,
        "grad_mask": [[r[b][d] * nv[b] * wr[d] for d in batch.features] for b in batch.images],
        "som_weight": [
            [(1 - r[b][d]) * nv[b] * (attraction[d] + batch.in_nbr[b][d] * rotation[d]) for d in batch.features]
            for b in batch.images
        ],
        "som_targets": som_targets,
        "noise": magnitudes,
    }


def m3_0_2(batch: Batch) -> Tensors:
    r, images, features, inputs = batch.r, batch.images, batch.features, batch.inputs
    novelty, win_rate = batch.feature_novelty(), batch.win_rate
    local_coverage = batch.local_coverage()
    local_novelty = [[1 / (local_coverage[b][d] + 1) for d in features] for b in images]

    effective_win = [win_rate[d] * novelty[d] for d in features]
    gradient_weight = effective_win
    contender = [(1 - effective_win[d]) * win_rate[d] for d in features]
    attraction = [(1 - effective_win[d]) * (1 - win_rate[d]) for d in features]

    grad_mask = [[r[b][d] * novelty[d] * gradient_weight[d] for d in features] for b in images]

    local_pull = [
        [r[b][d] * local_novelty[b][d] * (1 - novelty[d]) * batch.in_nbr[b][d] * contender[d] for d in features]
        for b in images
    ]
    global_pull = [[(1 - r[b][d]) / (batch.coverage[b] + 1e-8) * attraction[d] for d in features] for b in images]
    # Where a feature's novelty passes through 1, both of these pass through 0.
    noise = [sum(local_pull[b][d] for b in images) + 1e-8 for d in features]
    local_pull, global_pull = batch.column_normalised(local_pull), batch.column_normalised(global_pull)
    local_target, global_target = batch.target(local_pull), batch.target(global_pull)

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
        **batch.tensors(),
        "feature_novelty": novelty,
        "local_coverage": local_coverage,
        "local_novelty": local_novelty,
        "effective_win": effective_win,
        "gradient_weight": gradient_weight,
        "contender_weight": contender,
        "attraction_weight": attraction,
        "grad_mask": grad_mask,
        "local_pull": local_pull,
        "local_target": local_target,
        "global_pull": global_pull,
        "global_target": global_target,
        "som_targets": som_targets,
        "som_weight": som_weight,
        "noise": noise,
    }


def decoupled(batch: Batch, rescue_k: int) -> Tensors:
    r, wr, images, features = batch.r, batch.win_rate, batch.images, batch.features
    novelty, local_coverage = batch.feature_novelty(), batch.local_coverage()
    local_novelty = [[1 / (local_coverage[b][d] + 1) for d in features] for b in images]
    winner_pull = batch.column_normalised(
        [[r[b][d] * local_novelty[b][d] * batch.in_nbr[b][d] for d in features] for b in images]
    )
    similarity = [
        [dot(batch.x[b], batch.w[d]) / ((norm(batch.x[b]) + 1e-8) * (norm(batch.w[d]) + 1e-8)) for d in features]
        for b in images
    ]
    rank = [[0.0 for _ in features] for _ in images]
    score = [[0.0 for _ in features] for _ in images]
    rescue_pull = [[0.0 for _ in features] for _ in images]
    noise = [1.0]
    for d in features:
        order = sorted(images, key=lambda b: similarity[b][d])
        noise += [similarity[q][d] - similarity[p][d] for p, q in pairwise(order)]
        for place, b in enumerate(order):
            rank[b][d] = place / (len(images) - 1) if len(images) > 1 else 0.0
            score[b][d] = rank[b][d] / (batch.coverage[b] + 1)
        best = sorted(images, key=lambda b: score[b][d], reverse=True)
        noise += [score[p][d] - score[q][d] for p, q in pairwise(best)]
        for b in best[:rescue_k]:
            rescue_pull[b][d] = 1 / min(rescue_k, len(images))
    winner_target, rescue_target = batch.target(winner_pull), batch.target(rescue_pull)
    return {
        **batch.tensors(),
        "feature_novelty": novelty,
        "local_coverage": local_coverage,
        "local_novelty": local_novelty,
        "winner_pull": winner_pull,
        "similarity": similarity,
        "similarity_rank": rank,
        "rescue_score": score,
        "rescue_pull": rescue_pull,
        "som_rate": [1 - novelty[d] for d in features],
        "winner_target": winner_target,
        "rescue_target": rescue_target,
        "grad_mask": r,
        "som_weight": [[wr[d] * winner_pull[b][d] + (1 - wr[d]) * rescue_pull[b][d] for d in features] for b in images],
        "som_targets": [
            [wr[d] * winner_target[d][f] + (1 - wr[d]) * rescue_target[d][f] for f in batch.inputs] for d in features
        ],
        "noise": noise,
    }


def gating(batch: Batch) -> Tensors:
    mask = [[0.1 + 0.9 * batch.r[b][d] for d in batch.features] for b in batch.images]
    return {**batch.tensors(), "grad_mask": mask}


def rule(name: str, batch: Batch, clamp: float, rescue_k: int) -> Tensors:
    rules = {
        "v1": lambda: v1(batch, clamp),
        "m3-0": lambda: m3_0(batch, clamp),
        "m3-0.1": lambda: m3_0_1(batch, clamp),
        "m3-0.2": lambda: m3_0_2(batch),
        "decoupled": lambda: decoupled(batch, rescue_k),
        "nbr-k8": lambda: gating(batch),
    }
    return rules[name]()
