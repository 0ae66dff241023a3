"""A training loop for autoencoders that has never heard of debugging, except for the lines that say so."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sized
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Loss = Callable[[Tensor, Tensor], Tensor]


class Loader(Sized, Protocol):
    """Gives an epoch's batches (images, labels) each time it is iterated over."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Begin an epoch."""


class Debugger(Protocol):
    """What the loop tells a debugger."""

    def begin(self, target: Any) -> None:
        """Training is about to take its first step."""

    def capture_batch(
        self, batch: Any, loss: Any, step: int | None = None, *, labels: Any = None, epoch: int | None = None
    ) -> None:
        """This step's batch and loss."""

    def wait_if_paused(self) -> None:
        """The step is complete."""


class Trainer:
    """Trains a model to reproduce its input.

    Attributes:
        step: how many steps were taken; steps count from 1.
        epoch: the epoch of the last step; epochs count from 1, 0 is before the first.
        last_step: the number of the step after which `train` returns, if nobody stops it before.
        losses: [step] the loss of every step taken, on the model's device.
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, loader: Loader, loss_function: Loss = nn.functional.l1_loss
    ) -> None:
        if len(loader) == 0:
            raise ValueError("the loader has no batches: there is nothing to train on")
        self.model = model
        self.optimizer = optimizer
        self.loader = loader
        self.loss_function = loss_function
        self.device = next(model.parameters()).device
        self.step = 0
        self.epoch = 0
        self.last_step = 0
        self._losses = torch.empty(0, device=self.device)
        self._batches = endless(loader)
        self._stopping = False

    @property
    def losses(self) -> Tensor:
        """The loss of every step taken."""
        return self._losses[: self.step]

    def train(
        self,
        steps: int,
        on_step: Callable[[int], object] | None = None,
        training_metrics_fn: Callable[[int], object] | None = None,
        debug_controller: Debugger | None = None,
    ) -> None:
        """Take `steps` more steps, or fewer if `stop` is called.

        Args:
            steps: how many; a second call goes on where the first one ended, in the middle of an epoch too.
            on_step: called with the step's number after the optimizer's update.
            training_metrics_fn: called with the step's number between backward and the update.
            debug_controller: may look at every step and hold training at its end.
        """
        self._stopping = False
        self.last_step = self.step + steps
        self._losses = torch.cat([self.losses, torch.empty(steps, device=self.device)])
        if debug_controller is not None:
            debug_controller.begin(self)
        for step in range(self.step + 1, self.step + steps + 1):
            self.epoch, (images, labels) = next(self._batches)
            images = images.to(self.device, non_blocking=True)
            loss = self.loss_function(self.model(images), images)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if debug_controller is not None:
                debug_controller.capture_batch(images, loss, step, labels=labels, epoch=self.epoch)
            if training_metrics_fn is not None:
                training_metrics_fn(step)
            self.optimizer.step()
            # Kept on the device: reading a number back each step would make the processor wait for it.
            self._losses[step - 1] = loss.detach()
            self.step = step
            if on_step is not None:
                on_step(step)
            if debug_controller is not None:
                debug_controller.wait_if_paused()
            if self._stopping:
                break

    def stop(self) -> None:
        """End training after the step that is being taken; callable from any thread."""
        self._stopping = True

    def close(self) -> None:
        """Let the loader's worker processes go; training can go on with a new epoch.

        Left to the garbage collector, each of them makes it wait for five seconds.
        """
        self._batches.close()
        self._batches = endless(self.loader, self.epoch)


def endless(loader: Loader, epoch: int = 0) -> Generator[tuple[int, tuple[Tensor, Tensor]], None, None]:
    """Give the number of the epoch and a batch, epoch after epoch, from the one after `epoch`."""
    while True:
        epoch += 1
        for batch in loader:
            yield epoch, batch
