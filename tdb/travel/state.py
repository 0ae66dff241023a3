"""What training consists of: copied at a boundary, and put back in place.

In place, because hooks, optimizers and the user's own names hold the very tensors: none is ever exchanged for another
where it can be written to. `Optimizer.load_state_dict` is not used: it makes the optimizer go on in the copy itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tdb.captures import is_tensor, own
from tdb.errors import StateError
from tdb.guard import generators
from tdb.target import model_of, optimizers_of, scaler_of, schedulers_of
from tdb.travel.slots import Copied, Slots

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tdb.panel import Panel

Path = tuple[Any, ...]


class Part(NamedTuple):
    """Something with a state of its own: a function that returns a copy of it, and one that takes it back."""

    save: Callable[[], Any]
    load: Callable[[Any], Any]


class Snapshot:
    """Everything at one boundary.

    Attributes:
        tensors: where they belong -> their copies.
        values: where they belong -> plain values and small states.
    """

    def __init__(self, tensors: dict[Path, Copied], values: dict[Path, Any]) -> None:
        self.tensors = tensors
        self.values = values


class State:
    """All that one target's training consists of.

    Args:
        target: see `tdb.target`; with `state()` and `restore(state)` for what only the loop itself knows.
        panels: learning rules, with `state` and `restore`.
        registered: further parts by name.
    """

    def __init__(self, target: Any, panels: list[Panel], registered: Mapping[str, Part]) -> None:
        self.target = target
        self._panels = panels
        self._registered = registered
        self._keeps_gradients = not getattr(target, "clears_gradients", False)

    def take(self, slots: Slots, before: Snapshot | None = None) -> Snapshot:
        """Copy everything; `before` is the last copy, with which what has not changed is shared."""
        known = before.tensors if before is not None else {}
        tensors: dict[Path, Copied] = {}
        values: dict[Path, Any] = {}
        for path, value in self._everything():
            if is_tensor(value):
                tensors[path] = slots.copy(value, known.get(path))
            else:
                values[path] = value
        for name, part in self._parts().items():
            values["part", name] = part.save()
        return Snapshot(tensors, values)

    def put_back(self, snapshot: Snapshot) -> None:
        """Make everything what it was.

        Raises:
            StateError: the model has other parameters than then.
        """
        import torch

        model = model_of(self.target)
        with torch.no_grad():
            if model is not None:
                self._put_back_model(model, snapshot)
            for number, optimizer in enumerate(optimizers_of(self.target)):
                _put_back_optimizer(optimizer, number, snapshot)
        for name, part in self._parts().items():
            if ("part", name) in snapshot.values:
                part.load(snapshot.values["part", name])

    def lacks(self) -> str:
        """Return why everything cannot be copied now, or nothing."""
        import torch

        model = model_of(self.target)
        if model is not None and any(torch.nn.parameter.is_lazy(each) for each in model.parameters()):
            return "the model has parameters whose shape is not known before its first forward pass"
        return ""

    # ---- what there is ---------------------------------------------------------------------------------------------

    def _everything(self) -> Iterator[tuple[Path, Any]]:
        model = model_of(self.target)
        if model is not None:
            for name, parameter in model.named_parameters():
                yield ("parameter", name), parameter
                if self._keeps_gradients:
                    yield ("gradient", name), parameter.grad
            for name, module in model.named_modules():
                yield ("training", name), module.training
                for key, buffer in module._buffers.items():  # noqa: SLF001 - those that are None too
                    yield ("buffer", name, key), buffer
        for number, optimizer in enumerate(optimizers_of(self.target)):
            yield from _of_optimizer(optimizer, number)

    def _parts(self) -> dict[str, Part]:
        """Return what has a state of its own; the generators come last, because loading may draw from them."""
        found: dict[str, Part] = {}
        for number, scheduler in enumerate(schedulers_of(self.target)):
            found[f"scheduler {number}"] = _with_state_dict(scheduler)
        scaler = scaler_of(self.target)
        if scaler is not None:
            found["scaler"] = _with_state_dict(scaler)
        for panel in self._panels:
            if panel.restore is not None:
                found[f"panel {panel.name}"] = Part(panel.state, panel.restore)
        if hasattr(self.target, "state") and hasattr(self.target, "restore"):
            found["loop"] = _owned(Part(self.target.state, self.target.restore))
        for name, part in self._registered.items():
            found[f"registered {name}"] = _owned(part)
        for number, (read, write) in enumerate(generators()):
            found[f"generator {number}"] = Part(read, write)
        return found

    def _put_back_model(self, model: nn.Module, snapshot: Snapshot) -> None:
        parameters = dict(model.named_parameters())
        known = {path[1] for path in snapshot.tensors if path[0] == "parameter"}
        if parameters.keys() != known:
            name = min(parameters.keys() ^ known)
            raise StateError(f"the model is another one than then: {name} is not in both", "`restart` begins anew")
        for name, parameter in parameters.items():
            parameter.copy_(snapshot.tensors["parameter", name].tensor)
            if self._keeps_gradients:
                parameter.grad = _written(parameter.grad, snapshot.tensors.get(("gradient", name)))
        for name, module in model.named_modules():
            if ("training", name) in snapshot.values:
                module.training = snapshot.values["training", name]
            for key, buffer in module._buffers.items():  # noqa: SLF001 - as above
                module._buffers[key] = _written(buffer, snapshot.tensors.get(("buffer", name, key)))  # noqa: SLF001


def _written(tensor: Tensor | None, copied: Copied | None) -> Tensor | None:
    """Write a copy into a tensor, or into a new one where there is none of its form; None if there was none."""
    if copied is None:
        return None
    kept = copied.tensor
    if tensor is None or tensor.shape != kept.shape or tensor.dtype != kept.dtype:
        return kept.clone()
    tensor.copy_(kept)
    return tensor


def _of_optimizer(optimizer: Any, number: int) -> Iterator[tuple[Path, Any]]:
    """Give its state by parameter, and the options of its groups."""
    for group_number, group in enumerate(optimizer.param_groups):
        yield ("groups", number), len(optimizer.param_groups)
        for key, value in group.items():
            if key != "params":
                yield ("group", number, group_number, key), value if is_tensor(value) else copy.deepcopy(value)
        for place, parameter in enumerate(group["params"]):
            state = optimizer.state.get(parameter)
            if state is None:
                continue
            for key, value in state.items():
                yield ("state", number, group_number, place, key), value if is_tensor(value) else own(value)


def _put_back_optimizer(optimizer: Any, number: int, snapshot: Snapshot) -> None:
    count = snapshot.values.get(("groups", number), len(optimizer.param_groups))
    del optimizer.param_groups[count:]  # groups that were added later
    then: dict[Path, dict[Any, Any]] = {}
    for source in (snapshot.tensors, snapshot.values):
        for path, value in source.items():
            if path[0] in ("group", "state") and path[1] == number:
                then.setdefault(path[:-1], {})[path[-1]] = value
    for group_number, group in enumerate(optimizer.param_groups):
        kept = then.get(("group", number, group_number), {})
        for key in [key for key in group if key != "params" and key not in kept]:
            del group[key]
        _put_back_values(group, kept)
        for place, parameter in enumerate(group["params"]):
            kept = then.get(("state", number, group_number, place), {})
            if not kept:
                optimizer.state.pop(parameter, None)
                continue
            state = optimizer.state[parameter]
            for key in [key for key in state if key not in kept]:
                del state[key]
            _put_back_values(state, kept)


def _put_back_values(state: dict[Any, Any], kept: Mapping[Any, Any]) -> None:
    for key, value in kept.items():
        if isinstance(value, Copied):
            now = state.get(key)
            state[key] = _written(now if is_tensor(now) else None, value)
        else:
            state[key] = own(value)


def _owned(part: Part) -> Part:
    """Return a part whose state is copied on both ways, because it may go on changing what it gives and gets."""
    return Part(lambda: own(part.save()), lambda state: part.load(own(state)))


def _with_state_dict(holder: Any) -> Part:
    return Part(lambda: copy.deepcopy(holder.state_dict()), lambda state: holder.load_state_dict(copy.deepcopy(state)))
