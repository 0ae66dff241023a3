"""What the loop itself does between two passes: steps of schedulers, draws, modes, weights it changes.

None of it runs again when an earlier seam is passed again, because it stands in the loop's own code. What it changed is
made again instead, where things are as they were; what cannot be made again is told.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tdb.captures import is_tensor
from tdb.guard import generators
from tdb.target import optimizers_of, schedulers_of

if TYPE_CHECKING:
    from torch import Tensor

    from tdb.travel.state import State

SHARE = 0.01
"""Of the time of a pass, what may go into telling whether weights of many bytes were changed behind torch's back."""
FEW_BYTES = 4 * 2**20


NAME = "data position"
DATA = f"registered {NAME}"
"""What a checkpoint calls the position in the data; a seam leaves it alone."""


class Change(NamedTuple):
    """Something that was another before a seam than after it."""

    before: Any
    after: Any


class Seam:
    """What was changed between two passes.

    Attributes:
        changes: by name, of what is no tensor.
        tensors: where they belong -> the mark they had, and copies, of those that were changed.
        stepped: the schedulers that took one step, by their place.
    """

    def __init__(self, before: Look, after: Look) -> None:
        names = before.values.keys() & after.values.keys()
        pairs = {name: Change(before.values[name], after.values[name]) for name in names}
        self.changes = {name: pair for name, pair in pairs.items() if not alike(*pair)}
        self.tensors: dict[Any, tuple[Mark, Tensor]] = {
            path: (mark, after.tensors[path].detach().clone())
            for path, mark in before.marks.items()
            if path in after.marks and _differ(mark, after.marks[path])
        }
        self.stepped = [
            place
            for place, scheduler in enumerate(after.schedulers)
            if _took_one_step(scheduler, self.changes.get(f"scheduler {place}"))
        ]

    def pass_again(self, state: State, *, as_known: bool) -> list[str]:
        """Make the changes again; return the names of those that could not be.

        Args:
            state: what training consists of.
            as_known: training is what it was when it came here first.
        """
        import torch

        missed = []
        for place in [] if as_known else self.stepped:
            schedulers_of(state.target)[place].step()
        units = dict(units_of(state))
        for name, change in self.changes.items():
            now = units[name].read() if name in units else None
            if alike(now, change.before) or as_known:
                if name in units and not alike(now, change.after):
                    units[name].write(copy.deepcopy(change.after))
            elif not (alike(now, change.after) or (self.stepped and name.startswith(("scheduler", "optimizer")))):
                missed.append(name)
        here = dict(state.tensors()) if self.tensors else {}
        with torch.no_grad():
            for path, (mark, kept) in self.tensors.items():
                if path in here and (as_known or mark[1:] == _mark(here[path], thorough=mark[1] is not None)[1:]):
                    here[path].copy_(kept)
                else:
                    missed.append(" ".join(map(str, path)))
        return missed


class Unit(NamedTuple):
    """Something with a value that can be read and given back."""

    read: Callable[[], Any]
    write: Callable[[Any], object]


class Look:
    """Everything as it stands at one side of a seam.

    Args:
        state: what training consists of.
        since: when the pass began.
        like: the look at the other side, with which this one is to be compared.
    """

    _cost = 0.0  # seconds that the last thorough look took

    def __init__(self, state: State, since: float, like: Look | None = None) -> None:
        began = time.perf_counter()
        self.values = {name: copy.deepcopy(unit.read()) for name, unit in units_of(state)}
        self.tensors: dict[Any, Tensor] = dict(state.tensors())
        self.schedulers = schedulers_of(state.target)
        few = sum(tensor.nbytes for tensor in self.tensors.values()) <= FEW_BYTES
        self.is_thorough: bool = few or self._cost * 2 <= SHARE * (began - since) if like is None else like.is_thorough
        self.marks: dict[Any, Mark] = {
            path: _mark(tensor, thorough=self.is_thorough) for path, tensor in self.tensors.items()
        }
        if self.is_thorough:
            Look._cost = time.perf_counter() - began


def units_of(state: State) -> Iterator[tuple[str, Unit]]:
    """Give what is no tensor, by name."""
    for number, optimizer in enumerate(optimizers_of(state.target)):
        for place, group in enumerate(optimizer.param_groups):
            for key in [key for key in group if key != "params"]:
                yield f"optimizer {number}, group {place}, {key}", _item(group, key)
    for name, part in state.parts().items():
        if name != DATA:
            yield name, Unit(part.save, part.load)
    for name, module in state.modules():
        yield f"mode of {name or 'the model'}", _mode(module)
    pairs = generators()
    yield "the random generators", Unit(lambda: [read() for read, _ in pairs], _writer(pairs))


def _writer(pairs: list[tuple[Callable[[], Any], Callable[[Any], None]]]) -> Callable[[Any], None]:
    def write(states: list[Any]) -> None:
        for (_, put), state in zip(pairs, states, strict=True):
            put(state)

    return write


def _item(group: dict[str, Any], key: str) -> Unit:
    def write(value: Any) -> None:
        if is_tensor(group[key]) and is_tensor(value):
            group[key].copy_(value)
        else:
            group[key] = value

    return Unit(lambda: group[key], write)


def _mode(module: Any) -> Unit:
    def write(value: bool) -> None:
        module.training = value

    return Unit(lambda: module.training, write)


Mark = tuple[Any, ...]


def _mark(tensor: Tensor, *, thorough: bool) -> Mark:
    """Return something that is another if the tensor was changed: surely so if it is thorough."""
    mark = tensor.data_ptr(), tensor._version  # noqa: SLF001 - torch has no other name for it
    if not thorough or not tensor.is_cpu or not tensor.is_contiguous():
        return mark, None
    data = tensor.detach().view(-1).numpy() if tensor.dtype.is_floating_point and tensor.dtype.itemsize > 2 else None
    if data is None:
        return mark, None
    bits = data.view(np.uint32)
    return mark, int(np.bitwise_xor.reduce(bits)), int(bits.sum(dtype=np.uint64))


def _differ(one: Mark, other: Mark) -> bool:
    if one[1] is None or other[1] is None:
        return bool(one[0] != other[0])
    return one[1:] != other[1:]


def _took_one_step(scheduler: Any, change: Change | None) -> bool:
    if change is None or not isinstance(change.before, dict) or not isinstance(change.after, dict):
        return False
    if type(scheduler).__name__ == "ReduceLROnPlateau":  # its step takes a number that nobody knows here
        return False
    before, after = change.before.get("last_epoch"), change.after.get("last_epoch")
    return isinstance(before, int) and after == before + 1


def alike(one: Any, other: Any) -> bool:
    """Return whether two plain values, with tensors and arrays in them, are the same."""
    if is_tensor(one) or is_tensor(other):
        import torch

        return is_tensor(one) and is_tensor(other) and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if dataclasses.is_dataclass(one):
        return alike(vars(one), vars(other))
    return bool(one == other) or bool(one != one)
