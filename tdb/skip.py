"""A step without its update: the optimizer works as ever, and then what it has changed is put back.

So everything around an update goes on as in any step: its hooks, a scheduler's count, a gradient scaler's check for
overflow. Only weights and the optimizer's own memory are as they were before. That holds for any optimizer, also one
that calls the loop's closure.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from tdb.handle import Handle
from tdb.jobs import at_the_prompt
from tdb.target import parameters_of
from tdb.update_hooks import after_updates, before_updates

if TYPE_CHECKING:
    from torch import Tensor


LEFT_OUT = "update left out"
"""How history marks a step without its update."""


class Skip:
    """Whether the update of one step is left out: of the one under way, or from a boundary of the next.

    Attributes:
        asked: updates are left out from here to the end of the step.
    """

    def __init__(self) -> None:
        self.asked = False
        self._left_out = False
        self._before: dict[int, tuple[Any, _Before]] = {}  # by the optimizer's identity
        self._handles: list[Handle] = []

    def put_on(self) -> None:
        """Leave out the updates to come, if that was asked for; called after all others who look at updates."""
        if self.asked and not self._handles:
            # What is added last is called first afterwards: nobody sees the update that is put back.
            self._handles = [before_updates(self._before_update), after_updates(self._after_update)]

    def give_up(self) -> None:
        """Let updates be made."""
        for handle in self._handles:
            handle.remove()
        self.asked, self._handles, self._before = False, [], {}

    def end_step(self) -> bool:
        """The step has ended: return whether an update of it was left out."""
        for optimizer, before in self._before.values():  # a boundary may lie inside the update
            before.put_back(optimizer)
            self._left_out = True
        self.give_up()
        left_out, self._left_out = self._left_out, False
        return left_out

    def _before_update(self, optimizer: Any) -> None:
        if not at_the_prompt() and id(optimizer) not in self._before:
            self._before[id(optimizer)] = optimizer, _Before(optimizer)

    def _after_update(self, optimizer: Any) -> None:
        known = None if at_the_prompt() else self._before.pop(id(optimizer), None)
        if known is not None:
            known[1].put_back(optimizer)
            self._left_out = True


class _Before:
    """Weights and memory of an optimizer before an update."""

    def __init__(self, optimizer: Any) -> None:
        self._weights = [(weight, weight.data, weight.detach().clone()) for weight in parameters_of([optimizer])]
        self._settings = [
            {name: _copy(value) for name, value in group.items() if name != "params"}
            for group in optimizer.param_groups
        ]
        self._memory = {weight: _copy(dict(state)) for weight, state in optimizer.state.items()}

    def put_back(self, optimizer: Any) -> None:
        """Make all of it what it was: in the same tensors, as far as they are still there."""
        import torch

        with torch.no_grad():
            for weight, data, value in self._weights:
                if weight.data_ptr() != data.data_ptr():
                    weight.data = data  # an optimizer may have given it a new tensor
                weight.copy_(value)
            for group, settings in zip(optimizer.param_groups, self._settings, strict=True):
                _put_back(group, settings)
            for weight in [weight for weight in optimizer.state if weight not in self._memory]:
                del optimizer.state[weight]
            for weight, state in self._memory.items():
                memory = optimizer.state[weight]
                for name in [name for name in memory if name not in state]:
                    del memory[name]
                _put_back(memory, state)


def _copy(value: Any) -> Any:
    """Return a copy that shares no memory; tensors without their graphs."""
    if hasattr(value, "detach"):
        return value.detach().clone()
    if isinstance(value, dict):
        return {name: _copy(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_copy(each) for each in value]
    return copy.copy(value)


def _put_back(into: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        now: Tensor | Any = into.get(name)
        if hasattr(value, "detach") and hasattr(now, "copy_") and now.shape == value.shape:
            now.copy_(value)
        else:
            into[name] = value
