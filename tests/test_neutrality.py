"""Observing changes nothing: final weights are the same, bit for bit, whatever was paused, stepped and asked."""

from __future__ import annotations

import random
import threading
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bcl import BCL, attach_bcl
from recipes import data
from recipes.gradient_gating_l0 import CONDITIONS, LAYER, train_under_tdb
from recipes.model import LinearAutoencoder
from recipes.trainer import Trainer
from tdb.controller import DebugController
from tdb.errors import StateError, TdbError
from tdb.features import features_of
from tdb.model_view import model_rows
from tdb.overhead import Overhead
from tdb.standing import FINISHED
from tests.conftest import PATIENCE, join

STEPS = 40
Final = dict[str, Any]
Training = Callable[[DebugController | None], Final]
Value = TypeVar("Value")


def begin_anew() -> None:
    torch.set_num_threads(1)  # it belongs to a thread, and more of them sum in another order
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


def own_loop(controller: DebugController | None) -> Final:
    """Everything that a look could disturb: dropout, batch norm, Adam, and draws from all three generators."""
    begin_anew()
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    if controller is not None:
        controller.begin(SimpleNamespace(model=model, optimizer=optimizer, last_step=STEPS))
    for step in range(1, STEPS + 1):
        inputs = torch.randn(16, 8) * np.random.rand() + random.gauss(0, 1)
        targets = torch.randint(0, 4, (16,))
        hidden = model[:3](inputs)
        loss = nn.functional.cross_entropy(model[3:](hidden), targets)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        if controller is not None:
            controller.capture_batch((inputs, targets), loss, step)
            controller.capture_step_data("hidden", hidden)
            controller.capture_step_data("lazy", lambda inputs=inputs: model(inputs) + torch.rand(4))
        optimizer.step()
        if controller is not None:
            controller.wait_if_paused()
    return final(model, optimizer)


def convnet(controller: DebugController | None) -> Final:
    """Convolutions, batch norm, dropout, in-place activations, and a learning rate that changes."""
    begin_anew()
    model = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(36, 3)),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    if controller is not None:
        controller.begin(SimpleNamespace(model=model, optimizer=optimizer, scheduler=scheduler))
    for step in range(1, STEPS + 1):
        images, labels = torch.randn(8, 1, 8, 8), torch.randint(0, 3, (8,))
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        if controller is not None:
            controller.capture_batch((images, labels), loss, step)
        optimizer.step()
        scheduler.step()
        if controller is not None:
            controller.wait_if_paused()
    return final(model, optimizer)


def final(model: nn.Module, optimizer: torch.optim.Optimizer) -> Final:
    """Return all that training leaves: weights, buffers, modes, the optimizer's state, and what would be drawn next."""
    moments = [value for state in optimizer.state_dict()["state"].values() for value in state.values()]
    return {
        **{name: value.clone() for name, value in model.state_dict().items()},
        **{f"optimizer.{number}": value for number, value in enumerate(moments)},
        "modes": torch.tensor([module.training for module in model.modules()]),
        "draws": torch.tensor([random.random(), np.random.rand(), torch.rand(1).item()]),
    }


def recipe(condition: str) -> Training:
    """Return the recipe's own training of one condition, on real digits."""

    def train(controller: DebugController | None) -> Final:
        begin_anew()
        model = LinearAutoencoder(16)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        trainer = Trainer(model, optimizer, data.batches(data.load().train, 32, 0))
        config = CONDITIONS[condition]
        bcl: BCL | None = attach_bcl(model, LAYER, config) if config else None
        if controller is None:
            trainer.train(STEPS)
        else:
            train_under_tdb(trainer, Namespace(steps=STEPS, condition=condition), bcl, controller)
        carried = bcl.state() if bcl is not None else {}
        return {
            **final(model, optimizer),
            "losses": trainer.losses,
            **{f"bcl.{name}": torch.as_tensor(value) for name, value in carried.items()},
        }

    return train


TRAININGS: dict[str, Training] = {
    "own loop": own_loop,
    "convnet": convnet,
    "control": recipe("control"),
    "bcl-med": recipe("bcl-med"),
}


@pytest.fixture(scope="module")
def undisturbed() -> Callable[[str], Final]:
    """Give the outcome of a training that has never heard of tdb."""
    known: dict[str, Final] = {}

    def outcome(name: str) -> Final:
        if name not in known:
            known[name] = TRAININGS[name](None)
        return known[name]

    return outcome


def differences(one: Final, other: Final) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


class Session:
    """Somebody at the prompt, while a training runs in its own thread."""

    def __init__(self, controller: DebugController, training: Training) -> None:
        self.controller = controller
        self.outcome: Final = {}
        self._training = training
        self.thread = threading.Thread(target=self._train, daemon=True)

    def _train(self) -> None:
        self.outcome.update(self._training(self.controller))
        self.controller.finish(FINISHED)

    def start(self) -> None:
        self.controller.gate.launched(self.thread)
        self.thread.start()

    def end(self) -> Final:
        self.controller.resume()
        join(self.thread)
        return self.outcome


def ask(function: Callable[[], Value]) -> Value | None:
    """Ask what may be refused at this moment: training runs, is over, or has no such thing."""
    with suppress(TdbError):
        return function()
    return None


def inputs_of(controller: DebugController) -> Tensor:
    """Return the inputs of the last batch; before the first one, something that both models take."""
    batch = controller.get_batch()
    if batch is None:
        first = next(controller.target.model.parameters())
        return torch.zeros(4, *first.shape[1:]) if first.dim() == 2 else torch.zeros(4, first.shape[1], 8, 8)
    inputs: Tensor = batch["batch"][0] if isinstance(batch["batch"], tuple) else batch["batch"]
    return inputs


def disturb(controller: DebugController, chance: random.Random) -> None:
    """Do one of the things that people do at a prompt; each of them would change training without the guard."""
    model: nn.Module = controller.target.model

    def forward() -> Tensor:
        output: Tensor = model(inputs_of(controller))
        return output

    def descend() -> Any:
        return torch.autograd.grad(forward().sum(), list(model.parameters()))

    def prompt(function: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: controller.call(function, user_code=True)

    things: list[Callable[[], Any]] = [
        controller.pause,
        controller.pause,
        controller.resume,
        controller.get_state,
        lambda: controller.step(chance.randint(1, 3)),
        lambda: controller.wait(0.2),
        lambda: [controller.get_step_data(key) for key in controller.list_step_data_keys()],
        prompt(lambda: [source() for panel in controller.panels for source in panel.sources.values()]),
        prompt(lambda: torch.rand(3)),
        prompt(lambda: np.random.rand(3)),
        prompt(random.random),
        prompt(lambda: random.seed(1)),
        prompt(lambda: torch.manual_seed(1)),
        prompt(forward),
        prompt(descend),
        prompt(model.eval),
        prompt(lambda: torch.set_grad_enabled(False)),
        lambda: controller.at_boundary(lambda: torch.rand(3)),
        lambda: controller.call(controller.layer.metrics),
        lambda: controller.at_boundary(lambda: controller.recorder.watch(chance.sample(range(16), 2))),
        lambda: controller.at_boundary(lambda: controller.recorder.unwatch(controller.recorder.watched())),
        lambda: controller.peek(lambda _: torch.rand(3)),
        lambda: controller.at_boundary(lambda: controller.measure(Overhead(controller.position.tick, 20))),
    ]
    ask(chance.choice(things))


@pytest.mark.parametrize("name", TRAININGS)
def test_an_idle_controller_changes_nothing(
    name: str, controller: DebugController, undisturbed: Callable[[str], Final]
) -> None:
    session = Session(controller, TRAININGS[name])
    session.start()
    assert differences(session.end(), undisturbed(name)) == []
    assert controller.get_state()["tick"] == STEPS
    assert controller.gate.stops == 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", TRAININGS)
def test_pausing_stepping_and_asking_change_nothing(
    name: str, seed: int, controller: DebugController, undisturbed: Callable[[str], Final]
) -> None:
    chance = random.Random(seed)
    controller.gate.stop_at_begin()
    session = Session(controller, TRAININGS[name])
    session.start()
    assert controller.wait(PATIENCE) == "stopped"
    for _ in range(150):
        disturb(controller, chance)
        if controller.gate.status == "running":
            controller.pause()
            controller.wait(PATIENCE)
    assert differences(session.end(), undisturbed(name)) == []
    assert controller.gate.stops > 3
    assert controller.get_state()["tick"] == STEPS


@pytest.mark.parametrize("name", TRAININGS)
def test_measuring_what_tdb_costs_changes_nothing(
    name: str, controller: DebugController, undisturbed: Callable[[str], Final]
) -> None:
    controller.step(3)
    session = Session(controller, TRAININGS[name])
    session.start()
    assert controller.wait(PATIENCE) == "stopped"
    measured = Overhead(controller.position.tick, 20)
    controller.recorder.dense = True
    controller.call(lambda: controller.measure(measured))
    assert differences(session.end(), undisturbed(name)) == []
    assert len(measured.cost.recorded) == 10


@pytest.mark.parametrize("name", TRAININGS)
def test_every_single_step_stopped_at_and_looked_at_changes_nothing(
    name: str, controller: DebugController, undisturbed: Callable[[str], Final]
) -> None:
    controller.gate.stop_at_begin()
    session = Session(controller, TRAININGS[name])
    session.start()
    for _ in range(STEPS):
        assert controller.wait(PATIENCE) == "stopped"
        for key in controller.list_step_data_keys():
            controller.get_step_data(key)
        controller.call(lambda: controller.target.model(inputs_of(controller)), user_code=True)
        controller.call(lambda: torch.rand(1))
        controller.step()
    assert differences(session.end(), undisturbed(name)) == []


@pytest.mark.parametrize("name", TRAININGS)
def test_phases_stopped_at_and_looked_at_change_nothing(
    name: str, controller: DebugController, undisturbed: Callable[[str], Final]
) -> None:
    controller.gate.stop_at_begin()
    session = Session(controller, TRAININGS[name])
    session.start()
    phases: list[str] = []
    while len(phases) < 50:
        assert controller.wait(2 * PATIENCE) == "stopped"
        phases.append(controller.get_state()["phase"])
        with suppress(RuntimeError):  # of the loop that calls its model in two parts, the second has other inputs
            controller.call(lambda: controller.target.model(inputs_of(controller)), user_code=True)
        controller.call(lambda: torch.rand(1))
        controller.call(lambda: model_rows(controller.target.model, controller.model_capture))
        ask(lambda: controller.call(lambda: features_of(controller, {})))
        controller.phases.ask()
        controller.step()
    controller.phases.give_up()
    assert differences(session.end(), undisturbed(name)) == []
    assert min(phases.count(phase) for phase in ("loss", "backward", "update", "boundary")) >= 6
    assert sum(phase.startswith("forward") for phase in phases) >= 6


@pytest.mark.parametrize("name", TRAININGS)
def test_steps_under_detection_change_nothing(
    name: str, controller: DebugController, undisturbed: Callable[[str], Final]
) -> None:
    controller.gate.stop_at_begin()
    session = Session(controller, TRAININGS[name])
    session.start()
    for _ in range(8):
        assert controller.wait(2 * PATIENCE) == "stopped"
        assert controller.detection.anomalies == []
        controller.detection.asked = True
        controller.step()
    assert controller.wait(2 * PATIENCE) == "stopped"
    assert differences(session.end(), undisturbed(name)) == []


@pytest.mark.parametrize("reckless", [lambda: torch.rand(1), np.random.rand, random.random])
def test_without_the_guard_one_draw_at_the_prompt_changes_training(
    reckless: Callable[[], Any], controller: DebugController, undisturbed: Callable[[str], Final]
) -> None:
    """So the comparison above would have noticed."""
    controller.step(5)
    session = Session(controller, own_loop)
    session.start()
    assert controller.wait(PATIENCE) == "stopped"
    controller.gate.call(reckless)
    assert "0.weight" in differences(session.end(), undisturbed("own loop"))


@pytest.mark.parametrize("name", ["own loop", "bcl-med"])
def test_without_the_guard_one_forward_at_the_prompt_changes_training(
    name: str, controller: DebugController, undisturbed: Callable[[str], Final]
) -> None:
    """Dropout draws, batch norm remembers, and the rule counts."""
    controller.step(5)
    session = Session(controller, TRAININGS[name])
    session.start()
    assert controller.wait(PATIENCE) == "stopped"
    model = controller.target.model
    inputs = torch.zeros(4, 8 if name == "own loop" else 784)
    controller.gate.call(lambda: model(inputs))
    assert differences(session.end(), undisturbed(name)) != []


def test_what_is_asked_while_training_runs_is_refused_or_answered_at_a_boundary(
    controller: DebugController, undisturbed: Callable[[str], Final]
) -> None:
    session = Session(controller, own_loop)
    session.start()
    answers = [controller.at_boundary(lambda: torch.rand(2)) for _ in range(20)] + [
        controller.peek(lambda record: record)
    ]
    while controller.gate.status == "running":
        with suppress(StateError):
            controller.call(lambda: torch.rand(1))
        with suppress(StateError):
            controller.peek(lambda record: record).result(PATIENCE)
    assert [answer.result(PATIENCE) for answer in answers if answer.exception() is None]
    assert differences(session.end(), undisturbed("own loop")) == []
