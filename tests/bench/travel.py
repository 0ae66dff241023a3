"""Time travel: what checkpoints cost a run, and how long it takes to go back."""

from __future__ import annotations

import statistics
import threading
import time
from types import SimpleNamespace
from typing import Any

import torch

from recipes.trainer import Trainer
from tdb.commands import all_commands
from tdb.controller import DebugController
from tdb.session import Session
from tdb.travel.slots import Slots
from tdb.travel.snapshot import Snapshot
from tdb.travel.state import State
from tests.bench.side_by_side import Row, in_turns, ratio, seconds, spread
from tests.bench.spine import OneRun, trainer

STEPS, ROUNDS, COPIES = 60, 100, 200
LONG_RUN, FAR_BACK = 20_000, 10_000
BACKS, WAY = 40, 25


class TravellingRun(OneRun):
    """One run that can be gone back to."""

    def begin(self, target: Trainer) -> None:
        """Begin once."""
        if not self._begun:
            self._begun = True
            self._controller.begin(target)


def checkpoints_beside_none() -> list[Row]:
    """Train in turns with checkpoints and without, both under tdb; each turn has its share of them."""
    without, again, taking = trainer("control"), trainer("control"), trainer("control")
    controller = DebugController()
    plain, also_plain, travelling = OneRun(DebugController()), OneRun(DebugController()), TravellingRun(controller)
    times = in_turns(
        {
            "without": lambda: without.train(STEPS, debug_controller=plain),
            "again": lambda: again.train(STEPS, debug_controller=also_plain),
            "taking": lambda: taking.train(STEPS, debug_controller=travelling),
        },
        ROUNDS,
    )
    found = ratio(times, "taking", "without")
    measured = f"{found:.4f}x ({spread(times, 'taking', 'without')})"
    kept = len(controller.travel.checkpoints)
    return [
        Row(f"checkpoints, {kept} of {(ROUNDS + 1) * STEPS} steps", measured, "1.01x", found <= 1.01),
        Row("  the same without, against itself", f"{ratio(times, 'again', 'without'):.4f}x", "1 (noise)", True),
    ]


def one_copy() -> list[Row]:
    """Copy and put back everything, beside a plain copy of the same tensors: of the recipe, and where copies matter."""
    small, large = trainer("control"), wide()
    small.train(3)
    return [*beside_a_copy(small, COPIES, None), *beside_a_copy(large, 12, 1.3)]


def wide() -> SimpleNamespace:
    """Return ten million parameters with Adam after a step."""
    model = torch.nn.Sequential(*(torch.nn.Linear(1024, 1024) for _ in range(10)))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(8, 1024)).sum().backward()
    optimizer.step()
    return SimpleNamespace(model=model, optimizer=optimizer, clears_gradients=True)


def beside_a_copy(target: Any, rounds: int, most: float | None) -> list[Row]:
    """Measure one target's checkpoint; a fixed part of it, which no copy has, is told apart."""
    state, slots = State(target, [], {}), Slots()
    snapshot = state.take(slots)
    live = list(state.everything()[0].values())
    spare = [torch.empty_like(each).copy_(each) for each in live]
    kept: list[Snapshot] = []

    def plain() -> None:
        with torch.no_grad():
            for one, other in zip(spare, live, strict=True):
                one.copy_(other)

    def taken() -> None:
        slots.release(state.take(slots).tensors)

    def first_time() -> None:  # in memory that was never used: until the budget is full
        kept[:] = [state.take(Slots())]

    def changed() -> None:
        with torch.no_grad():
            for each in live:
                each.add_(0)

    arms = {"plain": plain, "taken": taken, "first": first_time, "restored": lambda: state.put_back(snapshot)}
    times = in_turns({"change": changed, **arms, "looking": state.everything}, rounds)
    medians = {name: statistics.median(each) * 1e6 for name, each in times.items()}
    found, size = ratio(times, "taken", "plain"), sum(each.nbytes for each in live) / 2**20
    beyond = f"{medians['looking']:.0f} us to see what there is"
    measured = f"{found:.2f}x" if most is not None else beyond
    target_said = f"{most}x a copy" if most is not None else ""
    return [
        Row(f"a checkpoint of {size:.1f} MiB, {medians['taken']:.0f} us", measured, target_said, found <= (most or 99)),
        Row("  in memory that was never used", f"{ratio(times, 'first', 'plain'):.2f}x", "", True),
        Row("  put back, data position included", f"{medians['restored']:.0f} us", "", True),
    ]


def going_back() -> list[Row]:
    """Go back one step, from where training was to stop and further, and halfway through a long run."""
    controller, made = DebugController(), trainer("control")
    session = Session(controller, all_commands())

    def train() -> None:
        torch.set_flush_denormal(True)  # it is set for each thread
        made.train(2 * LONG_RUN, debug_controller=controller)

    thread = threading.Thread(target=train, daemon=True)

    def do(name: str, *arguments: object) -> float:
        command = session.registry.find(name)
        assert command is not None
        return seconds(lambda: command.function(session, *arguments))

    controller.gate.stop_at_begin()
    controller.gate.launched(thread)
    thread.start()
    controller.wait()
    step = do("until", str(LONG_RUN)) / LONG_RUN
    state, firsts, again = State(made, [], {}), [], []

    def put_back() -> float:
        snapshot = state.take(Slots())
        return seconds(lambda: state.put_back(snapshot))

    for _ in range(BACKS):  # close together: this machine is not as fast at any time
        one = do("until", str(controller.position.step + WAY)) / WAY
        first, second = do("back"), do("back")
        do("goto", controller.position.step + 2)
        allowed = controller.gate.call(put_back) + 2 * one
        firsts.append(first / allowed)
        again.append(second / allowed)
    controller.resume()
    time.sleep(20 * step)
    controller.pause()
    controller.wait()
    unforeseen = do("back")
    far = do("goto", FAR_BACK)
    controller.stop()
    thread.join(10)
    rows = [
        Row(
            f"{name}, of putting back + 2 steps",
            f"{statistics.median(found):.3f}x",
            "1x",
            statistics.median(found) <= 1,
        )
        for name, found in (("back 1 from where `until` stopped", firsts), ("back 1 once more", again))
    ]
    return [
        *rows,
        Row("back 1 after a pause that came any time", f"{unforeseen / step:.0f} steps' time", "", True),
        Row(f"goto {FAR_BACK:,} from {LONG_RUN:,}", f"{far / step:.0f} steps' time", "500 steps", far <= 500 * step),
    ]


def travel() -> list[Row]:
    """Measure."""
    torch.set_num_threads(1)
    return [*checkpoints_beside_none(), *one_copy(), *going_back()]
