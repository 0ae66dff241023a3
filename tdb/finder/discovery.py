"""Finds what a script trains: from the optimizers that it builds, the models that own their parameters."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from tdb.finder.by_hand import HandUpdate
from tdb.finder.models import Root, Trained, find_trained, leaves_of, names_around, objects_around
from tdb.finder.optimizers import Optimizers
from tdb.target import Training, parameters_of

if TYPE_CHECKING:
    from torch import nn

    from tdb.controller import DebugController

# Where optimizers are built again and again, as in an inner loop, the whole process is not searched every time.
MOST_SEARCHES = 20


class Found(NamedTuple):
    """What is trained.

    Attributes:
        training: as the controller is told it.
        roots: the outermost modules; None if they are those of the last time.
    """

    training: Training
    roots: list[Root] | None


class Discovery:
    """What the optimizers train that a script has built since the loop before.

    Attributes:
        optimizers: all that were built.
        names: what the script calls those of the last search, by id.
    """

    def __init__(self) -> None:
        self.optimizers = Optimizers()
        self.names: dict[int, str] = {}
        self._searches = 0
        self._model: nn.Module | None = None

    def first_called(self) -> list[nn.Module]:
        """Return the modules whose first call may be the first that is heard of the loop ahead."""
        optimizers = self.optimizers.alive()
        roots = self._search(optimizers, parameters_of(optimizers), {}).roots
        return (
            [] if any(root.is_compiled for root in roots) else [each for root in roots for each in root.outer.modules()]
        )

    def of_optimizers(self) -> Found | None:
        """Return what is trained by the optimizers that were built last; None if they have gone."""
        self.optimizers.fresh = False
        optimizers = self.optimizers.alive()
        if not optimizers:
            return None
        names = names_around(sys._getframe())  # noqa: SLF001 - what a debugger reads
        self.names = {
            id(optimizer): names.get(id(optimizer), f"{type(optimizer).__name__}_{number}")
            for number, optimizer in enumerate(optimizers, 1)
        }
        return self._found(optimizers, parameters_of(optimizers), names)

    def of_roots(self, roots: Any) -> tuple[Found, HandUpdate]:
        """Return what is trained by hand, with gradients of these roots, and what stands for its updates."""
        parameters = leaves_of(roots)
        by_hand = HandUpdate(parameters)
        names = names_around(sys._getframe())  # noqa: SLF001 - as above
        self.names = {}
        return self._found([by_hand], parameters, names), by_hand

    def _found(self, optimizers: list[Any], parameters: list[Any], names: dict[int, str]) -> Found:
        training = Training(optimizers=optimizers)
        trained, known = self._search(optimizers, parameters, names), self._model
        training.model = self._model = trained.model
        training.schedulers = trained.schedulers
        training.scaler = trained.scalers[0] if trained.scalers else None
        is_known = self._searches > MOST_SEARCHES and training.model is known
        return Found(training, None if is_known else trained.roots)

    def _search(self, optimizers: list[Any], parameters: list[Any], names: dict[int, str]) -> Trained:
        """Search the process, and, once that has been done often enough, only what the script has a name for."""
        self._searches += 1
        around = objects_around(sys._getframe()) if self._searches > MOST_SEARCHES else None  # noqa: SLF001 - as above
        return find_trained(optimizers, parameters, names, around)


def tell_if_compiled(roots: list[Root], controller: DebugController) -> bool:
    """Let the controller know whether hooks on what was found fire; return whether it is compiled, and they may not."""
    compiled = any(root.is_compiled for root in roots)
    controller.layer_capture.hooks_fire = not compiled
    controller.model_capture.hooks_do_not_fire = compiled
    if compiled:
        controller.notify("the model is compiled: activations are not captured (hooks added after it do not fire)")
    return compiled
