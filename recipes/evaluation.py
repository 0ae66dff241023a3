"""What a trained condition is worth: on digits that it was not trained on, and by its features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from bcl import measures
from bcl.rules import RULES
from recipes.comparison import Row
from recipes.data import Digits
from recipes.training import LAYER, Trained
from tdb.counted import counted


def summary(trained: Trained) -> str:
    """Return the line that training a condition ends with."""
    trainer, health = trained.trainer, trained.health
    weight = trained.model.get_parameter(f"{LAYER}.weight")
    alive = f"{health.dead} dead, {counted(health.winner, 'winner')}, " if health else ""
    return (
        f"{trained.name}: {counted(trainer.step, 'step')}, "
        f"loss {trainer.losses[-1].item():.4f}, "
        f"weight cosine {measures.weight_cosine_similarity(weight).item():.3f}, {alive}"
        f"{trained.seconds:.1f} s, {trainer.step / trained.seconds:,.0f} steps/s"
    )


def row_of(trained: Trained, evaluation: Digits, health_report: Mapping[str, Any] | None) -> Row:
    """Evaluate a trained condition.

    Draws no random number, and leaves the rule as it is: without a gradient it is inert.

    Args:
        trained: the condition.
        evaluation: digits that it was not trained on.
        health_report: its run, as `bcl.health.health_report` tells of it; None without a rule.
    """
    model, config, health = trained.model, trained.config, trained.health
    images, _ = evaluation[list(range(len(evaluation)))]  # [N, 1, 28, 28]
    images = images.to(trained.trainer.device)
    with torch.no_grad():
        output = model.get_submodule(LAYER)(images.flatten(1))  # [N, D]
        reconstruction = model(images)  # [N, 1, 28, 28]
    weight = model.get_parameter(f"{LAYER}.weight")  # [D, F]
    return Row(
        condition=trained.name,
        rule=config.rule if config else "",
        som_lr=config.som_lr if config and RULES[config.rule].pulls else None,
        loss=trained.trainer.losses[-1].item(),
        l1=measures.l1(reconstruction, images).item(),
        psnr=measures.psnr(reconstruction, images).item(),
        weight_cosine=measures.weight_cosine_similarity(weight).item(),
        effective_rank=measures.effective_rank(weight).item(),
        dead=health.dead if health else None,
        winners=health.winner if health else None,
        activation_sparsity=measures.activation_sparsity(output).item(),
        seconds=trained.seconds,
        health=health_report,
    )
