"""What torch does while a script runs, as events.

Only what is global is hooked: torch's registry of optimizer hooks, functions of its modules, methods of its classes.
Hooks on the script's own objects would be copied and pickled with them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from tdb import module_calls
from tdb.autograd import is_being_compiled, never_compiled
from tdb.backward_calls import around_backward, is_differentiating
from tdb.handle import Handle
from tdb.loss_scaling import after_scaling
from tdb.patches import Patches, passed_over
from tdb.update_hooks import after_updates, before_updates, tidy

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


class Listener:
    """Who is told; each call comes in the thread in which it happens. What is not overridden is not listened to."""

    def built(self, optimizer: Optimizer) -> None:
        """An optimizer was made; its constructor has not ended yet."""

    def updating(self, optimizer: Optimizer) -> None:
        """An optimizer is about to make its update, which may be where a loop begins; see `ignore_updating`."""

    def updated(self, optimizer: Optimizer) -> None:
        """An optimizer has made its update."""

    def skipped(self, optimizer: Any, scaler: Any) -> None:
        """A gradient scaler has left an update out: gradients were not finite."""

    def scaled(self, loss: Any, scaled: Any) -> None:
        """A gradient scaler has made `scaled` of a loss."""

    def clearing(self) -> None:
        """Gradients are about to be cleared."""

    def differentiating(self, roots: Any, gradients: Any) -> bool:
        """A backward pass begins at these roots; return whether to tell when it is done."""
        del roots, gradients
        return False

    def differentiated(self) -> None:
        """The backward pass is done: gradients are there."""

    def graded(self, outputs: Any, inputs: Any, factors: Any) -> None:
        """Gradients of outputs for inputs are about to be computed, and handed to the script instead of added up."""

    def called(self, module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """A module that is listened to is about to compute."""


class First(Protocol):
    """Who is told first of what comes in every step, and of which there may be no more to tell."""

    def differentiating(self, roots: Any, gradients: Any) -> bool:
        """A backward pass begins; return whether that was all there is to it."""

    def updated(self, optimizer: Any) -> None:
        """As in `Listener`, who is told by this if there is more to it."""


class Events:
    """Tells one listener, from `put_on` to `take_off`.

    Args:
        listener: who is told.
        first: who is told in its place of the events that it has methods for, of backward passes as long as nobody
            else listens to those.
    """

    def __init__(self, listener: Listener, first: First | None = None) -> None:
        self._listener = listener
        self._first = first
        self._building = Patches()
        self._lasting = Patches()
        self._clearing = Patches()
        self._called: frozenset[int] = frozenset()
        self._calls: list[Handle] = []
        self._handles: list[Handle] = []
        self._updating: list[Handle] = []

    def put_on(self) -> None:
        """Tell from now on."""
        import torch
        from torch.optim import Optimizer

        self.look_on()
        self._handles += [
            around_backward(
                self._listener.differentiating,
                self._listener.differentiated,
                None if self._first is None else self._first.differentiating,
            ),
            after_scaling(self._listener.scaled),
        ]
        self._lasting.replace(torch.autograd, "grad", self._telling_grad)
        self._lasting.replace(torch.amp.GradScaler, "step", self._telling_scaler_step)
        for owner in (Optimizer, torch.nn.Module):
            self._clearing.replace(owner, "zero_grad", self._telling_clearing)

    def look_on(self) -> None:
        """Tell when optimizers are made and update, and no more but what is listened to.

        Nothing is replaced for that which others replace, too: it may come off at any moment.
        """
        from torch.optim import Optimizer

        self._building.replace(Optimizer, "__init__", self._telling_built)
        self._handles = [after_updates((self._first or self._listener).updated)]
        self.await_updating()

    def take_off(self) -> None:
        """Leave torch as it was."""
        self.await_optimizer()
        self._building.take_off()

    def await_optimizer(self) -> None:
        """Tell nothing but that an optimizer was made."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.ignore_updating()
        tidy()
        self.ignore_clearing()
        self.listen_to(())
        self._lasting.take_off()

    def ignore_clearing(self) -> None:
        """Tell no more when gradients are cleared: who has seen an optimizer's update does not need it."""
        self._clearing.take_off()

    def await_updating(self) -> None:
        """Tell again when an update is about to be made."""
        if not self._updating:
            self._updating = [before_updates(self._listener.updating)]

    def ignore_updating(self) -> None:
        """Tell no more when an update is about to be made: who knows whose updates there are does not need it."""
        while self._updating:
            self._updating.pop().remove()

    def listen_to(self, modules: Iterable[nn.Module]) -> None:
        """Tell when these modules are called, and no others.

        The modules stay as they are, and those of other classes cost nothing.
        """
        modules = list(modules)
        for handle in self._calls:
            handle.remove()
        self._called = frozenset(map(id, modules))
        self._calls = [module_calls.before_calls(kind, self._calling) for kind in {type(module) for module in modules}]

    def _calling(self, module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if id(module) in self._called:
            self._listener.called(module, inputs, keywords)

    # ---- replacements ----------------------------------------------------------------------------------------------

    def _telling_built(self, plain: Callable[..., None]) -> Callable[..., None]:
        @passed_over
        @functools.wraps(plain)
        def __init__(optimizer: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            plain(optimizer, *args, **kwargs)
            self._listener.built(optimizer)

        return __init__

    def _telling_grad(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        told = never_compiled(self._listener.graded)

        @passed_over
        @functools.wraps(plain)
        def grad(
            outputs: Any,
            inputs: Any,
            grad_outputs: Any = None,
            retain_graph: bool | None = None,
            create_graph: bool = False,
            *args: Any,
            **kwargs: Any,
        ) -> Any:
            # Gradients of which there will be others are on the way to a loss.
            if not (create_graph or is_being_compiled() or is_differentiating()):
                told(outputs, inputs, grad_outputs)
            return plain(outputs, inputs, grad_outputs, retain_graph, create_graph, *args, **kwargs)

        return grad

    def _telling_scaler_step(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        @passed_over
        @functools.wraps(plain)
        def step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            updated: list[Any] = []
            handle = after_updates(updated.append)
            try:
                result = plain(scaler, optimizer, *args, **kwargs)
            finally:
                handle.remove()
            if not any(each is optimizer for each in updated) and scaler.is_enabled():
                self._listener.skipped(optimizer, scaler)
            return result

        return step

    def _telling_clearing(self, plain: Callable[..., None]) -> Callable[..., None]:
        @passed_over
        @functools.wraps(plain)
        def zero_grad(owner: Any, *args: Any, **kwargs: Any) -> None:
            if not is_being_compiled():
                self._listener.clearing()
            plain(owner, *args, **kwargs)

        return zero_grad
