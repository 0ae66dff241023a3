"""Recording: what history and watches cost a step, and that a million steps stay within their budget."""

from __future__ import annotations

import resource
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from bcl.panel import bcl_panel
from recipes.trainer import Trainer
from tdb.controller import DebugController
from tdb.history import History
from tdb.results import Curves
from tdb.views import draw
from tdb.watches import Watches
from tests.bench.side_by_side import Arm, Row, made_anew, quartiles
from tests.bench.spine import OneRun, attached, trainer

STEPS, ROUNDS, MAKINGS = 10, 1200, 10
MIB = 2**20
WATCHED = [0, 15, 31, 47, 63]
HANDFUL = 50  # steps come into history together


def recording() -> list[Row]:
    """Time training with everything recorded at every step, beside the same training without tdb."""
    torch.set_num_threads(1)
    watching = made_anew(watched_rule, lambda: steps_of(attached()[0]), ROUNDS, MAKINGS)
    plain = made_anew(plain_layer, lambda: steps_of(trainer("control")), ROUNDS, MAKINGS)
    rows = []
    for what, ratios, target in (
        ("BCL, 5 watches, all metrics each step", watching, 1.05),
        ("9 metrics of a plain layer, each step", plain, 1.10),
    ):
        found = statistics.median(ratios)
        rows.append(Row(what, f"{found:.3f}x ({quartiles(ratios)})", f"{target:.2f}x", found <= target))
    return rows


def steps_of(made: Trainer, run: OneRun | None = None) -> Arm:
    """Return what takes some steps of a trainer."""
    return lambda: made.train(STEPS, debug_controller=run)


def watched_rule() -> Arm:
    """Return what takes some steps under BCL with five watches."""
    controller, (made, rule) = DebugController(), attached()
    controller.focus_on("encoder.0")
    controller.add_panel(bcl_panel(rule))
    for feature in WATCHED:
        controller.add_watch(feature)
    return steps_of(made, OneRun(controller))


def plain_layer() -> Arm:
    """Return what takes some steps of a plain layer whose metrics are recorded at each."""
    controller = DebugController()
    controller.recorder.dense = True
    return steps_of(trainer("control"), OneRun(controller))


def resident() -> float:
    """Return the memory that this process holds now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


def a_million_steps() -> list[Row]:
    """Record a million steps of 9 x 64 metrics and 5 watches, and measure memory and the cost of a step."""
    history, names = History(256 * MIB), tuple(f"metric_{i}" for i in range(9))
    watches = Watches(history.budget)
    rng = np.random.default_rng(0)
    blocks, weights = rng.random((HANDFUL, 9, 64), dtype=np.float32), rng.random((64, 784), dtype=np.float32)
    watches.add(WATCHED, weights)
    watched, watched_blocks = np.stack([weights[WATCHED]] * HANDFUL), blocks[:, :, WATCHED]
    before = resident()
    taken = []
    for first in range(0, 1_000_000, HANDFUL):
        ticks = range(first, first + HANDFUL)
        places = np.array([ticks, ticks]).T
        steps = [(tick, tick, 1, 0.5, 0.0) for tick in ticks]
        began = time.perf_counter()
        history.append_metrics(0, places, names, blocks)
        history.append_steps(0, steps)
        watches.append(0, places, watched, names, watched_blocks)
        taken.append((time.perf_counter() - began) / HANDFUL)
    grown = resident() - before
    tenth = len(taken) // 10
    whole, early, late = (float(np.median(part)) * 1e6 for part in (taken, taken[:tenth], taken[-tenth:]))
    return [
        Row("a million steps, resident memory beyond the start", f"{grown:.0f} MiB", "281 MiB", grown <= 281.6),
        Row("  history and 5 watches, at the median", f"{whole:.1f} us a step", "5 us", whole <= 5),
        Row(
            "  the same, first and last 100,000 steps",
            f"{early:.1f}, {late:.1f}",
            "not growing",
            late <= 1.5 * early + 1,
        ),
    ]


def a_million_points() -> list[Row]:
    """Draw a curve of a million points."""
    steps = np.arange(1_000_000)
    values = np.random.default_rng(0).standard_normal(1_000_000).cumsum()
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        draw(Curves({"loss": (steps, values)}, "loss"))
        taken.append(time.perf_counter() - began)
    median = statistics.median(taken)
    return [Row("a chart of a million points", f"{median:.2f} s", "1 s", median <= 1)]


def over_time() -> list[Row]:
    """Return the rows of this part."""
    return [*recording(), *a_million_points(), *a_million_steps()]
