"""What an optimizer carries: its groups with their options, and a state for each parameter.

`Optimizer.load_state_dict` is not used: it makes the optimizer go on in the copy itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tdb.captures import is_tensor
from tdb.errors import StateError
from tdb.travel.held import ATOMS, put_together, taken_apart
from tdb.travel.slots import Path
from tdb.travel.snapshot import Snapshot, Tensors, Values, Writing

if TYPE_CHECKING:
    from torch import nn


def look_at_optimizer(optimizer: Any, number: int, names: Mapping[int, str], tensors: Tensors, values: Values) -> None:
    """Take its state by parameter, and its groups: their options, and their parameters' names in the model."""
    values["groups", number] = len(optimizer.param_groups)
    values["optimizer", number] = type(optimizer).__name__
    for group_number, group in enumerate(optimizer.param_groups):
        values["members", number, group_number] = [names.get(id(each), "") for each in group["params"]]
        for key, value in group.items():
            if key != "params":
                _look_at(value, ("group", number, group_number, key), tensors, values)
        for place, parameter in enumerate(group["params"]):
            if id(parameter) not in names:  # of no model: only the optimizer leads to it
                tensors["parameter of", number, group_number, place] = parameter
                if parameter.grad is not None:
                    tensors["gradient of", number, group_number, place] = parameter.grad
            state = optimizer.state.get(parameter)
            for key, value in state.items() if state is not None else ():
                _look_at(value, ("state", number, group_number, place, key), tensors, values)


def put_back_groups(optimizer: Any, number: int, snapshot: Snapshot, model: nn.Module | None) -> None:
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


def put_back_optimizer(optimizer: Any, number: int, snapshot: Snapshot, writing: Writing) -> None:
    """Give every group its options, and every parameter its state; what there was not then goes."""
    then: dict[Path, dict[Any, Path]] = {}
    for source in (snapshot.tensors, snapshot.values):
        for path in source:
            if path[0] in LENGTHS and path[1] == number and len(path) == LENGTHS[path[0]]:
                then.setdefault(path[:-1], {})[path[-1]] = path
    for group_number, group in enumerate(optimizer.param_groups):
        kept = then.get(("group", number, group_number), {})
        _put_back_values(group, {"params": ("params",), **kept}, snapshot, writing)
        for place, parameter in enumerate(group["params"]):
            here = number, group_number, place
            if ("parameter of", *here) in snapshot.tensors:
                writing.into(parameter, ("parameter of", *here))
                parameter.grad = writing.into(parameter.grad, ("gradient of", *here))
            kept = then.get(("state", number, group_number, place), {})
            if not kept:
                optimizer.state.pop(parameter, None)
            else:
                _put_back_values(optimizer.state[parameter], kept, snapshot, writing)


LENGTHS = {"group": 4, "state": 5}  # of the paths of an optimizer's values; those in nested states are longer


def _put_back_values(state: dict[Any, Any], kept: Mapping[Any, Path], snapshot: Snapshot, writing: Writing) -> None:
    for key in [key for key in state if key not in kept]:
        del state[key]
    for key, path in kept.items():
        if path in snapshot.tensors:
            now = state.get(key)
            state[key] = writing.into(now if is_tensor(now) else None, path)
        elif path in snapshot.values:
            state[key] = put_together(snapshot.values[path], snapshot.tensors)
