"""The BCL rule: a step beside one with the same formulas written as plain indexing, and beside one without a rule.

Under tdb, its 5,000 steps in turns of ten are in `tests.bench.spine`.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from recipes.trainer import Trainer
from tests.bcl.plain import PlainBCL
from tests.bench.side_by_side import Row, in_turns, ratio, spread
from tests.bench.spine import attached, trainer

STEPS, ROUNDS = 10, 100


def plainly_attached() -> tuple[Trainer, PlainBCL]:
    """Return a trainer of the recipe with the plain rule."""
    made = trainer("control")
    return made, PlainBCL(cast(nn.Linear, made.model.get_submodule("encoder.0")), som_lr=0.001)


def rule() -> list[Row]:
    """Return the rows of this part: whole steps, after a look at whether both rules give the same numbers."""
    torch.set_num_threads(1)
    (plain, by_indexing), (fast, fast_rule), bare = plainly_attached(), attached(), trainer("control")
    for arm in (plain, fast):
        torch.manual_seed(1)  # the order of the images
        arm.train(1)
    tensors = fast_rule.step_tensors()
    worst = max((tensors[name] - value).abs().max().item() for name, value in by_indexing.last.items())
    times = in_turns(
        {"bare": lambda: bare.train(STEPS), "plain": lambda: plain.train(STEPS), "bcl": lambda: fast.train(STEPS)},
        ROUNDS,
    )
    found = ratio(times, "bcl", "plain")
    measured = f"{found:.3f}x ({spread(times, 'bcl', 'plain')})"
    return [
        Row("every tensor of a step, greatest difference from plain indexing", f"{worst:.1e}", "1e-5", worst <= 1e-5),
        Row("a BCL step beside one by plain indexing", measured, "0.75x", found <= 0.75),
        Row("  beside a step without a rule", f"{ratio(times, 'bcl', 'bare'):.3f}x", "(none set)", True),
    ]
