"""The guard: what is evaluated at the prompt may draw, switch modes and run the model; training does not notice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tdb.controller import DebugController
from tdb.guard import generators_kept, guarded, modules_kept
from tests.conftest import PATIENCE, Loop


def next_draws() -> list[Any]:
    """What training would draw next, normal numbers included: they come in pairs, of which one is kept for later."""
    return [
        random.random(),
        random.gauss(0, 1),
        *np.random.rand(2),
        np.random.randn(),
        *torch.rand(2).tolist(),
        *torch.randn(3).tolist(),
        torch.randperm(10).tolist(),
    ]


def seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    random.gauss(0, 1)
    np.random.randn()


@pytest.mark.parametrize(
    "draw",
    [
        random.random,
        lambda: random.gauss(0, 1),
        lambda: random.seed(7),
        lambda: np.random.rand(3),
        np.random.randn,
        lambda: np.random.seed(7),
        lambda: torch.rand(3),
        lambda: torch.randn(1),
        lambda: torch.manual_seed(7),
        lambda: nn.Linear(3, 3),
        lambda: nn.functional.dropout(torch.ones(9)),
    ],
)
def test_draws_are_taken_back(draw: Callable[[], Any]) -> None:
    seed()
    expected = next_draws()
    seed()
    with generators_kept():
        draw()
    assert next_draws() == expected
    seed()
    draw()
    assert next_draws() != expected, "without the guard, training would notice"


def test_draws_are_taken_back_after_an_error() -> None:
    seed()
    expected = next_draws()
    seed()

    def draw_and_fail() -> None:
        with guarded():
            next_draws()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        draw_and_fail()
    assert next_draws() == expected


def normalising() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.BatchNorm1d(3), nn.Dropout()))


def test_modes_buffers_and_gradient_mode_are_put_back_and_the_user_is_told() -> None:
    model = normalising()
    model[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    notices: list[str] = []
    with guarded([model], notice=notices.append):
        model(torch.rand(8, 3))
        model.eval()
        torch.set_grad_enabled(False)
    assert torch.is_grad_enabled()
    assert [module.training for module in model.modules()] == [True, False, True, True, True]
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    names = "1.0.running_mean, 1.0.running_var, 1.0.num_batches_tracked"
    assert notices == [
        "training mode of 4 modules put back: `set guard off` to change it for good",
        f"buffers put back ({names}): `set guard off` to change them for good",
    ]


def test_a_look_that_changes_nothing_says_nothing() -> None:
    model = normalising()
    notices: list[str] = []
    with guarded([model], notice=notices.append):
        model[0](torch.rand(8, 3))
    assert notices == []


def test_gradients_are_allowed_where_training_allows_them() -> None:
    model = normalising()
    with guarded([model]):
        assert torch.autograd.grad(model(torch.rand(8, 3)).sum(), model.get_parameter("0.weight"))[0].shape == (3, 3)
    with torch.no_grad(), guarded([model]):
        assert not model(torch.rand(8, 3)).requires_grad


class Buffered(nn.Module):
    """Buffers of every kind that a comparison could stumble over."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("nan", torch.tensor([float("nan"), 1.0]))
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("phase", torch.tensor([1 + 2j]))
        self.register_buffer("empty", torch.zeros(0))
        self.register_buffer("nothing", None)
        self.register_buffer("graph", torch.eye(2).to_sparse())
        self.lazy = nn.LazyBatchNorm1d()


def test_buffers_of_every_kind_are_compared_without_error() -> None:
    model, notices = Buffered(), list[str]()
    with modules_kept([model], notices.append):
        pass
    assert notices == []
    with modules_kept([model], notices.append):
        model.get_buffer("nan").fill_(0)
        model.get_buffer("flags").logical_not_()
        model.get_buffer("count").add_(1)
        model.get_buffer("phase").mul_(2)
    assert torch.equal(model.get_buffer("nan").isnan(), torch.tensor([True, False]))
    assert [model.get_buffer(name).tolist() for name in ("flags", "count", "phase")] == [[True, False], 3, [1 + 2j]]
    assert len(notices) == 1


def test_a_buffer_that_was_replaced_is_put_back_itself() -> None:
    """An optimizer, or a compiled graph, may know the tensor: another one with the same values is not the same."""
    model = normalising()
    norm = model.get_submodule("1.0")
    mean = norm.get_buffer("running_mean")
    with guarded([model]):
        norm.running_mean = torch.full((3,), 7.0)
    assert norm.get_buffer("running_mean") is mean
    assert mean.tolist() == [0, 0, 0]


def test_rules_sleep_inside_and_wake_up_after_an_error() -> None:
    awake = [True]

    @contextmanager
    def inert() -> Iterator[None]:
        awake[0] = False
        try:
            yield
        finally:
            awake[0] = True

    def fail_while_it_sleeps() -> None:
        with guarded(inert=[inert]):
            assert awake == [False]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_while_it_sleeps()
    assert awake == [True]


def test_calls_of_the_controller_are_guarded_in_the_training_thread(controller: DebugController) -> None:
    model = normalising()
    draws: list[float] = []

    def body(step: int) -> None:
        controller.capture_batch([step], 1.0, step)
        controller.capture_step_data("drawn", lambda: torch.rand(1))
        draws.append(torch.rand(1).item())

    def train(controller: DebugController) -> None:
        torch.manual_seed(0)
        controller.begin(SimpleNamespace(model=model))
        for step in range(1, 6):
            body(step)
            controller.wait_if_paused()

    controller.step(2)
    loop = Loop(controller, 1, lambda _: train(controller)).start(announced=True)
    assert controller.wait(PATIENCE) == "stopped"
    controller.call(lambda: torch.rand(1))
    controller.call(lambda: model.eval()(torch.rand(4, 3)), user_code=True)
    controller.at_boundary(lambda: torch.rand(1)).result(PATIENCE)
    controller.get_step_data("drawn")
    assert controller.take_notices() == ["training mode of 5 modules put back: `set guard off` to change it for good"]
    with pytest.raises(ZeroDivisionError):
        controller.call(lambda: torch.rand(1) / (1 // 0), user_code=True)
    peeked = controller.peek(lambda record: record)
    controller.resume()
    assert "drawn" in peeked.result(PATIENCE).data
    loop.join()
    torch.manual_seed(0)
    assert draws == [torch.rand(1).item() for _ in range(5)]
