"""A loop that says where its steps are, in each way there is: looked at and stopped, it ends as without tdb."""

from __future__ import annotations

import threading
from collections.abc import Callable
from string import Template
from textwrap import dedent
from typing import Any

import pytest
import torch

from tdb import active
from tdb.shell.notebook import Cells
from tdb.standing import STOPPED
from tests.conftest import PATIENCE, join
from tests.typing_session import TypingSession

LOOP = Template(
    dedent("""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset
    import tdb

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.2), nn.Linear(6, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loader = DataLoader(TensorDataset(torch.randn(24, 4), torch.randint(3, (24,))), batch_size=4, shuffle=True)
    losses, generator = [], []


    def train():
        $controller
        for epoch in range(3):
            for x, y in $batches:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                $hand_over
        generator.append(torch.get_rng_state())


    $train
    """)
)
PLAIN = {"controller": "", "batches": "loader", "hand_over": "", "train": "train()"}
ATTACHED = {"controller": "controller = tdb.attach(model, optimizer)"}
HANDED_OVER = {"hand_over": "controller.capture_batch(x, loss); controller.wait_if_paused()"}
WAYS = {
    "steps": ATTACHED | {"batches": "controller.steps(loader)"},
    "capture_batch": ATTACHED | HANDED_OVER,
    "active_controller": {"controller": "controller = tdb.active_controller()"} | HANDED_OVER,  # the model is found
}
LOOKS = ["metrics", "force", "layers", "cosmat weights", "batch", "optim", "p torch.rand(3)", "p model(x).sum()"]


def ends(variables: dict[str, Any]) -> dict[str, Any]:
    """Return all that a run leads to."""
    return {name: variables[name].state_dict() for name in ("model", "optimizer")} | {
        name: variables[name] for name in ("losses", "generator")
    }


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    """What the loop leads to without tdb."""
    variables: dict[str, Any] = {}
    exec(LOOP.substitute(PLAIN), variables)
    assert len(set(variables["losses"])) == 18
    return ends(variables)


@pytest.mark.parametrize("way", WAYS)
def test_under_tdb(way: str, plain: dict[str, Any], make_session: Callable[..., TypingSession]) -> None:
    session = make_session(LOOP.substitute(PLAIN | WAYS[way]))
    typed = ["set figures off", "step 2", "watch 0", "!model.eval()"]
    typed += ["tbreak 7", "break every 5", "break when grad_norm[0] < 0"]
    for expected in (2, 5, 7, 10):
        for line in [*typed, *LOOKS]:
            shown = session.type(line)
            assert "***" not in shown, f"{line}: {shown}"
        assert session.controller.position.step == expected
        typed = ["continue"]
    assert "mean_activation" in session.type("metrics top 1")
    session.type("clear")
    assert "Training finished after 18 steps" in session.type("continue")
    run = session.session.run
    assert run is not None
    torch.testing.assert_close(ends(vars(run.module)), plain, rtol=0, atol=0)


@pytest.mark.parametrize("way", ["steps", "capture_batch"])
def test_from_the_cells_of_a_notebook(
    way: str, plain: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(active, "_plain", None)
    variables: dict[str, Any] = {}
    exec(LOOP.substitute(PLAIN | WAYS[way] | {"controller": "", "train": ATTACHED["controller"]}), variables)
    controller = variables["controller"]
    controller.pause()
    thread = threading.Thread(target=variables["train"], daemon=True)
    thread.start()
    assert controller.wait(PATIENCE) == STOPPED
    cells = Cells()
    for line in ("set figures off", "step", *LOOKS, "tbreak 7", "continue", *LOOKS):
        cells.run(line)
    shown = capsys.readouterr()
    assert "***" not in shown.out + shown.err
    assert "Breakpoint 1 at step 7" in shown.out
    assert "mean_activation" in shown.out
    cells.run("continue")
    join(thread)
    controller.stop()
    torch.testing.assert_close(ends(variables), plain, rtol=0, atol=0)
