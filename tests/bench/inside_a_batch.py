"""Looking inside a batch: what a captured step costs, and how long the commands take to text and picture."""

from __future__ import annotations

import io
import statistics
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from bcl.panel import bcl_panel
from recipes.trainer import Trainer
from tdb.commands import all_commands
from tdb.controller import DebugController
from tdb.results import Matrix
from tdb.session import Session
from tdb.shell.figures import FigureSink
from tdb.shell.interpreter import Interpreter
from tdb.shell.show import Show
from tdb.similarity import cosine_matrix, similarity_of
from tdb.views import draw
from tests.bench.side_by_side import Row, in_turns, ratio, spread
from tests.bench.spine import attached


def stopped_session(folder: Path) -> tuple[Session, Interpreter, Trainer, threading.Thread]:
    """Return a session with BCL training in a thread, stopped at its first step."""
    controller = DebugController()
    trainer, rule = attached()
    controller.focus_on("encoder.0")
    controller.image_shape = (28, 28)
    controller.add_panel(bcl_panel(rule))

    def push(step: int) -> None:
        del step
        controller.capture_step_data("bcl_metrics", rule.get_step_metrics)
        controller.capture_step_data("bcl_tensors", rule.step_tensors)

    def train() -> None:
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)  # it is set for each thread
        trainer.train(1_000_000, training_metrics_fn=push, debug_controller=controller)

    session = Session(controller, all_commands())
    out = io.StringIO()
    show = Show(session, FigureSink("off", folder, out=out, interactive=False), out, out)
    controller.pause()
    thread = threading.Thread(target=train)
    thread.start()
    controller.wait()
    return session, Interpreter(session, show, folder / "log"), trainer, thread


def inside_a_batch() -> list[Row]:
    """Return the rows of this part."""
    torch.set_num_threads(1)
    rows: list[Row] = []
    with TemporaryDirectory() as name:
        session, interpreter, _, thread = stopped_session(Path(name))
        controller = session.controller
        bare, _ = attached()

        def step_captured() -> None:
            controller.step()
            controller.wait()

        times = in_turns({"bare": lambda: bare.train(1), "captured": step_captured}, 1500)
        found = ratio(times, "captured", "bare")
        measured = f"{found:.3f}x ({spread(times, 'captured', 'bare')})"
        rows.append(Row("a stepped BCL step, everything captured", measured, "1.15x", found <= 1.15))
        for line in ("metrics", "force 17", "cosmat weights"):
            taken = []
            for _ in range(40):
                began = time.perf_counter()
                assert interpreter.execute(line)
                taken.append(time.perf_counter() - began)
            median = statistics.median(taken)
            rows.append(Row(f"`{line}` to text, no figure", f"{median * 1e3:.1f} ms", "20 ms", median <= 0.02))
        controller.stop()
        thread.join()
    rows += [*large_matrix(), many_modules()]
    return rows


class Deep:
    """What is trained: a model of 100 modules."""

    model = torch.nn.Sequential(*(torch.nn.Linear(64, 64) if at % 2 else torch.nn.Tanh() for at in range(99)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)


def many_modules() -> Row:
    """Time `layers` at a stop of a model of 100 modules, from the line to its text."""
    controller = DebugController()

    def train() -> None:
        torch.set_num_threads(1)
        controller.begin(Deep)
        while True:
            loss = Deep.model(torch.randn(128, 64)).square().mean()
            loss.backward()
            controller.capture_batch(loss, loss)
            Deep.optimizer.step()
            Deep.optimizer.zero_grad()
            controller.wait_if_paused()

    with TemporaryDirectory() as name:
        session = Session(controller, all_commands())
        out = io.StringIO()
        show = Show(session, FigureSink("off", Path(name), out=out, interactive=False), out, out)
        interpreter = Interpreter(session, show, Path(name) / "log")
        controller.pause()
        thread = threading.Thread(target=train)
        thread.start()
        controller.wait()
        controller.step()
        controller.wait()
        taken = []
        for _ in range(20):
            began = time.perf_counter()
            assert interpreter.execute("layers")
            taken.append(time.perf_counter() - began)
        controller.stop()
        thread.join()
    median = statistics.median(taken)
    return Row("`layers` of 100 modules at a stop, to text", f"{median * 1e3:.1f} ms", "100 ms", median <= 0.1)


def large_matrix() -> list[Row]:
    """Time a matrix of cosines of 4,096 features of 784 inputs beside one matrix product of that size."""
    torch.manual_seed(0)
    weights = torch.randn(4096, 784)
    found: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = {}

    def cosines() -> None:
        found["matrix"] = cosine_matrix(weights)

    times = in_turns({"product": lambda: torch.mm(weights, weights.T), "cosines": cosines}, 9)
    ratio_found = ratio(times, "cosines", "product")
    measured = f"{ratio_found:.3f}x ({spread(times, 'cosines', 'product')})"
    rows = [Row("cosines of 4,096 x 784 beside one torch.mm", measured, "1.1x", ratio_found <= 1.1)]
    began = time.perf_counter()
    similarity_of(found["matrix"], square=True)
    rows.append(Row("  and their statistics", f"{time.perf_counter() - began:.2f} s", "(none set)", True))
    draw(Matrix(found["matrix"][:64, :64]))  # imports matplotlib
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        draw(Matrix(found["matrix"], limits=(-1.0, 1.0))).savefig(io.BytesIO(), format="png")
        taken.append(time.perf_counter() - began)
    median = statistics.median(taken)
    rows.append(Row("  drawn, as a PNG", f"{median:.2f} s", "0.6 s", median <= 0.6))
    return rows
