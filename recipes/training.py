"""How one condition is trained: alone, with bars on a terminal, or under tdb."""

from __future__ import annotations

import argparse
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

import tdb
from bcl import BCL, BCLConfig, attach_bcl
from bcl.health import METRICS, BCLHealthTracker, EpochHealth
from recipes import data
from recipes.conditions import config_of, title
from recipes.model import LinearAutoencoder
from recipes.progress import Bars
from recipes.trainer import Trainer
from tdb.errors import TdbError, UsageError

if TYPE_CHECKING:
    from tdb import DebugController

RECIPE = "gradient_gating_l0"
LAYER = "encoder.0"


class InterruptionError(TdbError):
    """Ctrl-C: where training was, and how to go on."""

    code = "interrupted"
    exit_status = 130


@dataclass(frozen=True)
class Trained:
    """A condition at its end.

    Attributes:
        name: of the condition.
        config: of its rule; None for the control.
        model: as trained.
        trainer: knows the steps and their losses.
        health: the features' in the last epoch, be it a whole one or not; None without a rule.
        seconds: how long training took.
    """

    name: str
    config: BCLConfig | None
    model: LinearAutoencoder
    trainer: Trainer
    health: EpochHealth | None
    seconds: float


class HealthWatch:
    """Tells the tracker of every step of a rule, and of every epoch's end; without a rule there is nothing to tell."""

    def __init__(self, tracker: BCLHealthTracker, bcl: BCL | None, name: str, steps_an_epoch: int) -> None:
        self.tracker = tracker
        self._bcl = bcl
        self._steps_an_epoch = steps_an_epoch
        if bcl is not None:
            tracker.begin_run(name)

    def record(self, _step: int) -> None:
        """Before the optimizer's update."""
        if self._bcl is not None:
            self.tracker.record_bcl_step(self._bcl.get_step_metrics(METRICS))

    def on_step(self, step: int) -> None:
        """After the optimizer's update."""
        if self._bcl is not None and step % self._steps_an_epoch == 0:
            self.tracker.end_epoch(self._bcl.layer.weight)

    def last_epoch(self) -> EpochHealth | None:
        """Return the health at the end of training, be it of an epoch cut short; None without a rule or a step."""
        if self._bcl is None:
            return None
        if self.tracker.steps_in_epoch:
            return self.tracker.end_epoch(self._bcl.layer.weight)
        epochs = self.tracker.runs[-1].epochs
        return epochs[-1] if epochs else None


def train(
    options: argparse.Namespace, condition: str, digits: data.Data, tracker: BCLHealthTracker, bars: Bars
) -> Trained:
    """Train one condition.

    Raises:
        UsageError: the device or the size of a batch cannot be used.
        InterruptionError: Ctrl-C.
    """
    name, config = title(condition, options.rule), config_of(condition, options.rule)
    torch.manual_seed(options.seed)
    model = LinearAutoencoder(options.hidden)
    try:
        model.to(options.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"cannot train on {options.device!r}: {reason}", "Try --device cpu") from None
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    bcl = attach_bcl(model, LAYER, config) if config else None
    loader = data.batches(digits.train, options.batch_size, options.workers)
    watch = HealthWatch(tracker, bcl, name, len(loader))

    began = time.perf_counter()
    with closing(Trainer(model, optimizer, loader)) as trainer:
        controller = tdb.active_controller()
        if controller is not None:
            named = argparse.Namespace(steps=options.steps, condition=name)
            train_under_tdb(trainer, named, bcl, controller, watch)
        else:
            on_step = _each(watch.on_step, bars.steps(name, trainer, options.steps))
            with interrupt_stops(trainer, name):
                trainer.train(options.steps, on_step, watch.record)
    seconds = time.perf_counter() - began
    return Trained(name, config, model, trainer, watch.last_epoch(), seconds)


@contextmanager
def interrupt_stops(trainer: Trainer, name: str) -> Iterator[None]:
    """Let Ctrl-C end training after the step that is being taken, and a second one at once.

    Torn off in the middle of a step, the loader's processes would complain about it on the terminal.

    Raises:
        InterruptionError: training was ended by Ctrl-C.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield  # somebody else has the say over it
        return
    interrupted = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        trainer.stop()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted:
        raise InterruptionError(f"{name} was interrupted at step {trainer.step:,} of {trainer.last_step:,}")


def train_under_tdb(
    trainer: Trainer,
    options: argparse.Namespace,
    bcl: BCL | None,
    controller: DebugController,
    watch: HealthWatch | None = None,
) -> None:
    """Train while tdb may stop at every step and look; what it looks at is computed only if it does."""
    controller.describe(recipe=RECIPE, condition=options.condition)
    controller.focus_on(LAYER)
    controller.image_shape = (28, 28)

    from bcl.panel import COMMANDS, bcl_panel

    controller.remove_panel("bcl")  # of the condition before this one
    controller.add_commands(*COMMANDS)  # without a rule they say so
    if bcl is None:
        trainer.train(options.steps, debug_controller=controller)
        return

    def loss_of_each(images: Tensor) -> Tensor:
        error: Tensor = (trainer.model(images) - images).abs()  # [B, F]
        return error.mean(1)

    controller.add_panel(bcl_panel(bcl, watch.tracker if watch else None, loss_of_each))

    trainer.train(
        options.steps,
        on_step=watch.on_step if watch else None,
        training_metrics_fn=watch.record if watch else None,
        debug_controller=controller,
    )


def _each(first: Callable[[int], None], second: Callable[[int], None] | None) -> Callable[[int], None]:
    """Return what calls both, if there are two."""
    if second is None:
        return first

    def call(step: int) -> None:
        first(step)
        second(step)

    return call
