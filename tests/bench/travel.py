"""Time travel: what checkpoints cost a run, and how long it takes to go back."""

from __future__ import annotations

import statistics
import threading
import time

import torch

from recipes.trainer import Trainer
from tdb.commands import all_commands
from tdb.controller import DebugController
from tdb.session import Session
from tdb.travel.slots import Slots
from tdb.travel.state import State
from tests.bench.side_by_side import Row, in_turns, ratio, seconds, spread
from tests.bench.spine import OneRun, trainer

STEPS, ROUNDS = 20, 200
LONG_RUN, FAR_BACK = 20_000, 10_000


class TravellingRun(OneRun):
    """One run that can be gone back to."""

    def begin(self, target: Trainer) -> None:
        """Begin once."""
        if not self._begun:
            self._begun = True
            self._controller.begin(target)


def checkpoints_beside_none() -> list[Row]:
    """Train in turns with checkpoints and without, both under tdb."""
    without, taking = trainer("control"), trainer("control")
    controller = DebugController()
    plain, travelling = OneRun(DebugController()), TravellingRun(controller)
    times = in_turns(
        {
            "without": lambda: without.train(STEPS, debug_controller=plain),
            "taking": lambda: taking.train(STEPS, debug_controller=travelling),
        },
        ROUNDS,
    )
    found = ratio(times, "taking", "without")
    measured = f"{found:.4f}x ({spread(times, 'taking', 'without')})"
    kept = len(controller.travel.checkpoints)
    return [Row(f"checkpoints, {kept} of {(ROUNDS + 1) * STEPS} steps", measured, "1.01x", found <= 1.01)]


def one_copy() -> list[Row]:
    """Copy and put back everything, beside a plain copy of the same tensors."""
    made = trainer("control")
    made.train(3)
    state, slots = State(made, [], {}), Slots()
    tensors = [copied.tensor for copied in state.take(slots).tensors.values()]
    spare = [torch.empty_like(each) for each in tensors]

    def plain() -> None:
        for one, other in zip(spare, tensors, strict=True):
            one.copy_(other)

    def taken() -> None:
        for copied in state.take(slots).tensors.values():
            slots.release(copied)

    snapshot = state.take(slots)
    times = in_turns({"plain": plain, "taken": taken, "restored": lambda: state.put_back(snapshot)}, ROUNDS)
    medians = {name: statistics.median(each) * 1e6 for name, each in times.items()}
    found = ratio(times, "taken", "plain")
    size = sum(each.numel() * each.element_size() for each in tensors) / 2**20
    return [
        Row(f"a checkpoint of {size:.1f} MiB, {medians['taken']:.0f} us", f"{found:.2f}x", "1.3x a copy", found <= 1.3),
        Row("  put back, data position included", f"{medians['restored']:.0f} us", "", True),
    ]


def going_back() -> list[Row]:
    """Go back one step, and halfway through a long run."""
    controller, made = DebugController(), trainer("control")
    session = Session(controller, all_commands())
    thread = threading.Thread(target=lambda: made.train(LONG_RUN + 100, debug_controller=controller), daemon=True)
    controller.step(LONG_RUN)
    controller.gate.launched(thread)

    def do(name: str, *arguments: object) -> float:
        command = session.registry.find(name)
        assert command is not None
        return seconds(lambda: command.function(session, *arguments))

    began = time.perf_counter()
    thread.start()
    controller.wait()
    step = (time.perf_counter() - began) / LONG_RUN
    one = statistics.median(do("back") for _ in range(20))
    far = do("goto", FAR_BACK)
    controller.stop()
    rows = [
        Row("back 1", f"{one / step:.1f} steps' time", "restore + 2 steps", one <= 10 * step),
        Row(f"goto {FAR_BACK:,} from {LONG_RUN:,}", f"{far / step:.0f} steps' time", "500 steps", far <= 500 * step),
    ]
    thread.join(10)
    return rows


def travel() -> list[Row]:
    """Measure."""
    torch.set_num_threads(1)
    return [*checkpoints_beside_none(), *one_copy(), *going_back()]
