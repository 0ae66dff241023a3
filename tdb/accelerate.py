"""Accelerate: your own loop over `tdb.accelerate.attach(accelerator, model, optimizer).steps(loader)`.

debug = tdb.accelerate.attach(accelerator, model, optimizer)
for batch in debug.steps(loader):
    with accelerator.accumulate(model):
        ...
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from tdb.own_loop import attach as attach_loop
from tdb.own_loop import several

try:
    from accelerate import Accelerator
except ImportError:
    raise ImportError("tdb.accelerate needs Accelerate: pip install 'tdb[accelerate]'") from None

if TYPE_CHECKING:
    from tdb.controller import DebugController
    from tdb.steps import Steps

Batch = TypeVar("Batch")


class AcceleratedLoop:
    """A loop that an accelerator helps.

    Attributes:
        controller: what `tdb.attach` has returned.
    """

    def __init__(self, accelerator: Accelerator, controller: DebugController) -> None:
        self.controller = controller
        self._accelerator = accelerator

    def steps(self, batches: Iterable[Batch], *, epoch: int | None = None) -> Steps[Batch]:
        """Return one epoch's batches, as `controller.steps` does; a step ends with the batch that ends accumulation."""
        return self.controller.steps(batches, epoch=epoch, complete=lambda: self._accelerator.sync_gradients)


def attach(
    accelerator: Accelerator, model: Any, optimizer: Any = None, *, schedulers: Any = (), **options: Any
) -> AcceleratedLoop:
    """Tell tdb what is trained: what `accelerator.prepare` has returned.

    Args:
        accelerator: the accelerator.
        model: the model.
        optimizer: the optimizer, or several in a list or dict.
        schedulers: one learning-rate scheduler, or several in a list or dict.
        options: `focus`, `image_shape`, `step` and `last_step`, as `tdb.attach` takes them.
    """
    controller = attach_loop(
        accelerator.unwrap_model(model),
        [getattr(each, "optimizer", each) for each in several(optimizer)],  # inside the wrappers of Accelerate
        schedulers=[getattr(each, "scheduler", each) for each in several(schedulers)],
        scaler=accelerator.scaler,
        **options,
    )
    return AcceleratedLoop(accelerator, controller)
