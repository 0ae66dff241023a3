"""What is trained, as a loop tells it to `DebugController.begin`: any object with some of these attributes will do.

    model                     the module whose layers can be looked at
    optimizer, optimizers     the one that updates it, or all of them
    schedulers, scaler        what else takes part in an update
    step, last_step, epoch    the loop's own count: the last step taken, the one after which it will be done

A trainer has most of them already; a loop without a trainer object fills in a `Training`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tdb.passes.passes import Passes


@dataclass
class Training:
    """What is trained by a loop that has no object of its own for it."""

    model: nn.Module | None = None
    optimizers: list[Any] = field(default_factory=list)
    schedulers: list[Any] = field(default_factory=list)
    scaler: Any = None
    step: int = 0
    last_step: int | None = None
    epoch: int | None = None
    feed: Callable[[Callable[[], Passes]], str] | None = None
    """Has the loop's batches come through the passes that it is given a function for, from the boundary on at which
    training stands, or returns why they cannot; None if nobody sees them."""

    @property
    def optimizer(self) -> Any:
        """The first optimizer, or None."""
        return self.optimizers[0] if self.optimizers else None


def how_it_is_known(target: Any) -> str:
    """Return how tdb comes to know what a target lacks, for whoever has asked for that."""
    if target is None:
        return "It is once training has begun: `start`"
    return "The loop tells it: tdb.attach(model, optimizer), or controller.begin(trainer)"


def model_of(target: Any) -> nn.Module | None:
    """Return the model that is trained, or None if nobody has said which."""
    model: nn.Module | None = getattr(target, "model", None)
    return model


def optimizers_of(target: Any) -> list[Any]:
    """Return all optimizers that are known, in the order in which they were named."""
    return _all_or_one(target, "optimizers", "optimizer")


def parameters_of(optimizers: Iterable[Any]) -> list[Tensor]:
    """Return the parameters of optimizers, each once."""
    groups = [group for optimizer in optimizers for group in getattr(optimizer, "param_groups", ())]
    return list({id(parameter): parameter for group in groups for parameter in group["params"]}.values())


def trained_parameters(target: Any) -> list[Tensor]:
    """Return the parameters of what is trained: the optimizers' and the model's, each once."""
    model = model_of(target)
    found = [*parameters_of(optimizers_of(target)), *(model.parameters() if model is not None else ())]
    return list({id(parameter): parameter for parameter in found}.values())


def optimizer_of(target: Any, parameter: Any) -> Any:
    """Return the optimizer that updates a parameter; where none says so, the first that is known, or None."""
    known = optimizers_of(target)
    updating = (each for each in known if any(weight is parameter for weight in parameters_of([each])))
    return next(updating, known[0] if known else None)


def schedulers_of(target: Any) -> list[Any]:
    """Return all learning-rate schedulers that are known."""
    return _all_or_one(target, "schedulers", "scheduler")


def scaler_of(target: Any) -> Any:
    """Return the gradient scaler, or None."""
    return getattr(target, "scaler", None)


def step_of(target: Any) -> int:
    """Return the number of the last step that the loop has taken; 0 if it does not count."""
    step = getattr(target, "step", 0)
    return step if isinstance(step, int) else 0


def _all_or_one(target: Any, several_name: str, one_name: str) -> list[Any]:
    several, one = getattr(target, several_name, None), getattr(target, one_name, None)
    if isinstance(several, Sequence) and several:
        return list(several)
    return [] if one is None else [one]
