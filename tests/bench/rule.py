"""The BCL rule: a step beside one with the same formulas written as plain indexing, and the recipe in tdb's free run.

In the first a step is model, rule and Adam, and the batches lie in memory; the second is the recipe as it is, with its
loader, on the full MNIST where there is a copy.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from bcl import BCLConfig, attach_bcl
from bcl.health import BCLHealthTracker
from bcl.panel import bcl_panel
from recipes import data
from recipes.batches import Loader
from recipes.model import LinearAutoencoder
from recipes.trainer import Trainer
from recipes.training import LAYER, HealthWatch
from tdb.controller import DebugController
from tests.bcl.plain import PlainBCL
from tests.bench.side_by_side import Arm, Row, in_turns, quartiles, ratio, spread, whole_ratio
from tests.bench.spine import OneRun
from tests.mnist import HAS_MNIST, SHARED

STEPS, ROUNDS = 10, 100
PROCESSES, FREE_ROUNDS = 5, 500  # rounds of ten steps: 5,000
WITH_STATE = "with-state"
CONFIG = BCLConfig(som_lr=0.001)


def trainer(loader: Loader) -> Trainer:
    """Return a trainer of the recipe's model, without a rule."""
    torch.manual_seed(0)
    model = LinearAutoencoder()
    return Trainer(model, torch.optim.Adam(model.parameters(), lr=1e-3), loader)


def rule() -> list[Row]:
    """Return the rows of this part."""
    torch.set_num_threads(1)
    batches = list(data.batches(data.load().train, 128))
    return [*beside_plain_indexing(batches), *free_run()]


def beside_plain_indexing(batches: list[tuple[Tensor, Tensor]]) -> list[Row]:
    """Time whole steps, after a look at whether both rules give the same numbers."""
    plain, fast, bare = trainer(batches), trainer(batches), trainer(batches)
    by_indexing = PlainBCL(cast(nn.Linear, plain.model.get_submodule(LAYER)), som_lr=CONFIG.som_lr)
    fast_rule = attach_bcl(fast.model, LAYER, CONFIG)
    for arm in (plain, fast):
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


def free_run() -> list[Row]:
    """Time the recipe's bcl-slow in tdb's free run, with all that the recipe tells tdb, beside the recipe alone.

    In several processes: where both lie in the memory of one decides more about a single figure than tdb does.
    """
    rows, digits = [], f"{len(load().train):,} digits"
    for arguments, what in (([], "in tdb's free run"), ([WITH_STATE], "with checkpoints, too")):
        ratios = []
        for _ in range(PROCESSES):
            command = [sys.executable, "-m", "tests.bench.rule", *arguments]
            ratios.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        found, title = statistics.median(ratios), f"{FREE_ROUNDS * STEPS:,} steps of bcl-slow, {digits}, {what}"
        measured = f"{found:.4f}x ({quartiles(ratios)})"
        rows.append(Row(f"{title}, {PROCESSES} processes", measured, "1.01x", found <= 1.01))
    return rows


def one_process(*, with_state: bool) -> float:
    """Return the ratio of both in this process."""
    torch.set_num_threads(1)
    digits = load().train
    arms = {"tdb": recipe(digits, DebugController, with_state=with_state), "alone": recipe(digits)}
    return whole_ratio(in_turns(arms, FREE_ROUNDS), "tdb", "alone")


def load() -> data.Data:
    """Return the full MNIST where there is a copy, else the digits that the recipe trains on without one."""
    return data.load(SHARED if HAS_MNIST else None)


def recipe(
    digits: data.Digits,
    debugger: Callable[[], DebugController] | None = None,
    *,
    with_state: bool = False,
) -> Arm:
    """Return what takes ten steps of the recipe's bcl-slow, as `recipes.training` does."""
    loader = data.batches(digits, 128)
    made = trainer(loader)
    bcl = attach_bcl(made.model, LAYER, CONFIG)
    watch = HealthWatch(BCLHealthTracker(), bcl, "bcl-slow", len(loader))
    if debugger is None:
        return lambda: made.train(STEPS, watch.on_step, watch.record)
    controller = debugger()
    controller.focus_on(LAYER)
    controller.add_panel(bcl_panel(bcl, watch.tracker))

    run = OneRun(controller, with_state=with_state)
    return lambda: made.train(STEPS, watch.on_step, watch.record, run)


if __name__ == "__main__":
    print(one_process(with_state=WITH_STATE in sys.argv))
