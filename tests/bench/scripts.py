"""Scripts that have never heard of tdb: what the automatic finding costs them while they run freely.

A real script runs in the worker thread of a real run, the shell alive in the main thread. It trains models that are
alike in turns: one with what tdb leaves on once it has found the loop, one with all of it out of torch. The finder is
not told of that: it would begin anew at every turn. What no debugger in Python could save, another one says: where tdb
is called, there are functions that only read the loss. Beside that, two whole runs take turns: they differ by all that
tdb does in a process, and by where the memory of either lies.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.optim import optimizer
from torch.utils.data import dataloader

from tdb import patches
from tdb.controller import DebugController
from tdb.launch import Run
from tdb.main_thread import MainThread
from tdb.script import Script
from tests.bench.side_by_side import Arm, Row, in_turns, quartiles, ratio
from tests.bench.spine import at_a_prompt

STEPS, ROUNDS = 10, 100
PROCESSES = 5
PAIRS, TURNS, TURN, WARM_UP = 3, 40, 0.15, 200

MLP = """
def model():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    )
"""

LENET = """
def model():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )
"""

TWO_CONVOLUTIONS = """
def model():
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=2), nn.ReLU(), nn.Conv2d(4, 8, 5, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(128, 10),
    )
"""

MODELS = {"3-layer MLP": MLP, "LeNet-5": LENET, "convnet of 4 and 8 channels": TWO_CONVOLUTIONS}

# In the manner of pytorch/examples; the last lines are what is measured with.
LOOP = """
import itertools
import sys
import numpy
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
    count = numpy.memmap(sys.argv[1], numpy.int64, "r+")
    training = Training()
    while True:
        training.train(1)
        count[0] += 1
else:
    from tests.bench import scripts

    scripts.turns.take(Training)
"""


@dataclass
class InTorch:
    """What is put into torch: out of it and in again between two steps, as if it had always been so.

    Attributes:
        replacements: owner, name, what is there without, what is there with it.
        hooks: called after updates, by torch's numbers of them.
    """

    replacements: list[tuple[Any, str, Any, Any]]
    hooks: dict[int, Any]

    def take_out(self) -> None:
        """Leave torch as it is without tdb."""
        for owner, name, without, _ in self.replacements:
            setattr(owner, name, without)
        optimizer._global_optimizer_post_hooks.clear()

    def put_in(self) -> None:
        """Leave torch with it."""
        for owner, name, _, made in self.replacements:
            setattr(owner, name, made)
        optimizer._global_optimizer_post_hooks.update(self.hooks)


def of_tdb() -> InTorch:
    """Return what tdb has put into torch."""
    replacements = [(each.owner, each.name, each.before, each.made) for each in patches._all]
    return InTorch(replacements, dict(optimizer._global_optimizer_post_hooks))


def hollow(iterators: Any = dataloader._BaseDataLoaderIter) -> InTorch:
    """Return what is called where tdb is in each step of a loop that it knows, and only reads the loss."""
    draw, differentiate = iterators.__next__, torch.autograd.backward

    def __next__(iterator: Any) -> Any:  # noqa: N807
        return draw(iterator)

    def backward(
        tensors: Any,
        grad_tensors: Any = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        grad_variables: Any = None,
        inputs: Any = None,
    ) -> None:
        tensors.item()
        differentiate(tensors, grad_tensors, retain_graph, create_graph, grad_variables, inputs)

    def updated(optimizer: Any, args: Any, kwargs: Any) -> None:
        pass

    replacements = [
        (iterators, "__next__", draw, __next__),
        (torch.autograd, "backward", differentiate, backward),
    ]
    return InTorch(replacements, {-1: updated})


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
        with_tdb = of_tdb()
        with_tdb.take_out()
        with_none, with_hollow = InTorch([], {}), hollow()
        trained = {"bare": make(), "bare again": make(), "hollow": make(), "tdb": debugged}
        in_torch = {"bare": with_none, "bare again": with_none, "hollow": with_hollow, "tdb": with_tdb}
        arms: dict[str, Arm] = {name: partial(each.train, STEPS) for name, each in trained.items()}
        there = with_none

        def before(name: str) -> None:
            nonlocal there
            there.take_out()
            there = in_torch[name]
            there.put_in()
            arms[name]()  # whenever a class has changed, Python has forgotten what it had learned of it

        self.times = in_turns(arms, ROUNDS, before=before)
        there.take_out()
        with_tdb.put_in()


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


def runs_in_turns(path: Path, folder: Path) -> list[float]:
    """Return by how much longer `tdb script.py` takes for a step than `python script.py`, of several pairs of runs.

    Either run stands still while the other has its turn; each counts its steps where the other process can read it.
    """
    ratios = []
    for pair in range(PAIRS):
        counters = {name: folder / f"{name}{pair}" for name in ("bare", "tdb")}
        for counter in counters.values():
            np.zeros(1, np.int64).tofile(counter)
        steps = {name: np.memmap(counter, np.int64, "r") for name, counter in counters.items()}
        commands = {
            "bare": [sys.executable, str(path), str(counters["bare"])],
            "tdb": [sys.executable, "-m", "tdb", "-c", "continue", str(path), str(counters["tdb"])],
        }
        runs = {
            name: subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            for name, command in commands.items()
        }
        try:
            while min(int(count[0]) for count in steps.values()) < WARM_UP:
                time.sleep(TURN)
            for run in runs.values():
                run.send_signal(signal.SIGSTOP)
            rates: dict[str, list[float]] = {name: [] for name in runs}
            for number in range(TURNS):
                for name in list(runs)[:: 1 if number % 2 else -1]:
                    rates[name].append(_rate_of_a_turn(runs[name], steps[name]))
            ratios.append(ratio(rates, "bare", "tdb"))
        finally:
            for run in runs.values():
                run.kill()
                run.wait()
    return ratios


def _rate_of_a_turn(run: subprocess.Popen[bytes], steps: Any) -> float:
    """Let a run have its turn; return its steps a second."""
    before, began = int(steps[0]), time.perf_counter()
    run.send_signal(signal.SIGCONT)
    time.sleep(TURN)
    run.send_signal(signal.SIGSTOP)
    return (int(steps[0]) - before) / (time.perf_counter() - began)


def row(what: str, ratios: Sequence[float], target: float | None) -> Row:
    """Return the row of what several processes say."""
    found = statistics.median(ratios)
    measured = f"{found:.4f}x ({quartiles(ratios)})"
    return Row(what, measured, f"{target}x" if target else "(none set)", target is None or found <= target)


def scripts() -> list[Row]:
    """Return the rows of this part."""
    rows = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        for title, model in MODELS.items():
            path = folder / "train.py"
            path.write_text(LOOP.format(model=model))
            command = [sys.executable, "-c", "from tests.bench.scripts import main; main()", str(path), name]
            found = [
                json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
                for _ in range(PROCESSES)
            ]
            step, with_tdb, with_hollow, again = (list(each) for each in zip(*found, strict=True))
            what = f"what tdb puts into torch, {title}, {statistics.median(step):.2f} ms a step"
            rows.append(row(f"{what}, {PROCESSES} processes", with_tdb, 1.01))
            rows.append(row("  functions there that only read the loss", with_hollow, None))
            rows.append(row("  the same loop against itself", again, None))
            rows.append(row(f"  tdb script.py by python script.py, {PAIRS} pairs", runs_in_turns(path, folder), 1.01))
    return rows


def main() -> None:
    """Print what one process finds: milliseconds a step, and the ratios of the other arms to the bare one."""
    path, folder = map(Path, sys.argv[1:])
    times = one_process(path, folder)
    step = statistics.median(times["bare"]) / STEPS * 1e3
    print(json.dumps([step, *(ratio(times, name, "bare") for name in ("tdb", "hollow", "bare again"))]))
