"""Armed stop points: what they cost a step, beside a loop that computes and compares the same metric itself."""

from __future__ import annotations

import statistics
import time
from types import SimpleNamespace

import torch

from bcl.panel import bcl_panel
from tdb.armed import Armed
from tdb.commands import all_commands
from tdb.controller import DebugController
from tdb.panel import Panel, StatusRule
from tdb.session import Session
from tdb.stops import parse_stop
from tests.bench.side_by_side import Row, in_turns, ratio, spread
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

    debugged, rule = attached()
    controller = DebugController()
    controller.focus_on("encoder.0")
    controller.add_panel(bcl_panel(rule))
    free, (running, other) = DebugController(), attached()
    free.focus_on("encoder.0")
    free.add_panel(bcl_panel(other))
    armed(controller, [f"when win_rate[{feature}] < -1" for feature in range(20)])

    def compute(step: int) -> None:
        del step
        other.get_step_metrics(("win_rate",))["win_rate"].numpy()

    run, free_run = OneRun(controller), OneRun(free)
    arms = {
        "computing": lambda: running.train(STEPS, on_step=compute, debug_controller=free_run),
        "armed": lambda: debugged.train(STEPS, debug_controller=run),
    }
    taken = in_turns(arms, TRAINING_ROUNDS)
    found = ratio(taken, "armed", "computing")
    measured = f"{found:.3f}x ({spread(taken, 'armed', 'computing')})"
    rows.append(Row("20 armed conditions, over computing, a BCL step", measured, "1.01x", found <= 1.01))
    return rows
