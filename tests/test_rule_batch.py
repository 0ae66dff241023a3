"""What a rule records: metrics of many steps at once are those of each step, computed by itself."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tdb.controller import DebugController
from tdb.panel import Panel, Recorded

FEATURES = 6


class Rule:
    """A rule whose columns are made of two parts a step, and from step `more_from` on of three."""

    def __init__(self, more_from: int) -> None:
        self.step = 0
        self._more_from = more_from

    def parts(self) -> Sequence[Tensor]:
        wins = torch.arange(FEATURES) + self.step / 8
        return [wins, wins * 3, *([wins - 1] if self.step >= self._more_from else [])][: 3 if self.step else 0]

    @staticmethod
    def columns(parts: Tensor) -> dict[str, Tensor]:
        assert parts.dim() == 3, "steps come together"
        return {"win_rate": parts[:, 0] * parts[:, 1], "pull": parts.sum(1)}

    def metrics(self) -> dict[str, Tensor]:
        return {name: values[0] for name, values in self.columns(torch.stack(list(self.parts()))[None]).items()}


@pytest.mark.parametrize("every", [1, 3])
def test_metrics_of_many_steps_at_once_are_those_of_each_step(every: int) -> None:
    torch.manual_seed(0)
    model, rule, controller = nn.Sequential(nn.Linear(4, FEATURES)), Rule(more_from=70), DebugController()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorded = Recorded(rule.parts, rule.columns)
    controller.add_panel(Panel("rule", "0", rule.metrics, ("win_rate", "pull"), recorded=recorded))
    controller.recorder.every = every
    controller.begin(SimpleNamespace(model=model, optimizer=optimizer))
    if every == 1:
        controller.add_watch(5)
        controller.add_watch(2)
    initial, expected, rows = model[0].weight.detach().clone(), {}, []
    for step in range(1, 151):
        rule.step = step
        loss = model(torch.randn(8, 4)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected[step] = rule.metrics()
        rows.append(model[0].weight.detach().clone())
        controller.capture_batch(None, loss)
        controller.wait_if_paused()
    controller.finish("finished")

    steps, values = controller.recorder.history.metric("pull")
    assert steps.tolist() == [step for step in range(1, 151) if step == 1 or step % every == 0]
    for name in ("win_rate", "pull"):
        values = controller.recorder.history.metric(name)[1]
        np.testing.assert_array_equal(values, np.stack([expected[step][name] for step in steps]))
    assert controller.recorder.history.range()["step"].tolist() == list(range(1, 151))
    if every == 1:
        trajectory = controller.recorder.watches.trajectory(2)
        np.testing.assert_array_equal(trajectory["pull"], [expected[step]["pull"][2] for step in range(1, 151)])
        cosines = [torch.cosine_similarity(row[2].double(), initial[2].double(), dim=0) for row in rows]
        np.testing.assert_allclose(trajectory["weight_cos_to_init"], cosines, atol=1e-6)
