"""Loops that update their parameters by hand: no optimizer's update ends their steps.

The next backward pass does, or, if the script is seen to clear its gradients, that it clears them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tdb.target import parameters_of

if TYPE_CHECKING:
    from torch import Tensor

    from tdb.target import Training

# So many times gradients are cleared without an optimizer's update: the script updates by hand.
CLEARED = 3


class HandUpdate:
    """What stands where an optimizer would in a loop that updates its parameters by hand.

    Captures of gradients want to be called before an update; here they are when the gradients are there.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": list(parameters)}]
        self.state: dict[Any, Any] = {}
        self._hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()  # a plain dict has no weak references

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> Any:
        """Call a hook at every update; return a handle that can remove it."""
        from torch.utils.hooks import RemovableHandle

        handle = RemovableHandle(self._hooks)
        self._hooks[handle.id] = hook
        return handle

    def gradients_are_there(self) -> None:
        """The update may follow at any moment."""
        for hook in list(self._hooks.values()):
            hook(self, (), {})


class ByHand:
    """Whether the script updates by hand, as far as is known.

    Attributes:
        update: stands for its updates; None if it is not known to make any by hand.
        clears: it clears gradients in a way that is seen.
    """

    def __init__(self) -> None:
        self.update: HandUpdate | None = None
        self.clears = False
        self._cleared = 0  # times that gradients were cleared after a backward pass, as long as there was no update

    def clearing(self, training: Training | None) -> bool:
        """Gradients are about to be cleared after a backward pass; return whether the update before was by hand."""
        if self.update is None:
            self._cleared += 1
            if self._cleared < CLEARED or training is None:
                return False
            self.update = HandUpdate(parameters_of(training.optimizers))
        return True
