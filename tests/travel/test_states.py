"""Every kind of state goes back with the rest: the run that wandered is the undisturbed one, bit for bit."""

from __future__ import annotations

import copy
import hashlib
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from tdb.commands import all_commands
from tdb.controller import DebugController
from tdb.errors import TdbError
from tdb.session import Session
from tests.conftest import PATIENCE, join
from tests.travel.training import _plain

STEPS = 40
Digests = dict[int, str]


class Loop:
    """A loop over batches that are told by the step's number; what else it carries, a test adds."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, **parts: Any) -> None:
        self.model, self.optimizer = model, optimizer
        self.schedulers: list[Any] = parts.pop("schedulers", [])
        self.scaler = parts.pop("scaler", None)
        self.after: Callable[[Loop, Tensor], object] = parts.pop("after", lambda *_: None)
        self.registered: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = parts.pop("registered", {})
        self.carried: Any = parts.pop("carried", None)
        self.step = 0

    def state(self) -> dict[str, Any]:
        return {"step": self.step, "carried": self.carried}

    def restore(self, state: dict[str, Any]) -> None:
        self.step, self.carried = state["step"], state["carried"]

    def train(self, steps: int, controller: DebugController | None, seen: Callable[[Loop], object]) -> None:
        if controller is not None:
            for name, (save, load) in self.registered.items():
                controller.register_state(name, save, load)
            controller.begin(self)
        while self.step < steps:
            self.step += 1
            inputs = torch.randn(8, 6, generator=torch.Generator().manual_seed(self.step))
            loss = self._update(inputs)
            for scheduler in self.schedulers:
                scheduler.step(*([loss] if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else []))
            self.after(self, loss)
            seen(self)
            if controller is not None:
                controller.capture_batch(inputs, loss, self.step)
                controller.wait_if_paused()

    def _update(self, inputs: Tensor) -> Tensor:
        def closure() -> Tensor:
            self.optimizer.zero_grad()
            outputs = self.model(inputs.to(next(self.model.parameters()).dtype))
            loss = (outputs - inputs.roll(1, 1)).pow(2).mean()
            if self.scaler is None:
                loss.backward()
            else:
                scaled = self.scaler.scale(loss)
                (scaled * float("inf") if self.step % 7 == 0 else scaled).backward()
            return loss

        if isinstance(self.optimizer, torch.optim.LBFGS):
            return torch.as_tensor(self.optimizer.step(closure)).detach()
        loss = closure()
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return loss.detach()


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 6))


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=1e-2)


def scheduled(scheduler: Callable[[torch.optim.Optimizer], Any]) -> Callable[[], Loop]:
    def make() -> Loop:
        optimizer = adam(model := small())
        return Loop(model, optimizer, schedulers=[scheduler(optimizer)])

    return make


def sequence(optimizer: torch.optim.Optimizer) -> Any:
    parts = [lr_scheduler.LinearLR(optimizer, total_iters=8), lr_scheduler.ExponentialLR(optimizer, 0.9)]
    return lr_scheduler.SequentialLR(optimizer, parts, milestones=[8])


def with_momentum() -> Loop:
    model = small()
    return Loop(model, torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9, nesterov=True))


def with_lbfgs() -> Loop:
    model = small()
    return Loop(model, torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4, history_size=3))


def with_a_parameter_of_no_model() -> Loop:
    model, temperature = small(), nn.Parameter(torch.ones(()))
    model.register_forward_hook(lambda _, __, output: output * temperature)
    return Loop(model, torch.optim.Adam([*model.parameters(), temperature], lr=1e-2))


def with_scaler() -> Loop:
    model = small()
    return Loop(model, adam(model), scaler=torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=3))


def with_layers_that_draw_and_count() -> Loop:
    model = nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.Dropout(0.3), nn.Linear(9, 6))
    return Loop(model, adam(model))


def with_average() -> Loop:
    model = small()
    average = copy.deepcopy(model)

    def after(loop: Loop, _loss: Tensor) -> None:
        with torch.no_grad():
            for mean, value in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(value, 0.1)
        loop.optimizer.param_groups[0]["lr"] = 1e-2 / (1 + next(average.parameters()).detach().abs().mean().item())

    return Loop(model, adam(model), after=after, registered={"average": (average.state_dict, average.load_state_dict)})


def with_tied_weights() -> Loop:
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    model[2].weight = model[0].weight
    return Loop(model, adam(model))


class Lookup(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(7, 6, sparse=True)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.as_tensor(self.rows((inputs > 0).sum(1)))


def with_sparse_gradients() -> Loop:
    model = Lookup()
    return Loop(model, torch.optim.SparseAdam(model.parameters(), lr=1e-2))


def in_bfloat16() -> Loop:
    model = small().to(torch.bfloat16)
    return Loop(model, adam(model))


def with_growing_state() -> Loop:
    def after(loop: Loop, loss: Tensor) -> None:
        carried = loop.carried
        carried["losses"].append(loss.clone())
        carried["words"].append(f"step {loop.step}")
        carried["seen"].add(loop.step % 5)
        carried["counts"][loop.step % 3, "rest"] = np.full(loop.step % 4, float(loss))
        carried["shuffled"] = [*random.sample(range(5), 5), float(np.random.normal())]
        loop.optimizer.param_groups[0]["lr"] = 1e-3 * (1 + len(carried["seen"]) + carried["shuffled"][0])

    model = small()
    carried = {"losses": [], "words": [], "seen": set(), "counts": {}, "shuffled": []}
    return Loop(model, adam(model), after=after, carried=carried)


def with_a_group_that_is_added() -> Loop:
    def after(loop: Loop, _loss: Tensor) -> None:
        if loop.step == 15:
            loop.optimizer.add_param_group({"params": list(model[2].parameters()), "lr": 1e-3})

    model = small()
    return Loop(model, torch.optim.Adam(model[0].parameters(), lr=1e-2), after=after)


KINDS: dict[str, Callable[[], Loop]] = {
    "SGD momentum": with_momentum,
    "LBFGS": with_lbfgs,
    "GradScaler": with_scaler,
    "BatchNorm and dropout": with_layers_that_draw_and_count,
    "an average that is registered": with_average,
    "tied weights": with_tied_weights,
    "bfloat16": in_bfloat16,
    "sparse gradients": with_sparse_gradients,
    "state that grows": with_growing_state,
    "a parameter of no model": with_a_parameter_of_no_model,
    "a group that is added": with_a_group_that_is_added,
    "StepLR": scheduled(lambda optimizer: lr_scheduler.StepLR(optimizer, 7)),
    "MultiStepLR": scheduled(lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [5, 5, 21])),
    "OneCycleLR": scheduled(lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=STEPS)),
    "ReduceLROnPlateau": scheduled(lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)),
    "SequentialLR": scheduled(sequence),
}


def digest(loop: Loop) -> str:
    found: list[Any] = [loop.step, loop.model.state_dict(), loop.optimizer.state_dict(), loop.carried]
    found += [each.state_dict() for each in loop.schedulers]
    found += [loop.scaler.state_dict()] if loop.scaler is not None else []
    found += [save() for save, _ in loop.registered.values()]
    found += [torch.get_rng_state(), random.getstate(), np.random.get_state()]
    return hashlib.sha256(repr([_plain(each) for each in found]).encode()).hexdigest()


def seeded(make: Callable[[], Loop]) -> Loop:
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    return make()


@contextmanager
def stopped_at_start(make: Callable[[], Loop]) -> Iterator[tuple[Session, Loop]]:
    controller = DebugController()
    session = Session(controller, all_commands())
    loop = seeded(make)
    thread = threading.Thread(target=lambda: loop.train(STEPS, controller, lambda _: None), daemon=True)
    controller.gate.stop_at_begin()
    controller.gate.launched(thread)
    thread.start()
    try:
        assert controller.wait(PATIENCE) == "stopped"
        yield session, loop
    finally:
        controller.stop()
        controller.gate.dismiss()
        join(thread)


def do(session: Session, name: str, *arguments: Any, **words: Any) -> Any:
    found = session.registry.find(name)
    assert found is not None
    return found.function(session, *arguments, **words)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_goes_back_and_forth(kind: str, tmp_path: Any) -> None:
    make = KINDS[kind]
    expected: Digests = {}
    plain = seeded(make)
    plain.train(STEPS, None, lambda loop: expected.update({loop.step: digest(loop)}))
    with stopped_at_start(make) as (session, loop):
        now = lambda: session.controller.gate.call(lambda: digest(loop))  # noqa: E731
        do(session, "until", "33")
        assert now() == expected[33]
        file = tmp_path / "there.safetensors"
        for step in (12, 30, 13, 1, 32):
            answer = do(session, "goto", step)
            assert answer.data["differences"] == []
            assert now() == expected[step], step
            if step == 30 and kind != "sparse gradients":
                do(session, "checkpoint", output=file)
        do(session, "goto", 20)
        if file.exists():
            do(session, "checkpoint", load=file)
            assert now() == expected[30]
        else:
            with pytest.raises(TdbError, match=r"cannot write .*there\.safetensors"):
                do(session, "checkpoint", output=file)
        do(session, "until", "35")
        assert now() == expected[35]


def test_what_is_frozen_is_copied_once() -> None:
    def make() -> Loop:
        model = nn.Sequential(nn.Linear(6, 600), nn.Tanh(), nn.Linear(600, 6))
        model[0].requires_grad_(False)
        return Loop(model, adam(model))

    with stopped_at_start(make) as (session, loop):
        kept = session.controller.travel.checkpoints

        def copies() -> int:
            return len({id(each.snapshot.tensors["parameter", "0.weight"]) for each in kept})

        do(session, "until", "30")
        do(session, "goto", 14)  # putting back writes to nothing that has not changed
        do(session, "until", "36")
        assert len(kept) > 8
        assert copies() == 1
        weight = loop.model[0].weight
        before = weight.clone()
        weight.data.add_(1)  # which leaves no trace in the tensor's version
        do(session, "checkpoint", "changed")
        assert copies() == 2
        do(session, "goto", 10)
        assert torch.equal(weight, before)


def test_copies_are_shared_while_a_list_of_losses_grows() -> None:
    def after(loop: Loop, loss: Tensor) -> None:
        loop.carried.append(torch.full((20_000,), float(loss)))

    def make() -> Loop:
        model = small()
        return Loop(model, adam(model), after=after, carried=[])

    with stopped_at_start(make) as (session, _):
        do(session, "until", "35")
        kept = session.controller.travel.checkpoints
        assert kept.slots.used < 1.2 * 35 * 80_000  # each block once, not once a checkpoint


def test_a_deque_comes_back_as_what_it_was() -> None:
    window: deque[float] = deque(maxlen=3)

    def load(values: list[float]) -> None:
        window.clear()
        window.extend(values)

    def make() -> Loop:
        model, after = small(), lambda _loop, loss: window.append(float(loss))
        return Loop(model, adam(model), after=after, registered={"window": (lambda: list(window), load)})

    with stopped_at_start(make) as (session, _):
        do(session, "until", "20")
        there = list(window)
        do(session, "until", "30")
        do(session, "goto", 20)
        assert list(window) == there
