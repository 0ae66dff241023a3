"""Ignite: `tdb.ignite.attach(trainer, model, optimizer)`, and then `tdb train.py`.

Without tdb it costs what `tdb.attach` costs in a plain run, and stops nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from tdb.own_loop import attach as attach_loop

try:
    from ignite.engine import Events
except ImportError:
    raise ImportError("tdb.ignite needs Ignite: pip install 'tdb[ignite]'") from None

if TYPE_CHECKING:
    from ignite.engine import Engine

    from tdb.controller import DebugController

_handlers: WeakKeyDictionary[Engine, list[Any]] = WeakKeyDictionary()  # those of tdb, to be removed


def loss_of(output: Any) -> Any:
    """Return the loss in what a trainer's process function gives: the loss itself, or a mapping or a tuple with it."""
    if isinstance(output, dict):
        return output.get("loss")
    return output[-1] if isinstance(output, tuple) else output


def attach(
    trainer: Engine, model: Any, optimizer: Any = None, *, loss: Callable[[Any], Any] = loss_of, **options: Any
) -> None:
    """Let every iteration of a trainer be a training step that tdb can stop at; a trainer's last call is what counts.

    Args:
        trainer: the engine; its other handlers of a completed iteration run before tdb's if they are added before.
        model: the module whose layers can be looked at.
        optimizer: the one that updates it, or several in a list.
        loss: takes the loss out of the engine's output.
        options: `focus`, `image_shape`, `schedulers` and `scaler`, as `tdb.attach` takes them.
    """
    controller: DebugController
    training: Any

    def begin(engine: Engine) -> None:
        tell(engine, engine.state.iteration)

    def tell(engine: Engine, taken: int) -> None:
        nonlocal controller, training
        state = engine.state
        last_step = state.max_epochs * state.epoch_length if state.max_epochs and state.epoch_length else None
        controller = attach_loop(model, optimizer, step=taken, last_step=last_step, **options)
        training = controller.target

    def fetched(engine: Engine) -> None:
        if controller.target is not training:  # another trainer has had its turn, as inside a handler
            tell(engine, engine.state.iteration - 1)
        controller.capture_batch(engine.state.batch, None, engine.state.iteration, epoch=engine.state.epoch)

    def completed(engine: Engine) -> None:
        controller.capture_loss(loss(engine.state.output))
        controller.wait_if_paused()

    for handler in _handlers.pop(trainer, []):
        handler.remove()
    _handlers[trainer] = [
        trainer.add_event_handler(Events.STARTED, begin),
        trainer.add_event_handler(Events.ITERATION_STARTED, fetched),
        trainer.add_event_handler(Events.ITERATION_COMPLETED, completed),
    ]
