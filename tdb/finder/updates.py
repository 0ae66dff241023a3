"""The updates that optimizers are making: one may make another, as that of a wrapper or of a subclass does."""

from __future__ import annotations

import os
from types import FrameType

from tdb.model_capture import dense_values
from tdb.target import parameters_of

# Where torch wraps each optimizer's `step` in what calls the hooks.
_OPTIMIZER_FILE = os.path.join("torch", "optim", "optimizer.py")  # noqa: PTH118 - the end of a path


def updates_around(frame: FrameType | None) -> list[FrameType]:
    """Return the calls of updates that a frame is in, the innermost first: in a closure, or in a hook.

    The stack says so: an update that raises tells nobody that it has ended.
    """
    updates = []
    while frame is not None:
        code = frame.f_code
        if code.co_name == "wrapper" and code.co_filename.endswith(_OPTIMIZER_FILE):
            updates.append(frame)
        frame = frame.f_back
    return updates


def evaluates_anew(updates: list[FrameType]) -> bool:
    """Return whether an update computes what it is made of once more: its closure has cleared the gradients before.

    Otherwise a closure adds to them, as that of the last of several batches in Lightning does.

    Args:
        updates: those around a backward pass that is not the first since the update before: see `updates_around`.
    """
    if not updates:
        return False
    gradients = (parameter.grad for parameter in parameters_of([updates[0].f_locals.get("self")]))
    return not any(gradient is not None and bool(dense_values(gradient).any()) for gradient in gradients)
