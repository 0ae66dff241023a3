"""The attached rule, as its commands find it, and how they ask it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from bcl.attach import BCL
from bcl.health import BCLHealthTracker
from tdb.panel import Panel, StateError, array_of, not_yet

if TYPE_CHECKING:
    from torch import Tensor

    from tdb.panel import Session

Value = TypeVar("Value")
LossOfImages = Callable[["Tensor"], "Tensor"]


@dataclass(frozen=True, kw_only=True)
class BCLPanel(Panel):
    """The panel of one attached rule.

    Attributes:
        bcl: the rule.
        tracker: of the features' health, if anybody tells it of every step.
        loss: gives the loss [B] of each of the images [B, F] that the layer took, if the loop's owner says how.
    """

    bcl: BCL = field(repr=False)
    tracker: BCLHealthTracker | None = None
    image_loss: LossOfImages | None = None


def attached_to(session: Session) -> BCLPanel:
    """Return the panel of the rule on the focus layer, or of the last one attached.

    Raises:
        StateError: there is no rule.
    """
    panels = [panel for panel in session.controller.panels if isinstance(panel, BCLPanel)]
    if not panels:
        raise StateError("this condition has no BCL rule: there is nothing to ask it", "Attach one with bcl.attach_bcl")
    focused = [panel for panel in panels if panel.layer == session.controller.layer.name]
    return (focused or panels)[-1]


def ask(session: Session, look: Callable[[BCLPanel, dict[str, Tensor]], Value]) -> Value:
    """Return what `look` makes of the panel and of the step's tensors, in the training thread.

    Raises:
        StateError: there is no rule, or the step has not come to it yet.
    """

    def compute() -> Value:
        panel, progress = attached_to(session), session.controller.progress
        if not progress.has_output:
            raise not_yet("output of the model", progress)
        tensors = panel.bcl.step_tensors()
        if not tensors:
            raise StateError("the rule has seen no batch yet", "`step` takes one")
        with torch.no_grad(), panel.bcl.inert():
            try:
                return look(panel, tensors)
            except LookupError as error:
                raise StateError(str(error.args[0])) from None

    return session.ask(compute)


def own_copy(tensor: Tensor) -> Any:
    """Return an array of its own."""
    return np.array(array_of(tensor))
