"""Transformers: `Trainer(..., callbacks=[tdb.transformers.DebugCallback()])`, and then `tdb train.py`.

Without tdb the callback costs what `tdb.attach` costs in a plain run, and stops nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tdb.own_loop import attach

try:
    from transformers import TrainerCallback
except ImportError:
    raise ImportError("tdb.transformers needs Transformers: pip install 'tdb[transformers]'") from None

if TYPE_CHECKING:
    from tdb.controller import DebugController
    from tdb.steps import Hearing


class DebugCallback(TrainerCallback):
    """One step of tdb is one update of the Trainer: with accumulation it takes several batches, the last is shown.

    A callback is not given the batch; a hook on the model, which is there only inside a step, sees it. The loss of a
    step is what is differentiated in it, of all its batches; in a plain run it is what the model gave last.

    Args:
        focus: the layer whose output units are the features of the tables.
        image_shape: the shape of a feature's weights as an image.
    """

    def __init__(self, *, focus: str = "", image_shape: Sequence[int] | None = None) -> None:
        self._focus = focus
        self._image_shape = image_shape
        self._controller: DebugController
        self._hearing: Hearing
        self._loss: Any = None
        self._hook: Any = None
        self._epoch = 1

    def on_train_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Tell tdb what is trained."""
        del args, control
        optimizer, scheduler = known.get("optimizer"), known.get("lr_scheduler")
        self._controller = attach(
            known["model"],
            getattr(optimizer, "optimizer", optimizer),  # inside the wrapper of Accelerate
            focus=self._focus,
            image_shape=self._image_shape,
            schedulers=getattr(scheduler, "scheduler", scheduler),
            step=state.global_step,
            last_step=state.max_steps,
        )
        self._hearing = self._controller.hearing()

    def on_step_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Look at what the model is given, and gives, until the step ends."""
        del args, control
        self._epoch = int(state.epoch or 0) + 1
        self._loss = None
        self._hearing.begin_step()
        self._hook = known["model"].register_forward_hook(self._seen, with_kwargs=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """The step is complete."""
        del args, state, control, known
        self._hook.remove()
        self._hearing.hand_over(self._loss)
        self._hearing.close()
        self._loss = None
        self._controller.wait_if_paused()

    def _seen(self, model: Any, arguments: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        if model.training:
            self._loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
            self._controller.capture_batch(named or arguments, None, epoch=self._epoch)
