"""The recipe's training in a thread, with somebody at a prompt, and a digest of everything it consists of."""

from __future__ import annotations

import hashlib
import random
import threading
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bcl import BCL, attach_bcl
from bcl.health import BCLHealthTracker
from recipes import data
from recipes.conditions import config_of
from recipes.model import LinearAutoencoder
from recipes.trainer import Trainer
from recipes.training import LAYER, HealthWatch, train_under_tdb
from tdb.commands import all_commands
from tdb.controller import DebugController
from tdb.session import Session
from tests.conftest import PATIENCE, join

STEPS = 60  # 45 make an epoch
BATCH = 100
Digests = dict[int, str]


@dataclass
class Parts:
    """One training, before its first step."""

    trainer: Trainer
    bcl: BCL | None
    watch: HealthWatch


def made(condition: str, workers: int = 0) -> Parts:
    """Return the same training each time, in the calling thread's generators."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    model = LinearAutoencoder(16)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = data.batches(data.load().train, BATCH, workers)
    config = config_of(condition, None)
    bcl = attach_bcl(model, LAYER, config) if config else None
    return Parts(Trainer(model, optimizer, loader), bcl, HealthWatch(BCLHealthTracker(), bcl, condition, len(loader)))


def digest(trainer: Trainer, bcl: BCL | None, watch: HealthWatch) -> str:
    """Return a digest of everything that the next step depends on, bit for bit."""
    found: list[Any] = [
        trainer.step,
        trainer.epoch,
        trainer.losses,
        list(trainer.model.state_dict().items()),
        trainer.optimizer.state_dict(),
        bcl and bcl.state(),
        watch.tracker.state(),
        random.getstate(),
        np.random.get_state(),
        torch.get_rng_state(),
    ]
    return hashlib.sha256(repr([_plain(each) for each in found]).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()).hexdigest()
    if isinstance(value, np.ndarray):
        return hashlib.sha256(value.tobytes()).hexdigest()
    if isinstance(value, dict):
        return [(str(key), _plain(each)) for key, each in value.items()]
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "__slots__") or hasattr(value, "__dataclass_fields__"):
        return [(name, _plain(getattr(value, name))) for name in value.__dataclass_fields__]
    return repr(value)


def undisturbed(
    condition: str, steps: int = STEPS, workers: int = 0, act: Callable[[Parts], None] | None = None, at: int = -1
) -> Digests:
    """Return the digest at every step of a run that has never heard of tdb; `act` changes it after step `at`."""
    parts = made(condition, workers)
    found = {0: digest(parts.trainer, parts.bcl, parts.watch)}

    def note(step: int) -> None:
        parts.watch.on_step(step)
        found[step] = digest(parts.trainer, parts.bcl, parts.watch)
        if act is not None and step == at:
            act(parts)

    parts.trainer.train(steps, note, parts.watch.record)
    parts.trainer.close()
    return found


class Prompt:
    """Training under tdb in a thread of its own, stopped before its first step."""

    def __init__(self, condition: str, steps: int = STEPS, workers: int = 0) -> None:
        self.controller = DebugController()
        self.session = Session(self.controller, all_commands())
        self.parts: Parts
        self._ready = threading.Event()
        self.thread = threading.Thread(target=self._train, args=(condition, steps, workers), daemon=True)
        self.controller.gate.stop_at_begin()
        self.controller.gate.launched(self.thread)
        self.thread.start()
        assert self._ready.wait(PATIENCE)
        assert self.controller.wait(PATIENCE) == "stopped"

    def _train(self, condition: str, steps: int, workers: int) -> None:
        self.parts = made(condition, workers)
        self._ready.set()
        named = Namespace(steps=steps, condition=condition)
        train_under_tdb(self.parts.trainer, named, self.parts.bcl, self.controller, self.parts.watch)

    @property
    def step(self) -> int:
        """Where training stands."""
        return self.controller.position.step

    def digest(self) -> str:
        """Return the digest of everything now."""
        parts = self.parts
        return self.controller.gate.call(lambda: digest(parts.trainer, parts.bcl, parts.watch))

    def do(self, name: str, *arguments: Any, **words: Any) -> Any:
        """Run a command and return its answer."""
        command = self.session.registry.find(name)
        assert command is not None
        return command.function(self.session, *arguments, **words)

    def close(self) -> None:
        """End training."""
        self.controller.stop()
        self.controller.gate.dismiss()
        join(self.thread)
        self.parts.trainer.close()
