"""Lightning: `Trainer(callbacks=[tdb.lightning.DebugCallback()])`, and then `tdb train.py`.

Without tdb the callback costs what `tdb.attach` costs in a plain run, and stops nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tdb.own_loop import attach

try:
    from lightning.pytorch.callbacks import Callback
except ImportError:
    try:
        from pytorch_lightning.callbacks import Callback
    except ImportError:
        raise ImportError("tdb.lightning needs Lightning: pip install 'tdb[lightning]'") from None

if TYPE_CHECKING:
    from tdb.controller import DebugController

UNLIMITED = -1


class DebugCallback(Callback):
    """One step of tdb is one update of Lightning's loop: with accumulation it takes several batches, the last is shown.

    The loss of a step is what is differentiated in it, of all its batches; in a plain run it is the last one's.

    Args:
        focus: the layer whose output units are the features of the tables.
        image_shape: the shape of a feature's weights as an image.
    """

    def __init__(self, *, focus: str = "", image_shape: Sequence[int] | None = None) -> None:
        self._focus = focus
        self._image_shape = image_shape
        self._hearing: Any = None
        self._controller: DebugController

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Tell tdb what is trained."""
        self._updates = trainer.global_step
        limit = trainer.estimated_stepping_batches
        self._controller = attach(
            pl_module,
            trainer.optimizers,
            focus=self._focus,
            image_shape=self._image_shape,
            schedulers=[each.scheduler for each in trainer.lr_scheduler_configs],
            scaler=getattr(trainer.precision_plugin, "scaler", None),
            step=trainer.global_step,
            last_step=limit if isinstance(limit, int) and limit != UNLIMITED else None,
        )
        self._hearing = self._controller.hearing()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Hand the batch over."""
        del pl_module, batch_idx
        self._hearing.begin_step()
        self._controller.capture_batch(batch, None, epoch=trainer.current_epoch + 1)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A batch with an update ends a step."""
        del pl_module, batch, batch_idx
        if trainer.global_step != self._updates:
            self._updates = trainer.global_step
            self._hearing.hand_over(outputs.get("loss") if isinstance(outputs, dict) else outputs)
            self._controller.wait_if_paused()

    def on_train_end(self, *_: Any) -> None:
        """Training is over, or something has crashed, perhaps before it."""
        if self._hearing is not None:
            self._hearing.close()

    on_exception = on_train_end
