"""Runs that history was not made for: a second loop, no epochs, step numbers that go back, an export broken off."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.typing_session import TypingSession

FOLDS = """
    from types import SimpleNamespace
    import torch
    import tdb

    controller = tdb.active_controller()
    losses, rows = [], []

    def train(steps, seed):
        torch.manual_seed(seed)
        model = torch.nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        controller.begin(SimpleNamespace(model=model, optimizer=optimizer))
        for step in range(1, steps + 1):
            inputs = torch.randn(8, 4)
            loss = model(inputs).square().mean()
            optimizer.zero_grad()
            loss.backward()
            controller.capture_batch(inputs, loss, step)
            optimizer.step()
            losses.append(loss.item())
            rows.append(model.weight.detach().norm(dim=1).tolist())
            controller.wait_if_paused()

    train(30, 0)
    train(20, 1)
"""


def test_a_second_loop_without_epochs_on_the_same_controller(
    make_session: Callable[..., TypingSession], tmp_path: Path
) -> None:
    session = make_session(FOLDS)
    session.type("watch 0 2")
    session.type("break when loss < 0")
    assert "*** the loop does not say which epoch it is in" in session.type("step;; return")
    assert "Training finished after 50 steps" in session.type("break epoch 2;; continue")
    script = vars(session.session.run.module)  # type: ignore[union-attr]
    recorded = session.controller.recorder.history.range()
    assert recorded["step"].tolist() == [*range(1, 31), *range(1, 21)]
    assert set(recorded["epoch"].tolist()) == {-1}
    np.testing.assert_allclose(recorded["loss"], script["losses"], rtol=1e-6)
    steps, norms = session.controller.recorder.history.metric("weight_norm")
    assert steps.tolist() == recorded["step"].tolist()
    np.testing.assert_allclose(norms, script["rows"], rtol=1e-5)
    trajectory = session.controller.recorder.watches.trajectory(2)
    np.testing.assert_allclose(trajectory["weight_norm"], np.array(script["rows"])[:, 2], rtol=1e-5)
    session.type("set figures off")
    for line in ("loss smooth 5", "traj weight_norm", "summary weight_norm", "heat weight_norm", "find loss > 0"):
        shown = session.type(line)
        assert "***" not in shown, (line, shown)
    # A number that comes again counts as it went the last time.
    assert "held at 30 of 30 recorded steps" in session.type("find loss > 0 all")
    session.type(f"export {tmp_path / 'run.json'}")
    assert len(json.loads((tmp_path / "run.json").read_text())["steps"]["step"]) == 50


def test_ctrl_c_in_the_middle_of_an_export_leaves_the_old_file_whole(tmp_path: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        from tdb.export import export
        from tdb.history import History

        history = History()
        for step in range(150_000):
            history.append_step(0, step, step, 0, step / 7, step / 3)
        print("ready", flush=True)
        try:
            export(Path(sys.argv[1]), history)
        except KeyboardInterrupt:
            sys.exit(42)
    """
    path = tmp_path / "run.json"
    path.write_text("what was there before")
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        while not any(each.stat().st_size for each in tmp_path.iterdir() if each != path):
            assert child.poll() is None, "it was over before it could be interrupted"
            time.sleep(0.001)
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 42
    assert path.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [path]
