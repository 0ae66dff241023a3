"""A training loop for autoencoders that has never heard of debugging, except for the lines that say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from recipes.batches import Batches, Loader

Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES_A_BLOCK = 1024


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

    Whatever the loop carries from step to step stands in the object and nowhere else, so `restore` can put it back in
    the middle of `train`: the loop goes on from there.

    Attributes:
        step: how many steps were taken; steps count from 1.
        epoch: the epoch of the last step; epochs count from 1, 0 is before the first.
        last_step: the number of the step after which `train` returns, if nobody stops it before.
        losses: [step] the loss of every step taken, on the model's device.
        clears_gradients: no step sees the gradients of the one before.
    """

    clears_gradients = True

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
        self._losses: list[Tensor] = []  # in blocks, so that those that are full never change again
        self._batches = Batches(loader)
        self._stopping = False

    @property
    def losses(self) -> Tensor:
        """The loss of every step taken."""
        return torch.cat([*self._losses, torch.empty(0, device=self.device)])[: self.step]

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
        if debug_controller is not None:
            debug_controller.begin(self)
        while self.step < self.last_step and not self._stopping:
            step = self.step + 1
            images, labels = next(self._batches)
            self.epoch = self._batches.epoch
            images = images.to(self.device, non_blocking=True)
            loss = self.loss_function(self.model(images), images)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if debug_controller is not None:
                debug_controller.capture_batch(images, loss, step, labels=labels, epoch=self.epoch)
            if training_metrics_fn is not None:
                training_metrics_fn(step)
            self.optimizer.step()
            self._note(step, loss)
            self.step = step
            if on_step is not None:
                on_step(step)
            if debug_controller is not None:
                debug_controller.wait_if_paused()

    def stop(self) -> None:
        """End training after the step that is being taken; callable from any thread."""
        self._stopping = True

    def close(self) -> None:
        """Let the loader's worker processes go; training can go on with a new epoch."""
        self._batches.close()

    def state(self) -> dict[str, Any]:
        """Return all that the loop carries from step to step; tensors in it are its own, and change."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "losses": self._losses,
            "batches": self._batches.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, as a copy of what `state()` has returned; it is the trainer's own from then on."""
        self.step, self.epoch = state["step"], state["epoch"]
        self._losses = list(state["losses"])
        self._batches.restore(state["batches"])

    def _note(self, step: int, loss: Tensor) -> None:
        """Keep a loss on the device: reading a number back each step would make the processor wait for it."""
        block, place = divmod(step - 1, LOSSES_A_BLOCK)
        if block == len(self._losses):
            self._losses.append(torch.empty(LOSSES_A_BLOCK, device=self.device))
        self._losses[block][place] = loss.detach()
