"""A training script that says itself what is trained, and runs the same with tdb and without.

controller = tdb.attach(model, optimizer)
for images, labels in controller.steps(loader):
    ...
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tdb.active import active_controller, plain_controller
from tdb.step import step_number
from tdb.target import Training

if TYPE_CHECKING:
    from torch import nn

    from tdb.controller import DebugController


def attach(
    model: nn.Module | None = None,
    optimizer: Any = None,
    *,
    focus: str = "",
    image_shape: Sequence[int] | None = None,
    schedulers: Any = (),
    scaler: Any = None,
    step: int | None = None,
    last_step: int | None = None,
) -> DebugController:
    """Return the controller of this process, told what is about to be trained.

    Under `tdb SCRIPT` it is the script's, and training stops here if `start` was typed. In a plain run it never stops
    anything, and records nothing but the losses, unless something asks: `pause()` or `step()` from another thread or
    a notebook's cell, or `tdb.set_trace()`.

    Args:
        model: the module whose layers can be looked at.
        optimizer: the one that updates it, or several in a list or dict.
        focus: the layer whose output units are the features of the tables.
        image_shape: the shape of a feature's weights as an image.
        schedulers: one learning-rate scheduler, or several in a list or dict.
        scaler: the gradient scaler.
        step: the number of the last step that was taken before, in a run that is resumed; without it, the count of
            this process goes on.
        last_step: the number of the step after which training will be done, if that is known.

    Raises:
        TrainingStopped: somebody called `stop`.
        TypeError: something else was given for one of these.
    """
    optimizers, all_schedulers = several(optimizer), several(schedulers)
    shape = _must_fit(model, optimizers, focus, image_shape)
    _must_go_on(all_schedulers, scaler)
    taken, last_step = (None if number is None else step_number(number) for number in (step, last_step))
    controller = active_controller()
    plain = controller is None
    if controller is None:
        controller = plain_controller()
    if focus:
        controller.focus_on(focus)
    if shape is not None:
        controller.image_shape = shape
    taken = controller.position.step if taken is None else taken
    training = Training(model, optimizers, all_schedulers, scaler, taken, last_step)
    if plain:
        controller.attach(training)
    else:
        controller.begin(training)
    return controller


def several(one_or_more: Any) -> list[Any]:
    """Return a list of what may be one, several in a list or dict, or none."""
    if one_or_more is None:
        return []
    if isinstance(one_or_more, Mapping):
        return list(one_or_more.values())
    return list(one_or_more) if isinstance(one_or_more, Iterable) else [one_or_more]


def _must_fit(model: Any, optimizers: Sequence[Any], focus: Any, image_shape: Any) -> tuple[int, ...] | None:
    """Return the shape; raise TypeError for what is mistaken for another: it would be noticed much later, if at all."""
    if isinstance(model, list | tuple):
        raise TypeError("attach takes one model: torch.nn.ModuleList([...]) holds several")
    if model is not None and not hasattr(model, "named_modules"):
        raise TypeError(f"tdb.attach(model, optimizer) begins with the model, and a {type(model).__name__} is none")
    for each in optimizers:
        if not (hasattr(each, "param_groups") or callable(getattr(each, "step", None))):
            raise TypeError(f"tdb.attach(model, optimizer) takes an optimizer, and a {type(each).__name__} is none")
    if not isinstance(focus, str):
        raise TypeError(f'focus is the name of a layer, such as "encoder.0", not a {type(focus).__name__}')
    try:
        return None if image_shape is None else tuple(map(step_number, image_shape))
    except TypeError:
        raise TypeError(f"image_shape is whole numbers, such as (28, 28), not {image_shape!r}") from None


def _must_go_on(schedulers: Sequence[Any], scaler: Any) -> None:
    """Raise TypeError for what has no state that could go back in time with the optimizers'."""
    for each in schedulers:
        if _is_another_kind(each, "step", "state_dict"):
            raise TypeError(f"schedulers are those of the learning rate, and a {type(each).__name__} is none")
    if scaler is not None and _is_another_kind(scaler, "state_dict"):
        raise TypeError(f"scaler is one of gradients, as torch.amp.GradScaler, and a {type(scaler).__name__} is none")


def _is_another_kind(given: Any, *methods: str) -> bool:
    """Return whether something is a model, an optimizer, or has none of these methods."""
    is_known = hasattr(given, "param_groups") or hasattr(given, "named_modules")
    return is_known or not any(callable(getattr(given, method, None)) for method in methods)
