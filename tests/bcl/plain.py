"""M3-0.2 written straight down with plain indexing: what the fast rule is compared with and timed against.

The formulas stand in the order of their description, gathers go over [B, D, k], both targets are computed, and
nothing is shared or fused.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def plain_neighbours(weight: Tensor, k: int) -> Tensor:
    unit = weight / weight.square().sum(dim=1, keepdim=True).sqrt().clamp_min(1e-12)
    cosine = unit @ unit.T
    cosine[torch.arange(len(weight)), torch.arange(len(weight))] = -torch.inf
    return cosine.topk(min(k, len(weight) - 1), dim=1).indices


def plain_rule(x: Tensor, a: Tensor, neighbours: Tensor, temperature: float) -> dict[str, Tensor]:
    s = a.abs()
    margin = s - s[:, neighbours].amax(dim=-1)
    r = torch.sigmoid(temperature * margin)
    coverage = r.sum(dim=1)
    feature_novelty = (r / (coverage + 1e-8)[:, None]).sum(dim=0) / (r.sum(dim=0) + 1e-8)
    local_coverage = r[:, neighbours].sum(dim=-1)
    local_novelty = 1 / (local_coverage + 1)
    win_rate = r.mean(dim=0)
    effective_win = win_rate * feature_novelty
    cw = (1 - effective_win) * win_rate
    aw = (1 - effective_win) * (1 - win_rate)
    winner = r.argmax(dim=1)
    in_nbr = torch.zeros_like(r).scatter_(1, neighbours[winner], 1.0)
    grad_mask = r * feature_novelty[None, :] * effective_win[None, :]
    local_pull = r * local_novelty * (1 - feature_novelty)[None, :] * in_nbr * cw[None, :]
    local_pull = local_pull / (local_pull.sum(dim=0, keepdim=True) + 1e-8)
    local_target = local_pull.T @ x
    global_pull = (1 - r) / (coverage + 1e-8)[:, None] * aw[None, :]
    global_pull = global_pull / (global_pull.sum(dim=0, keepdim=True) + 1e-8)
    global_target = global_pull.T @ x
    som_targets = (cw[:, None] * local_target + aw[:, None] * global_target) / (cw + aw + 1e-8)[:, None]
    som_weight = local_pull * cw[None, :] + global_pull * aw[None, :]
    return {
        "strength": s,
        "rank_score": r,
        "image_coverage": coverage,
        "feature_novelty": feature_novelty,
        "local_coverage": local_coverage,
        "local_novelty": local_novelty,
        "win_rate": win_rate,
        "effective_win": effective_win,
        "contender_weight": cw,
        "attraction_weight": aw,
        "in_nbr": in_nbr,
        "grad_mask": grad_mask,
        "local_pull": local_pull,
        "local_target": local_target,
        "global_pull": global_pull,
        "global_target": global_target,
        "som_weight": som_weight,
        "som_targets": som_targets,
    }


class PlainBCL:
    """The plain rule attached to one layer, for measuring whole steps."""

    def __init__(
        self, layer: nn.Linear, som_lr: float, k: int = 8, temperature: float = 5.0, recompute_every: int = 50
    ) -> None:
        self.layer, self.som_lr, self.k = layer, som_lr, k
        self.temperature, self.recompute_every = temperature, recompute_every
        self.forwards = 0
        self.last: dict[str, Tensor] = {}
        layer.register_forward_hook(self.forward)
        layer.weight.register_post_accumulate_grad_hook(self.pull)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def forward(self, _layer: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        if self.forwards % self.recompute_every == 0:
            self.neighbours = plain_neighbours(self.layer.weight, self.k)
        self.forwards += 1
        self.last = last = plain_rule(args[0], output, self.neighbours, self.temperature)
        output.register_hook(lambda grad: grad * last["grad_mask"])  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def pull(self, weight: Tensor) -> None:
        self.last["som_delta"] = self.som_lr * (self.last["som_targets"] - weight)
        weight += self.last["som_delta"]
