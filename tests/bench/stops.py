"""Armed stop points: what they cost a step, beside a loop that computes and compares the same metric itself."""

from __future__ import annotations

import statistics
import time
from functools import partial
from types import SimpleNamespace

import torch

from bcl import BCL
from bcl.panel import bcl_panel
from tdb.armed import Armed
from tdb.commands import all_commands
from tdb.controller import DebugController
from tdb.panel import Panel, StatusRule
from tdb.session import Session
from tdb.stops import parse_stop
from tests.bench.side_by_side import Arm, Row, in_turns, ratio, spread
from tests.bench.spine import OneRun, attached

BOUNDARIES, ROUNDS = 2000, 60
STEPS, TRAINING_ROUNDS = 20, 100


def armed(controller: DebugController, conditions: list[str]) -> Armed:
    """Arm stop points as `break` does."""
    session = Session(controller, all_commands())
    for condition in conditions:
        session.armed.points.add(parse_stop(condition, 0))
    session.armed.refresh()
    return session.armed


class Loop:
    """A loop of nothing but boundaries, over a layer whose rule has a win rate."""

    def __init__(self, conditions: list[str], *, compares: bool = False, records: bool = True) -> None:
        self.win_rate = torch.rand(64)
        self.controller = DebugController()
        self._compares = compares
        status = StatusRule("win_rate", 0.01, 0.5)
        self.controller.add_panel(Panel("wins", "", lambda: {"win_rate": self.win_rate}, ["win_rate"], status))
        self.controller.recorder.every = 10**9  # what recording costs is another question
        check = armed(self.controller, conditions)
        if not records:
            check.looked_at = lambda: ((), [])  # type: ignore[method-assign]
        self.controller.begin(SimpleNamespace(model=torch.nn.Linear(784, 64), optimizer=None))
        self._metrics = self.controller.panels[0].metrics

    def run(self) -> float:
        """Pass the boundaries; return the processor time of one, in microseconds."""
        began = time.thread_time()
        for step in range(1, BOUNDARIES + 1):
            self.controller.capture_batch(None, 0.5, step)
            if self._compares and self._metrics()["win_rate"].numpy()[31] < -1.0:
                raise AssertionError
            self.controller.wait_if_paused()
        return (time.thread_time() - began) / BOUNDARIES * 1e6


def stops() -> list[Row]:
    """Time one condition and twenty."""
    torch.set_num_threads(1)
    condition = ["when win_rate[31] < -1"]
    computed, one, recording = Loop([], compares=True), Loop(condition, records=False), Loop(condition)
    times = [(computed.run(), one.run(), recording.run()) for _ in range(ROUNDS)]
    over = statistics.median(asked - bare for bare, asked, _ in times)
    more = statistics.median(recorded - asked for _, asked, recorded in times)
    rows = [
        Row("one armed condition, over computing it", f"{over:.2f} us", "2 us", over <= 2),
        Row("  and recording what it looks at", f"{more:.2f} us", "(none set)", True),
    ]

    arms: dict[str, Arm] = {}
    for name, conditions, records in (("computing", 0, False), ("armed", 20, False), ("recording", 20, True)):
        trained, rule = attached()
        controller = DebugController()
        controller.focus_on("encoder.0")
        controller.add_panel(bcl_panel(rule))
        check = armed(controller, [f"when win_rate[{feature}] < -1" for feature in range(conditions)])
        if not records:
            check.looked_at = lambda: ((), [])  # type: ignore[method-assign]
        compute = partial(_compute, rule) if not conditions else None
        arms[name] = partial(trained.train, STEPS, on_step=compute, debug_controller=OneRun(controller))
    taken = in_turns(arms, TRAINING_ROUNDS)
    for name, what, most in (
        ("armed", "20 armed conditions, over computing", 1.01),
        ("recording", "  and recording", 99),
    ):
        found = ratio(taken, name, "computing")
        measured = f"{found:.3f}x ({spread(taken, name, 'computing')})"
        rows.append(Row(f"{what}, a BCL step", measured, f"{most}x" if most < 99 else "(none set)", found <= most))
    return rows


def _compute(rule: BCL, step: int) -> None:
    """Compute what the conditions ask for."""
    del step
    rule.get_step_metrics(("win_rate",))["win_rate"].numpy()
