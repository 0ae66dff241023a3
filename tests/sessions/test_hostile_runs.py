"""Runs that nobody had in mind: a second loop, step numbers that go back, no batch, no real numbers, a sudden end."""

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
import pytest
import torch

from tdb.queries import batch_images, bounds_of
from tests.conftest import PATIENCE
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


SMALL = """
    import torch
    torch.manual_seed(0)
    dtype, sizes = {dtype}, {sizes}
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2)).to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for size in sizes:
        inputs = torch.randn(size, 4).to(dtype)
        optimizer.zero_grad()
        loss = model(inputs).abs().square().sum()
        before = model[0].weight.detach().clone()
        loss.backward()
        optimizer.step()
    weight, grad = model[0].weight.detach().clone(), model[0].weight.grad
"""


def test_a_step_that_never_began_is_not_one_that_changed_nothing(make_session: Callable[..., TypingSession]) -> None:
    session = make_session(SMALL.format(dtype="torch.float32", sizes=[5, 5, 5]))
    assert "update_norm" in session.type("step 3;; metrics")
    assert session.type("step").strip() == "Training finished after 3 steps"
    shown = session.type("metrics")
    assert "update_norm" not in shown
    assert "this step was not captured" in shown
    assert session.type("force").startswith("*** the weight before this step was not captured")
    assert "0%" not in session.type("layers")
    assert "not so at step 3" not in session.type("catch frozen")
    assert "it is so" not in session.type("catch frozen")
    # What the loop handed over in its last step is still there; of a step that nobody looked at there is nothing.
    assert "losses" in session.type("keys")
    assert "loss " in session.type("data losses")
    freely = make_session(SMALL.format(dtype="torch.float32", sizes=[5, 5, 5]))
    freely.type("continue")
    assert "nothing was captured in this step" in freely.type("keys")
    assert "training stands at step 3: no batch was kept of it" in freely.type("batch")


def test_an_empty_batch_is_a_step_without_activations(make_session: Callable[..., TypingSession]) -> None:
    session = make_session(SMALL.format(dtype="torch.float32", sizes=[5, 0, 5, 0]))
    session.type("step 2")
    assert "mean_activation" not in session.type("metrics")
    assert session.type("layers activations") == "*** no module has given real numbers in this step\n"
    session.type("continue")
    steps, means = session.controller.recorder.history.metric("mean_activation")
    _, norms = session.controller.recorder.history.metric("grad_norm")
    assert dict(zip(steps.tolist(), np.isfinite(means).all(axis=1).tolist(), strict=True)) == {1: True, 2: False}
    assert np.isfinite(norms).all()


def test_complex_weights_have_the_metrics_that_complex_numbers_can_have(
    make_session: Callable[..., TypingSession], recwarn: pytest.WarningsRecorder
) -> None:
    session = make_session(SMALL.format(dtype="torch.complex64", sizes=[5]))
    session.type("step")
    metrics = session.controller.layer.metrics()
    for line in ("metrics", "layers gradients", "layers weights", "heatmap weights", "grid weights", "cosmat weights"):
        assert "***" not in session.type(f"set figures off;; {line}")
    session.type("continue")
    script = vars(session.session.run.module)  # type: ignore[union-attr]
    before, after, grad = (script[name].numpy() for name in ("before", "weight", "grad"))
    np.testing.assert_allclose(metrics["weight_norm"], np.linalg.norm(after, axis=1), rtol=1e-5)
    np.testing.assert_allclose(metrics["update_norm"], np.linalg.norm(after - before, axis=1), rtol=1e-4)
    norms = np.linalg.norm(after, axis=1) * np.linalg.norm(before, axis=1)
    np.testing.assert_allclose(metrics["cos_to_init"], (after * before.conj()).sum(axis=1).real / norms, rtol=1e-5)
    np.testing.assert_allclose(metrics["grad_norm"], np.linalg.norm(grad, axis=1), rtol=1e-5)
    assert "mean_activation" not in metrics
    assert not [str(each.message) for each in recwarn if "imaginary" in str(each.message)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_small_updates_in_half_precision_have_the_norm_that_they_have(
    make_session: Callable[..., TypingSession], dtype: str
) -> None:
    session = make_session(SMALL.format(dtype=f"torch.{dtype}", sizes=[5]).replace("lr=0.1", "lr=1e-4"))
    session.type("step")
    metrics = session.controller.layer.metrics()
    moved = [float(line.split()[1]) for line in session.type("force 0 1 2").splitlines()[1:4]]
    session.type("continue")
    script = vars(session.session.run.module)  # type: ignore[union-attr]
    change = (script["weight"].double() - script["before"].double()).norm(dim=1).numpy()
    assert (change > 0).any()
    np.testing.assert_allclose(metrics["update_norm"], change, rtol=1e-3)
    np.testing.assert_allclose(moved, change, rtol=1e-3)
    assert metrics["cos_to_init"].max() < 1 + 1e-6


def test_a_layer_that_becomes_the_focus_at_a_stop_shows_the_step_that_was_captured(
    make_session: Callable[..., TypingSession],
) -> None:
    script, found = SMALL.format(dtype="torch.float32", sizes=[5, 4, 6]), []
    undisturbed = make_session(script)
    undisturbed.type("continue")
    for lines in (
        ("step", "focus 2", "step"),
        ("step", "step", "focus 2"),
        ("step 2", "focus 2", "focus 0", "focus 2"),
    ):
        session = make_session(script)
        for line in lines:
            session.type(line)
        found.append({name: values.tolist() for name, values in session.controller.layer.metrics().items()})
        found[-1].pop("cos_to_init")  # since the layer became the focus
        assert "grad_delta" in session.type("force 1;; continue")
        trained, plain = (vars(each.session.run.module)["weight"] for each in (session, undisturbed))  # type: ignore[union-attr]
        np.testing.assert_array_equal(trained, plain)
    assert len(found[0]) == 8
    assert found[1:] == [found[0]] * 2


def test_captions_speak_of_what_is_drawn_and_of_finite_values(make_session: Callable[..., TypingSession]) -> None:
    nothing, some = np.full((2, 5, 5), np.nan), np.array([[np.nan, 1.0], [np.inf, 3.0]])
    assert (bounds_of(nothing), bounds_of(some)) == ("no finite values", "values 1 to 3")
    grid = batch_images(torch.tensor(nothing), None, 1, (5, 5))
    assert grid is not None
    assert grid.caption == "2 images of 5x5, no finite values"
    session = make_session(FOLDS)
    assert "the norms stand over the profiles" in session.type("step;; force 0")


def test_a_model_of_one_layer_is_called_the_model(make_session: Callable[..., TypingSession]) -> None:
    session = make_session(FOLDS)
    assert "3 of 3 rows of the model" in session.type("step;; metrics")


def test_ctrl_c_in_the_middle_of_an_export_leaves_the_old_file_whole(tmp_path: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        from tdb.export import export
        from tdb.history import History

        history = History()
        history.append_steps(0, [(step, step, 0, step / 3, step / 7) for step in range(150_000)])
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
        assert child.wait(PATIENCE) == 42
    assert path.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_value_raises_when_it_is_shown_is_its_own_mistake(make_session: Callable[..., TypingSession]) -> None:
    session = make_session("""
        import tdb


        class Silent:
            def __repr__(self):
                raise RuntimeError("no words")


        class Leaving(Silent):
            def __repr__(self):
                raise SystemExit(7)


        class Opaque:
            def __getattr__(self, name):
                raise RuntimeError(name)


        class Mute(Exception):
            __str__ = Silent.__repr__


        def train(silent, leaving, opaque):
            controller = tdb.active_controller()
            controller.capture_batch([1], 1.0, 1)
            controller.wait_if_paused()
            raise Mute


        train(Silent(), Leaving(), Opaque())
    """)
    session.play("""
        (tdb) step
        > step 1  loss 1.0000 ...
        (tdb) p silent
        *** RuntimeError: no words
        (tdb) pp [silent]
        *** RuntimeError: no words
        (tdb) leaving
        *** SystemExit: 7
        (tdb) display silent
        *** RuntimeError: no words
        (tdb) whatis silent
        type  __main__.Silent
        (tdb) opaque
        <__main__.Opaque object at ...>
        (tdb) whatis opaque
        type  __main__.Opaque
        (tdb) args
        silent = *** its repr failed: RuntimeError: no words ***
        leaving = *** its repr failed: SystemExit: 7 ***
        opaque = <__main__.Opaque object at ...>
        (tdb) p 10**5000
        *** ValueError: Exceeds the limit ...
        (tdb) continue
        Traceback (most recent call last):
        ...
        Training crashed after step 1: Mute: <exception str() failed>
    """)
