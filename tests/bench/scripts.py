"""Scripts that have never heard of tdb: what the automatic finding costs them while they run freely.

A real script runs in the worker thread of a real run, the shell alive in the main thread. It trains two models that are
alike in turns: one with what tdb leaves on once it has found the loop, one with all of it out of torch. The finder is
not told of that: it would begin anew at every turn. What a whole process says of its own loop is printed beside that:
there the two arms differ by more than tdb.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch.optim import optimizer

from tdb import patches
from tdb.controller import DebugController
from tdb.launch import Run, Script
from tdb.main_thread import MainThread
from tests.bench.side_by_side import Arm, Row, in_turns, ratio, spread
from tests.bench.spine import at_a_prompt

STEPS, ROUNDS = 10, 200
PROCESSES = 3

MLP = """
def model():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    )
"""

CONVNET = """
def model():
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=2), nn.ReLU(), nn.Conv2d(4, 8, 5, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(128, 10),
    )
"""

# In the manner of pytorch/examples; the last lines are what is measured with.
LOOP = """
import itertools
import sys
import time
import torch
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(0)
dataset = torch.utils.data.TensorDataset(torch.randn(2048, 1, 28, 28), torch.randint(10, (2048,)))
{model}

class Training:
    def __init__(self):
        self.model = model()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.loader = torch.utils.data.DataLoader(dataset, batch_size=64, shuffle=True, drop_last=True)
        self.batches = self.endless()

    def endless(self):
        while True:
            yield from self.loader

    def train(self, steps):
        for data, target in itertools.islice(self.batches, steps):
            self.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self.model(data), target)
            loss.backward()
            self.optimizer.step()


if len(sys.argv) > 1:
    training = Training()
    training.train(100)
    began = time.perf_counter()
    training.train(int(sys.argv[1]))
    print((time.perf_counter() - began) / int(sys.argv[1]))
else:
    from tests.bench import scripts

    scripts.turns.take(Training)
"""


class InTorch:
    """What tdb has put into torch: out of it and in again between two steps, as if it had always been so."""

    def __init__(self) -> None:
        self._replacements = [(each.owner, each.name, each.before, each.made) for each in patches._all]
        self._hooks = dict(optimizer._global_optimizer_post_hooks)

    def take_out(self) -> None:
        """Leave torch as it is without tdb."""
        for owner, name, before, _ in self._replacements:
            setattr(owner, name, before)
        optimizer._global_optimizer_post_hooks.clear()

    def put_in(self) -> None:
        """Leave torch as it was."""
        for owner, name, _, made in self._replacements:
            setattr(owner, name, made)
        optimizer._global_optimizer_post_hooks.update(self._hooks)


class Turns:
    """Lets a script's loop run in turns with what tdb has put into torch and without."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}

    def take(self, make: Callable[[], Any]) -> None:
        """Time loops of the script that calls this, in its thread.

        Args:
            make: returns a training whose `train(steps)` goes on with it.
        """
        debugged = make()
        debugged.train(3 * STEPS + 5)  # the loop is found, and a turn does not end where metrics are due
        in_torch = InTorch()
        in_torch.take_out()
        bare, again = make(), make()
        arms: dict[str, Arm] = {
            "bare": lambda: bare.train(STEPS),
            "bare again": lambda: again.train(STEPS),
            "tdb": lambda: debugged.train(STEPS),
        }

        def before(name: str) -> None:
            if name == "tdb":
                in_torch.put_in()
            else:
                in_torch.take_out()
            arms[name]()  # whenever a class has changed, Python has forgotten what it had learned of it

        self.times = in_turns(arms, ROUNDS, before=before)
        in_torch.put_in()


turns = Turns()


def one_process(path: Path, folder: Path) -> dict[str, list[float]]:
    """Run a script as tdb does, at a prompt, and return how long the turns of its loop took."""
    controller = DebugController()
    run = Run(controller, Script(str(path)), MainThread())
    turns.times = {}

    def follow() -> None:
        run.start()
        controller.wait()
        controller.gate.dismiss()
        run.thread.join()

    at_a_prompt(threading.Thread(target=follow), controller, folder)
    if run.error is not None:
        raise run.error
    return turns.times


def whole_processes(path: Path) -> dict[str, list[float]]:
    """Run a script in a process of its own, with and without tdb; return what it says that a step took."""
    commands = {
        "bare": [sys.executable, str(path), "500"],
        "tdb": [sys.executable, "-m", "tdb", "-c", "continue", str(path), "500"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(PROCESSES):
        for name in list(commands)[:: 1 if number % 2 else -1]:
            ended = subprocess.run(commands[name], check=True, capture_output=True, text=True)
            times[name] += [float(line) for line in ended.stdout.splitlines() if line.startswith("0.0")]
    return times


def row(what: str, times: dict[str, list[float]], name: str, target: float | None) -> Row:
    """Return the row of a ratio to the bare arm."""
    found = ratio(times, name, "bare")
    measured = f"{found:.4f}x ({spread(times, name, 'bare')})"
    return Row(what, measured, f"{target}x" if target else "(none set)", target is None or found <= target)


def scripts() -> list[Row]:
    """Return the rows of this part."""
    rows = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        for title, model in {"3-layer MLP": MLP, "small convnet": CONVNET}.items():
            path = folder / "train.py"
            path.write_text(LOOP.format(model=model))
            times = one_process(path, folder)
            step = statistics.median(times["bare"]) / STEPS * 1e3
            rows.append(row(f"tdb script.py, {title}, {step:.2f} ms a step", times, "tdb", 1.01))
            rows.append(row("  the same loop against itself", times, "bare again", None))
            rows.append(row("  its own clock, whole processes", whole_processes(path), "tdb", None))
    return rows
