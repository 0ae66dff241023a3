"""What training consists of: copied at a boundary, and put back in place.

In place, because hooks, optimizers and the user's own names hold the very tensors: none is ever exchanged for another
where it can be written to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tdb.errors import StateError
from tdb.guard import generators
from tdb.target import model_of, optimizers_of, scaler_of, schedulers_of
from tdb.travel.held import put_together, taken_apart
from tdb.travel.optimizers import look_at_optimizer, put_back_groups, put_back_optimizer
from tdb.travel.slots import Path, Slots
from tdb.travel.snapshot import Snapshot, Tensors, Values, Writing

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tdb.panel import Panel


class Part(NamedTuple):
    """Something with a state of its own: a function that gives it, and one that takes a copy of it back."""

    save: Callable[[], Any]
    load: Callable[[Any], Any]


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
        tensors, values = self.everything(before.values if before is not None else None)
        return Snapshot(slots.copy(tensors, before.tensors if before is not None else {}), values)

    def everything(self, before: Values | None = None) -> tuple[Tensors, Values]:
        """Return the tensors that training goes on in, and all that is no tensor, copied; `before`, the last copy."""
        tensors: Tensors = {}
        values: Values = {}
        model = model_of(self.target)
        if model is not None:
            self._look_at_model(model, tensors, values)
        self._look_at_optimizers(tensors, values)
        for name, part in self._parts().items():
            path = "part", name
            values[path] = taken_apart(part.save(), path, tensors, (before or {}).get(path))
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
        writing = Writing(snapshot)
        with torch.no_grad():
            if model is not None:
                self._put_back_model(model, snapshot, writing)
            for number, optimizer in enumerate(optimizers_of(self.target)):
                put_back_groups(optimizer, number, snapshot, model)
                put_back_optimizer(optimizer, number, snapshot, writing)
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
        self._look_at_optimizers(tensors, {})
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

    def _look_at_optimizers(self, tensors: Tensors, values: Values) -> None:
        names = {id(each): path[1] for path, each in tensors.items() if path[0] == "parameter"}
        for number, optimizer in enumerate(optimizers_of(self.target)):
            look_at_optimizer(optimizer, number, names, tensors, values)

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

    def _put_back_model(self, model: nn.Module, snapshot: Snapshot, writing: Writing) -> None:
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


def _with_state_dict(holder: Any) -> Part:
    return Part(holder.state_dict, holder.load_state_dict)
