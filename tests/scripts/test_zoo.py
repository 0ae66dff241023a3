"""Training scripts that have never heard of tdb: stepped, broken into, looked at, finished with the same weights."""

from __future__ import annotations

import builtins
import itertools
import re
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tdb.script import Script
from tests.scripts.conftest import Place
from tests.typing_session import TypingSession

ZOO = Path(__file__).parent / "zoo"


@dataclass(frozen=True)
class Kept:
    """What is true of a script.

    Attributes:
        steps: training steps in it.
        losses: the names of its losses.
        layers: the layers of its models that have features.
        batch: shapes of a step's batch.
        epoch: the last epoch, None if it has no loader.
        line: the line of the script at which a step ends.
        below: the loss falls below this somewhere after the third step.
        looks: Python that its author would type, with the answer.
    """

    name: str
    steps: int
    losses: list[str]
    layers: list[str]
    batch: list[str]
    epoch: int | None
    line: str
    below: float
    looks: dict[str, str]


SCRIPTS = [
    Kept(
        "mnist_mlp", 60, ["loss"], ["fc1", "fc2"], ["64x784", "64"], 3, "optimizer.step()", 1.0,
        {"data.shape": "torch.Size([64, 784])", "type(model).__name__": "'Net'"},
    ),
    Kept(
        "convnet_amp", 32, ["batch_loss"], ["0", "4", "8"], ["32x3x16x16", "32"], 4, "scaler.step(optimizer)", 0.69,
        {"net.training": "True", "scaler.is_enabled()": "True"},
    ),
    Kept(
        "gan", 24, ["errD_real", "errD_fake", "errG"], ["netD.0", "netD.2", "netG.0", "netG.2"], ["64x2"], 3,
        "optimizerG.step()", 1.39, {"real.shape": "torch.Size([64, 2])", "errG.requires_grad": "True"},
    ),
    Kept(
        "char_transformer", 13, ["loss"],
        ["wte", "wpe", *(f"h.{n}.{name}" for n in (0, 1) for name in ("attn.out_proj", "mlp.0", "mlp.2")), "lm_head"],
        ["8x16", "8x16"], None, "optimizer.step()", 3.45, {"X.shape": "torch.Size([8, 16])"},
    ),
    Kept(
        "reinforce", 25, ["policy_loss"], ["affine1", "affine2"], ["1x2"], None, "optimizer.step()", 0.1,
        {"len(returns) > 4": "True"},
    ),
    Kept(
        "sine_lbfgs", 6, ["loss"], ["linear"], ["6x20"], None, "optimizer.step(closure)", 0.0045,
        {"data.shape": "(8, 21)"},
    ),
    Kept(
        "word_lm_by_hand", 30, ["loss"], ["encoder", "decoder"], ["8x6", "1x6x24"], None, "model.zero_grad()", 2.5,
        {"type(model).__name__": "'RNNModel'"},
    ),
    Kept(
        "augmented_workers", 12, ["loss"], ["0", "3"], ["16x1x12x12", "16"], 2, "self.optimizer.step()", 0.6,
        {"batch['image'].shape": "torch.Size([16, 1, 12, 12])", "type(self).__name__": "'Trainer'"},
    ),
]  # fmt: skip


@pytest.fixture(params=SCRIPTS, ids=lambda kept: kept.name)
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    chosen: Kept = request.param
    return chosen


def sha256(printed: str) -> str:
    (found,) = re.findall(r"^sha256 (\w{64})$", printed, re.MULTILINE)
    return found


def plain_run(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    runpy.run_path(str(path), run_name="__main__")
    return sha256(capsys.readouterr().out)


def test_a_session_on_each(kept: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = ZOO / f"{kept.name}.py"
    session = TypingSession(tmp_path, Script(str(path)))
    try:
        look_into(session, kept)
    finally:
        session.close()
    run = session.session.run
    assert run is not None
    assert run.error is None, run.error
    debugged = capsys.readouterr()
    assert sha256(debugged.out) == plain_run(path, capsys)
    assert debugged.err == ""


def look_into(session: TypingSession, kept: Kept) -> None:
    session.type("set figures off")
    assert session.type("start").startswith("> step 0 ")
    assert session.type("step").startswith("> step 1  ")
    shown = session.type("step 2")
    assert shown.startswith("> step 3  ")
    assert f"-> {kept.line}\n" in shown
    for name in kept.losses:
        assert re.search(rf"  {name} -?\d+\.\d{{4}}  ", shown)
    assert f"{kept.name}.py(" in shown

    batch = session.type("batch")
    for shape in kept.batch:
        assert re.search(rf"^\S+ +{shape} ", batch, re.MULTILINE), batch
    assert [line.split()[0] for line in session.type("focus").splitlines()[1:-1]] == kept.layers
    metrics = session.type("metrics top 3")
    assert all(word in metrics for word in ("grad_norm", "update_norm")), metrics
    assert "combined" in session.type("force 0")
    assert "mean" in session.type("cosmat weights") or kept.name == "sine_lbfgs"  # it has one feature
    for text, answer in kept.looks.items():
        assert session.type(f"p {text}") == f"{answer}\n"
    session.type("p torch.rand(3), (torch.ones(2, requires_grad=True) ** 2).sum().backward()")
    session.type("watch 0")

    session.type(f"tbreak when loss < {kept.below}")
    shown = session.type("continue")
    assert re.match(rf"Breakpoint \d+ at step \d+: loss = \S+ < {kept.below}", shown), shown
    assert len(session.type("traj -o traj.csv")) > 0
    epoch = session.controller.get_state()["epoch"]
    assert (epoch is None) == (kept.epoch is None)

    shown = session.type("continue")
    assert f"Training finished after {kept.steps} steps" in shown
    state = session.controller.get_state()
    assert (state["step"], state["epoch"]) == (kept.steps, kept.epoch)


def test_the_main_thread_trains_to_the_same_weights(torch_place: Place) -> None:
    path = str(ZOO / "gan.py")
    looks = ("step 3", "metrics", "p torch.rand(3)", "layers", "continue")
    typed = [word for line in looks for word in ("-c", line)]
    main = torch_place.tdb("--training-thread", "main", "--figures", "off", *typed, path)
    assert main.status == 0, main.error
    assert sha256(main.out) == sha256(torch_place.python(path).out)


def test_a_crash_in_each_opens_post_mortem(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = itertools.count(1)

    def crash() -> None:
        if next(calls) == 4:
            raise RuntimeError("made to fail")

    monkeypatch.setattr(builtins, "crash", crash, raising=False)
    text = (ZOO / f"{kept.name}.py").read_text()
    session = TypingSession(tmp_path, text.replace(".backward()", ".backward(gradient=crash())"))
    try:
        shown = session.type("continue")
        assert "RuntimeError: made to fail" in shown
        assert re.search(r"Training crashed after step \d: ", shown)
        assert "tdb/finder" not in shown
        session.type("up")
        assert "backward(gradient=crash())" in session.type("where") + session.type("list")
        assert kept.batch[0] in session.type("batch")
        text, answer = next(iter(kept.looks.items()))
        assert session.type(f"p {text}") == f"{answer}\n"
    finally:
        session.close()
    capsys.readouterr()


def hooks_and_attributes() -> dict[str, Any]:
    """Return everything global that tdb could have left something in."""
    import multiprocessing.process

    from torch.nn.modules import module
    from torch.optim import Optimizer, optimizer
    from torch.utils.data import dataloader

    kinds: list[Any] = [
        *(torch.nn.Module, torch.nn.Sequential, torch.nn.Linear, Optimizer, torch.amp.GradScaler, torch.Tensor),
        *(torch.optim.SGD, torch.optim.lr_scheduler.LRScheduler, multiprocessing.process.BaseProcess),
        *(dataloader.DataLoader, dataloader._BaseDataLoaderIter, dataloader._SingleProcessDataLoaderIter),
    ]
    found = {f"{kind.__name__}.{name}": value for kind in kinds for name, value in vars(kind).items()}
    found = {
        name: value for name, value in found.items() if not name.endswith(("__doc__", ".step"))
    }  # torch wraps step
    for registry in [name for name in vars(module) if "hooks" in name] + ["_global_backward_hooks"]:
        value = getattr(module, registry)
        found[registry] = dict(value) if isinstance(value, dict) else value
    found["optimizer hooks"] = dict(optimizer._global_optimizer_pre_hooks), dict(optimizer._global_optimizer_post_hooks)
    found["autograd"] = dict(vars(torch.autograd))
    found["meta_path"] = list(sys.meta_path)
    return found


def test_nothing_stays_behind(make_zoo_session: Callable[[str], TypingSession]) -> None:
    plain_names = {"backward", "grad"}
    before = hooks_and_attributes()
    for how in ("continue", "stop in the middle", "an error"):
        session = make_zoo_session("gan")
        session.type("step 3")
        during = hooks_and_attributes()
        assert during["optimizer hooks"] != before["optimizer hooks"]
        assert during["autograd"]["backward"] is not before["autograd"]["backward"]
        if how == "continue":
            session.type("continue")
        elif how == "an error":
            session.type("!criterion = None")
            session.type("continue")
        session.close()
        after = hooks_and_attributes()
        assert {name for name in before if before[name] != after.get(name)} == set()
        assert after.keys() - before.keys() <= plain_names


@pytest.fixture
def make_zoo_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], TypingSession]:
    monkeypatch.chdir(tmp_path)
    return lambda name: TypingSession(tmp_path, Script(str(ZOO / f"{name}.py")))
