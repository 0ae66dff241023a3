"""Free running, stopping and starting: what tdb costs where it does nothing, and how fast it answers.

The shell is alive in the main thread, its prompt reading from a pipe; both arms train in the worker thread.
"""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import torch
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from bcl import BCL, BCLConfig, attach_bcl
from recipes import data
from recipes.model import LinearAutoencoder
from recipes.trainer import Trainer
from tdb.commands import all_commands
from tdb.commands.flow import Quit
from tdb.controller import DebugController
from tdb.session import Session
from tdb.shell.figures import FigureSink
from tdb.shell.interpreter import Interpreter
from tdb.shell.live import TerminalFront
from tdb.shell.loop import Prompt
from tdb.shell.output import TrainingOutput
from tdb.shell.show import Show
from tests.bench.side_by_side import Row, in_turns, ratio, spread

# Short turns: the two arms of a ratio are then timed while the machine is the same.
STEPS, ROUNDS = 10, 500


def trainer(condition: str) -> Trainer:
    """Return a trainer of the recipe, as the recipe makes it."""
    torch.manual_seed(0)
    model = LinearAutoencoder()
    made = Trainer(model, torch.optim.Adam(model.parameters(), lr=1e-3), data.batches(data.load().train, 128))
    if condition != "control":
        attach_bcl(model, "encoder.0", BCLConfig(som_lr=0.001))
    return made


def attached() -> tuple[Trainer, BCL]:
    """Return a trainer of the recipe with BCL, and the rule."""
    made = trainer("control")
    return made, attach_bcl(made.model, "encoder.0", BCLConfig(som_lr=0.001))


class OneRun:
    """A controller for a trainer that trains in turns: to the controller they are one run that never ends.

    Args:
        controller: the controller.
        with_state: it sees the trainer's state, of which it takes checkpoints.
    """

    def __init__(self, controller: DebugController, *, with_state: bool = False) -> None:
        self._with_state = with_state
        self.capture_batch = controller.capture_batch
        self.wait_if_paused = controller.wait_if_paused
        self._controller = controller
        self._begun = False

    def begin(self, target: Trainer) -> None:
        """Begin once."""
        if not self._begun:
            self._begun = True
            without = SimpleNamespace(model=target.model, optimizer=target.optimizer)
            self._controller.begin(target if self._with_state else without)


def free_running(condition: str, controller: DebugController, rows: list[Row]) -> None:
    """Train in turns without a controller, twice, and with idle ones, one of which records no metrics."""
    torch.set_num_threads(1)
    bare, again, debugged = trainer(condition), trainer(condition), trainer(condition)
    loss_only, other = trainer(condition), DebugController()
    other.recorder.every = 10**9
    run, other_run = OneRun(controller), OneRun(other)
    times = in_turns(
        {
            "bare": lambda: bare.train(STEPS),
            "bare again": lambda: again.train(STEPS),
            "tdb": lambda: debugged.train(STEPS, debug_controller=run),
            "loss only": lambda: loss_only.train(STEPS, debug_controller=other_run),
        },
        ROUNDS,
    )
    found = ratio(times, "loss only", "bare")
    measured = f"{found:.4f}x ({spread(times, 'loss only', 'bare')})"
    rows.append(Row(f"free running, {condition}: the loss", measured, "1.01x", found <= 1.01))
    found = ratio(times, "tdb", "bare")
    control = ratio(times, "bare again", "bare")
    rows.append(
        Row(
            f"  and metrics every 10 steps, {condition}",
            f"{found:.4f}x ({spread(times, 'tdb', 'bare')})",
            "1.01x",
            found <= 1.01,
        )
    )
    rows.append(Row(f"  the same loop against itself, {condition}", f"{control:.4f}x", "1 (noise)", True))


def at_a_prompt(work: threading.Thread, controller: DebugController, folder: Path) -> None:
    """Keep a prompt alive in this thread until `work` is done."""
    with create_pipe_input() as keys, create_app_session(output=DummyOutput()):
        output = TrainingOutput()
        session = Session(controller, all_commands())
        front = TerminalFront(output, session.main_thread)
        out = io.StringIO()
        show = Show(session, FigureSink("off", folder, out=out, interactive=False), out, out)
        prompt = Prompt(Interpreter(session, show, folder / "log"), front, folder / "history", keys)

        def leave() -> None:
            work.join()
            keys.send_text("quit 0\r")

        work.start()
        threading.Thread(target=leave, daemon=True).start()
        try:
            prompt.run()
        except Quit:
            return


def latencies(rows: list[Row], folder: Path) -> None:
    """Time `step` and `pause` from the typed line to the shown answer, beside bare steps."""
    torch.set_num_threads(1)
    bare, debugged, controller = trainer("bcl-slow"), trainer("bcl-slow"), DebugController()
    session = Session(controller, all_commands())
    out = io.StringIO()
    interpreter = Interpreter(
        session, Show(session, FigureSink("off", folder, out=out, interactive=False), out, out), folder / "log"
    )

    def train() -> None:
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)  # it is set for each thread
        debugged.train(1_000_000, debug_controller=controller)

    controller.pause()
    thread = threading.Thread(target=train)
    thread.start()
    controller.wait()
    times = in_turns({"bare": lambda: bare.train(1), "step": lambda: interpreter.execute("step")}, 300)
    step = statistics.median(times["bare"])
    extra = statistics.median(times["step"]) - step
    rows.append(Row("`step` to its answer, beyond a bare step", f"{extra * 1e3:.2f} ms", "5 ms", extra <= 5e-3))

    pauses = []
    for _ in range(100):
        interpreter.execute("continue &")
        time.sleep(0.01)
        began = time.perf_counter()
        interpreter.execute("pause")
        pauses.append(time.perf_counter() - began)
    extra = statistics.median(pauses) - 2 * step
    rows.append(Row("`pause` to its answer, beyond two bare steps", f"{extra * 1e3:.2f} ms", "10 ms", extra <= 10e-3))
    controller.stop()
    thread.join()


def help_time() -> float:
    """Return the median time of `tdb --help`, a whole process."""
    times = []
    for _ in range(11):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "tdb", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def spine() -> list[Row]:
    """Return the rows of this part."""
    rows: list[Row] = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        for condition in ("control", "bcl-slow"):
            controller = DebugController()
            work = threading.Thread(target=free_running, args=(condition, controller, rows))
            at_a_prompt(work, controller, folder)
        latencies(rows, folder)
    helping = help_time()
    rows.append(Row("tdb --help, a whole process", f"{helping:.3f} s", "0.35 s", helping <= 0.35))
    return rows
