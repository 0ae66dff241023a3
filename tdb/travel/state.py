"""What training consists of: copied at a boundary, and put back in place.

In place, because hooks, optimizers and the user's own names hold the very tensors: none is ever exchanged for another
where it can be written to. `Optimizer.load_state_dict` is not used: it makes the optimizer go on in the copy itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tdb.captures import is_tensor
from tdb.errors import StateError
from tdb.guard import generators
from tdb.target import model_of, optimizers_of, scaler_of, schedulers_of
from tdb.travel.held import ATOMS, put_together, taken_apart
from tdb.travel.slots import Copied, Path, Slots, copy_all

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tdb.panel import Panel

Tensors = dict[Path, "Tensor"]
Values = dict[Path, Any]


class Part(NamedTuple):
    """Something with a state of its own: a function that gives it, and one that takes a copy of it back."""

    save: Callable[[], Any]
    load: Callable[[Any], Any]


class Snapshot:
    """Everything at one boundary.

    Attributes:
        tensors: where they belong -> their copies.
        values: where they belong -> plain values and small states, with `Held` where tensors were.
    """

    def __init__(self, tensors: dict[Path, Copied], values: Values) -> None:
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
        tensors, values = self.everything()
        return Snapshot(slots.copy(tensors, before.tensors if before is not None else {}), values)

    def everything(self) -> tuple[Tensors, Values]:
        """Return the tensors that training goes on in, and all that is no tensor, copied."""
        tensors: Tensors = {}
        values: Values = {}
        model = model_of(self.target)
        if model is not None:
            self._look_at_model(model, tensors, values)
        names = {id(each): path[1] for path, each in tensors.items() if path[0] == "parameter"}
        for number, optimizer in enumerate(optimizers_of(self.target)):
            _look_at_optimizer(optimizer, number, names, tensors, values)
        for name, part in self._parts().items():
            values["part", name] = taken_apart(part.save(), ("part", name), tensors)
        for number, (read, _) in enumerate(generators()):
            values["generator", number] = read()  # a copy already
        return tensors, values

    def put_back(self, snapshot: Snapshot) -> None:
        """Make everything what it was.

        Raises:
            StateError: the model has other parameters than then.
        """
        import torch

        model = model_of(self.target)
        writing = _Writing(snapshot)
        with torch.no_grad():
            if model is not None:
                self._put_back_model(model, snapshot, writing)
            for number, optimizer in enumerate(optimizers_of(self.target)):
                _put_back_groups(optimizer, number, snapshot, model)
                _put_back_optimizer(optimizer, number, snapshot, writing)
            writing.finish()
        for name, part in self._parts().items():
            if ("part", name) in snapshot.values:
                part.load(put_together(snapshot.values["part", name], snapshot.tensors))
        for number, (_, write) in enumerate(generators()):  # last, because loading may draw from them
            if ("generator", number) in snapshot.values:
                write(snapshot.values["generator", number])

    def tensors(self) -> Iterator[tuple[Path, Tensor]]:
        """Give all tensors, with where they belong."""
        tensors: Tensors = {}
        model = model_of(self.target)
        if model is not None:
            self._look_at_model(model, tensors, {})
        for number, optimizer in enumerate(optimizers_of(self.target)):
            _look_at_optimizer(optimizer, number, {}, tensors, {})
        return iter(tensors.items())

    def parts(self) -> dict[str, Part]:
        """Return what has a state of its own, by name."""
        return self._parts()

    def modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Give the model's modules, by name."""
        model = model_of(self.target)
        return iter(()) if model is None else model.named_modules()

    def check(self, snapshot: Snapshot) -> None:
        """See whether a copy from elsewhere can be put back here.

        Raises:
            StateError: it is of another training; it says where they differ first.
        """
        tensors, values = self.everything()
        here = {path: f"{list(tensor.shape)} {tensor.dtype}" for path, tensor in tensors.items() if _of_model(path)}
        there = {
            path: f"{list(each.tensor.shape)} {each.tensor.dtype}"
            for path, each in snapshot.tensors.items()
            if _of_model(path)
        }
        kinds = ("optimizer", "part")
        for found, source in ((here, values), (there, snapshot.values)):
            found |= {path: "" if path[0] == "part" else str(source[path]) for path in source if path[0] in kinds}
        for path in [*here, *there]:
            if here.get(path) != there.get(path):
                name = " ".join(str(part) for part in path if part != "part")
                raise StateError(f"{name}: {there.get(path, 'none')} there, {here.get(path, 'none')} here")
        for path in (path for path in values if path[0] == "members"):
            if values[path] != snapshot.values.get(path, values[path]):
                raise StateError(f"optimizer {path[1]} has other parameters in group {path[2]} there than here")

    def lacks(self) -> str:
        """Return why everything cannot be copied now, or nothing."""
        import torch

        model = model_of(self.target)
        if model is not None and any(torch.nn.parameter.is_lazy(each) for each in model.parameters()):
            return "the model has parameters whose shape is not known before its first forward pass"
        return ""

    # ---- what there is ---------------------------------------------------------------------------------------------

    def _look_at_model(self, model: nn.Module, tensors: Tensors, values: Values) -> None:
        for name, parameter in model.named_parameters():
            tensors["parameter", name] = parameter
            if self._keeps_gradients and parameter.grad is not None:
                tensors["gradient", name] = parameter.grad
        for name, module in model.named_modules():
            values["training", name] = module.training
            for key, buffer in module._buffers.items():  # noqa: SLF001 - those that are not saved with the model too
                if buffer is not None:
                    tensors["buffer", name, key] = buffer

    def _parts(self) -> dict[str, Part]:
        """Return what has a state of its own."""
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
            found["loop"] = Part(self.target.state, self.target.restore)
        for name, part in self._registered.items():
            found[f"registered {name}"] = part
        return found

    def _put_back_model(self, model: nn.Module, snapshot: Snapshot, writing: _Writing) -> None:
        parameters = dict(model.named_parameters())
        known = {path[1] for path in snapshot.tensors if path[0] == "parameter"}
        if parameters.keys() != known:
            name = min(parameters.keys() ^ known)
            raise StateError(f"the model is another one than then: {name} is not in both", "`restart` begins anew")
        for name, parameter in parameters.items():
            writing.into(parameter, ("parameter", name))
            if self._keeps_gradients:
                parameter.grad = writing.into(parameter.grad, ("gradient", name))
        for name, module in model.named_modules():
            if ("training", name) in snapshot.values:
                module.training = snapshot.values["training", name]
            for key, buffer in module._buffers.items():  # noqa: SLF001 - as above
                module._buffers[key] = writing.into(buffer, ("buffer", name, key))  # noqa: SLF001


def _of_model(path: Path) -> bool:
    return path[0] in ("parameter", "buffer")


class _Writing:
    """Collects which copies go into which tensors, to write them all at once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._copies = snapshot.tensors
        self._into: list[Tensor] = []
        self._from: list[Tensor] = []

    def into(self, tensor: Tensor | None, path: Path) -> Tensor | None:
        """Return the tensor that will have the values of a copy: the given one where it has the form, else a new one.

        None if there was none then.
        """
        copied = self._copies.get(path)
        if copied is None:
            return None
        if tensor is None or tensor.shape != copied.tensor.shape or tensor.dtype != copied.tensor.dtype:
            return copied.own()
        if not copied.is_still(tensor):
            self._into.append(tensor)
            self._from.append(copied.tensor)
        return tensor

    def finish(self) -> None:
        """Write; without gradients."""
        copy_all(self._into, self._from)


def _look_at_optimizer(optimizer: Any, number: int, names: Mapping[int, str], tensors: Tensors, values: Values) -> None:
    """Take its state by parameter, and its groups: their options, and their parameters' names in the model."""
    values["groups", number] = len(optimizer.param_groups)
    values["optimizer", number] = type(optimizer).__name__
    for group_number, group in enumerate(optimizer.param_groups):
        values["members", number, group_number] = [names.get(id(each), "") for each in group["params"]]
        for key, value in group.items():
            if key != "params":
                _look_at(value, ("group", number, group_number, key), tensors, values)
        for place, parameter in enumerate(group["params"]):
            state = optimizer.state.get(parameter)
            for key, value in state.items() if state is not None else ():
                _look_at(value, ("state", number, group_number, place, key), tensors, values)


def _put_back_groups(optimizer: Any, number: int, snapshot: Snapshot, model: nn.Module | None) -> None:
    """Have the groups that there were then: those that were added later go, those that were removed come back.

    Raises:
        StateError: there is a parameter in one that is none of the model's.
    """
    groups, count = optimizer.param_groups, snapshot.values.get(("groups", number), len(optimizer.param_groups))
    parameters = dict(model.named_parameters()) if model is not None and len(groups) < count else {}
    for group_number in range(len(groups), count):
        members = snapshot.values["members", number, group_number]
        if not parameters.keys() >= set(members):
            raise StateError(f"optimizer {number} had a group of parameters that are none of the model's")
        groups.append({"params": [parameters[name] for name in members]})
    del groups[count:]
    kept = {id(parameter) for group in groups for parameter in group["params"]}
    for parameter in [each for each in optimizer.state if is_tensor(each) and id(each) not in kept]:
        del optimizer.state[parameter]


def _look_at(value: Any, path: Path, tensors: Tensors, values: Values) -> None:
    if is_tensor(value):
        tensors[path] = value
    else:
        values[path] = value if type(value) in ATOMS else taken_apart(value, path, tensors)


def _put_back_optimizer(optimizer: Any, number: int, snapshot: Snapshot, writing: _Writing) -> None:
    then: dict[Path, dict[Any, Path]] = {}
    for source in (snapshot.tensors, snapshot.values):
        for path in source:
            if path[0] in LENGTHS and path[1] == number and len(path) == LENGTHS[path[0]]:
                then.setdefault(path[:-1], {})[path[-1]] = path
    for group_number, group in enumerate(optimizer.param_groups):
        kept = then.get(("group", number, group_number), {})
        _put_back_values(group, {"params": ("params",), **kept}, snapshot, writing)
        for place, parameter in enumerate(group["params"]):
            kept = then.get(("state", number, group_number, place), {})
            if not kept:
                optimizer.state.pop(parameter, None)
            else:
                _put_back_values(optimizer.state[parameter], kept, snapshot, writing)


LENGTHS = {"group": 4, "state": 5}  # of the paths of an optimizer's values; those in nested states are longer


def _put_back_values(state: dict[Any, Any], kept: Mapping[Any, Path], snapshot: Snapshot, writing: _Writing) -> None:
    for key in [key for key in state if key not in kept]:
        del state[key]
    for key, path in kept.items():
        if path in snapshot.tensors:
            now = state.get(key)
            state[key] = writing.into(now if is_tensor(now) else None, path)
        elif path in snapshot.values:
            state[key] = put_together(snapshot.values[path], snapshot.tensors)


def _with_state_dict(holder: Any) -> Part:
    return Part(holder.state_dict, holder.load_state_dict)
