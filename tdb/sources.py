"""What can be looked at of the focus layer in one step, each tensor computed only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from tdb.errors import StateError
from tdb.features import panel_of
from tdb.step import not_yet

if TYPE_CHECKING:
    from torch import Tensor

    from tdb.controller import DebugController


def sources_of(controller: DebugController) -> dict[str, Callable[[], Tensor]]:
    """Return what can be computed of the focus layer by name; each is computed in the training thread, when asked."""
    layer, panel = controller.layer, panel_of(controller)
    found: dict[str, Callable[[], Tensor]] = {
        "weights": layer.weights,
        "grad": layer.grad,
        "grad_delta": lambda: layer.forces(rule_parts(controller))["grad"],
        "combined": layer.combined,
    }
    return {**found, **({} if panel is None else _asked(panel.sources, controller))}


def rule_parts(controller: DebugController) -> dict[str, Callable[[], Tensor]]:
    """Return what the rule itself added to the weight in this step, by name, each giving [D, F]; empty without one."""
    panel = panel_of(controller)
    return {} if panel is None else _asked(panel.forces, controller)


def _asked(given: Mapping[str, Callable[[], Tensor]], controller: DebugController) -> dict[str, Callable[[], Tensor]]:
    """Return what a rule gives, with its LookupError, for what a step did not have, as an error for the user."""

    def ask(give: Callable[[], Tensor]) -> Tensor:
        if not controller.progress.has_output:
            raise not_yet("output of the model", controller.progress)
        try:
            return give()
        except LookupError as error:
            raise StateError(str(error.args[0] if error.args else error)) from None

    return {name: partial(ask, give) for name, give in given.items()}
