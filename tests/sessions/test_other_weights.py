"""Layers whose weight is another one in the middle of a run: pruned, grown, made anew, of another precision."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.typing_session import TypingSession

Make = Callable[..., TypingSession]

RUN = """
    import torch
    from torch import nn

    torch.manual_seed(1)


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.head = nn.Linear(6, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.head(torch.relu(self.fc(x)))


    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    inputs, dtype, rows = 6, torch.float32, []
    for step in range(60):
        if step == 30:
            {change}
            optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        x, y = torch.randn(16, inputs, dtype=dtype), torch.randn(16, 2, dtype=dtype)
        loss = (net(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rows.append(net.fc.weight.detach().clone())
"""

CHANGES = {
    "a layer with fewer features": "net.fc, net.head = nn.Linear(6, 3), nn.Linear(3, 2)",
    "a layer of more inputs": "inputs = 9; net.fc = nn.Linear(9, 8)",
    "fewer rows of the same layer": (
        "net.fc.weight = nn.Parameter(net.fc.weight[:3].detach().clone());"
        " net.fc.bias = nn.Parameter(net.fc.bias[:3].detach().clone()); net.head = nn.Linear(3, 2)"
    ),
    "double precision": "net.double(); dtype = torch.float64",
}


def plain_rows(script: str) -> list[torch.Tensor]:
    values: dict[str, object] = {}
    exec(compile(textwrap.dedent(script), "train.py", "exec"), values)
    return values["rows"]  # type: ignore[return-value]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("moves", ["step 29;; step 3;; until 40;; continue", "continue"], ids=["stepped", "free"])
def test_training_goes_on_as_in_a_plain_run_and_metrics_are_recorded_on(
    make_session: Make, change: str, moves: str
) -> None:
    script = RUN.format(change=change)
    session = make_session(script)
    session.type("start;; watch 0 7")
    assert "*** " not in session.type(moves)
    rows = plain_rows(script)
    ours = vars(session.session.run.module)["rows"]  # type: ignore[union-attr]
    assert all(torch.equal(*pair) for pair in zip(ours, rows, strict=True))
    recorder = session.controller.recorder
    assert not recorder.failure
    norms = np.array([row[0].norm().item() for row in rows])
    trajectory = recorder.watches.trajectory(0)
    assert trajectory["step"].tolist() == list(range(1, 61))
    assert np.allclose(trajectory["weight_norm"], norms)
    assert (trajectory["segment"] == [1] * 30 + [2] * 30).all()  # what it has moved is told of each weight alone
    assert trajectory["weight_cos_to_init"][30] > 0.99


def test_what_there_is_no_more_is_told_and_no_longer_watched(make_session: Make) -> None:
    session = make_session(RUN.format(change=CHANGES["fewer rows of the same layer"]))
    session.type("start;; watch 0 2 7;; step 29")
    assert "not watched: 7, for features are 0..2" in session.type("step 3")
    assert session.controller.get_watched() == [0, 2]
    assert "at step 32" in session.type("pairs")
    assert "of layer fc" in session.type("metrics")
    for command in ("layers", "optim", "force", "step;; force"):
        assert "***" not in session.type(command), command


def test_in_the_very_step_that_prunes(make_session: Make) -> None:
    session = make_session(RUN.format(change=CHANGES["fewer rows of the same layer"]))
    session.type("start;; step 30")
    assert "step 31" in session.type("step")
    for command in ("metrics", "layers", "optim", "hist weights", "force"):
        assert "***" not in session.type(command), command


def test_each_fold_has_trajectories_of_its_own_model(make_session: Make) -> None:
    folds = RUN.replace("            {change}\n", "            net = Net()\n")
    session = make_session(folds)
    session.type("start;; watch 3;; continue")
    trajectory = session.controller.recorder.watches.trajectory(3)
    assert trajectory["segment"].tolist() == [1] * 30 + [2] * 30
    assert trajectory["weight_cos_to_init"][30] > 0.99


def test_going_back_to_before_the_change_tells_only_of_what_could_be_compared(make_session: Make) -> None:
    session = make_session(RUN.format(change=CHANGES["a layer with fewer features"]))
    session.type("until 45")
    shown = session.type("goto 20")
    assert " losses as before, bit for bit\n" in shown
    assert "0 sets" not in shown


@pytest.mark.parametrize("change", ["weight_norm", "spectral_norm", "orthogonal"])
def test_a_parametrization_that_is_registered_in_the_middle_of_a_run_costs_one_step_of_outputs(
    make_session: Make, change: str
) -> None:
    keeps_its_optimizer = RUN.replace("            optimizer = torch.optim.SGD(net.parameters(), lr=0.05)\n", "")
    script = keeps_its_optimizer.format(change=f"torch.nn.utils.parametrizations.{change}(net.fc)")
    session = make_session(script)
    for line in ("step", "watch 0", "continue"):
        session.type(line)
    steps, means = session.controller.recorder.history.metric("mean_activation")
    assert steps[np.isnan(means).all(axis=1)].tolist() == [31]
    ours = vars(session.session.run.module)["rows"]  # type: ignore[union-attr]
    assert all(torch.equal(*pair) for pair in zip(ours, plain_rows(script), strict=True))


COMPUTED = {
    "parametrized": "nn.utils.parametrizations.weight_norm(net.fc)",
    "by a hook of the old kind": "nn.utils.weight_norm(net.fc)",
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("change", COMPUTED.values(), ids=COMPUTED)
def test_a_computed_weight_is_not_taken_for_a_frozen_one(make_session: Make, change: str) -> None:
    session = make_session(RUN.format(change=change))
    session.type("until 40")
    assert session.type("cosmat weights grad") == (
        "*** the weight of layer fc is computed of parameters, and has no gradient of its own: "
        "`layers fc` shows what they have\n"
    )
    table = session.answer("layers fc --json")["layers"]
    assert table["rows"][0][table["columns"].index("grad_norm")] > 0
