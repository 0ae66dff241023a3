"""Optimizers, their groups and what they remember; schedulers and the gradient scaler."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tdb.counted import counted
from tdb.model_capture import dense_values
from tdb.results import Table

if TYPE_CHECKING:
    from torch import Tensor

USUAL = ("lr", "momentum", "betas", "weight_decay")
"""Settings that have a column of their own; the others are shown where they differ from the optimizer's defaults."""


def groups_table(optimizers: Sequence[Any], updates: Mapping[int, int] | None) -> Table:
    """Return a row for each parameter group; called in the training thread.

    Args:
        optimizers: in the order in which the loop has named them.
        updates: how often each has updated in this step, by its identity; None if nobody counted.
    """
    rows = [
        _row(number, optimizer, index, group, updates)
        for number, optimizer in enumerate(optimizers)
        for index, group in enumerate(optimizer.param_groups)
    ]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return Table(
        {name: _column([row.get(name) for row in rows]) for name in names},
        note=f"{counted(len(optimizers), 'optimizer')}; |x| are L2 norms over the group",
    )


def _column(values: list[Any]) -> list[Any]:
    return ["" if value is None else value for value in values] if any(isinstance(v, str) for v in values) else values


def _row(
    number: int, optimizer: Any, index: int, group: Mapping[str, Any], updates: Mapping[int, int] | None
) -> dict[str, Any]:
    import torch

    weights: list[Tensor] = group["params"]
    defaults = getattr(optimizer, "defaults", {})  # it may be of the script's own making
    row: dict[str, Any] = {
        "optimizer": f"{number} {type(optimizer).__name__}",
        "group": group.get("name", index),
        "params": sum(weight.numel() for weight in weights),
    }
    row |= {name: setting(group[name]) for name in USUAL if name in group}
    row["also"] = ", ".join(
        f"{name} {setting(value)}"
        for name, value in group.items()
        if name in defaults and name not in USUAL and value not in (defaults[name], None)
    )
    states = [optimizer.state[weight] for weight in weights if weight in optimizer.state]
    steps = [int(state["step"]) for state in states if "step" in state]
    if steps:
        row["updates"] = max(steps)
    if updates is not None and isinstance(optimizer, torch.optim.Optimizer):  # others are not counted
        count = updates.get(id(optimizer), 0)
        row["this step"] = "none" if count == 0 else counted(count, "update")
    row["|w|"] = _norm(weight.detach() for weight in weights)
    row |= {f"|{name}|": norm for name, norm in _memory_norms(weights, optimizer).items()}
    return {name: value for name, value in row.items() if value != ""}


def setting(value: Any) -> Any:
    """Return a setting as one word: numbers as they are, a tensor's number, a pair joined by a slash."""
    if isinstance(value, tuple | list):
        return "/".join(f"{setting(item):g}" for item in value)
    return value.item() if hasattr(value, "item") else value


def _norm(tensors: Iterable[Tensor]) -> float:
    import torch

    return math.sqrt(sum(float(torch.linalg.vector_norm(dense_values(tensor))) ** 2 for tensor in tensors))


def _memory_norms(weights: Sequence[Tensor], optimizer: Any) -> dict[str, float]:
    """Return the norms of what an optimizer remembers an entry for each entry of its parameters, by name."""
    found: dict[str, list[Tensor]] = {}
    for weight in weights:
        for name, value in optimizer.state.get(weight, {}).items():
            if hasattr(value, "shape") and value.numel() == weight.numel() and name != "step":
                found.setdefault(name, []).append(value)
    return {name: _norm(tensors) for name, tensors in found.items()}


def scheduler_facts(schedulers: Sequence[Any], scaler: Any) -> dict[str, str]:
    """Return a line for each scheduler, and one for the gradient scaler."""
    facts = {}
    for number, scheduler in enumerate(schedulers):
        name = f"scheduler {number}" if len(schedulers) > 1 else "scheduler"
        facts[name] = ", ".join([type(scheduler).__name__, *_said_of(scheduler)])
    if scaler is not None and scaler.is_enabled():
        state = scaler.state_dict()
        good = counted(state["_growth_tracker"], "update")
        facts["scaler"] = f"scale {state['scale']:g}, {good} without overflow, grows after {state['growth_interval']}"
    return facts


def _said_of(scheduler: Any) -> list[str]:
    """Return how often a scheduler was stepped, and the rates it has led to, as far as it says so: any may be given."""
    groups = getattr(getattr(scheduler, "optimizer", None), "param_groups", ())
    # What it remembers itself is not what the optimizer has where another handler, as Ignite's, sets the rates.
    rates = [group["lr"] for group in groups] or getattr(scheduler, "_last_lr", [])
    said = ", ".join(f"{rate:.4g}" for rate in dict.fromkeys(map(float, rates)))
    stepped = getattr(scheduler, "last_epoch", None)
    known = [f"stepped {counted(stepped, 'time')}"] if isinstance(stepped, int) else []
    return [*known, f"learning rate {said}"] if said else known
