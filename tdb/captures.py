"""Owned copies of what a training loop hands over."""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


class Lazy:
    """Step data that is computed when it is first looked at.

    Attributes:
        compute: gives them; if it `takes_names`, those of its entries alone that are asked for.
        takes_names: whether it does.
    """

    __slots__ = ("compute", "takes_names")

    def __init__(self, compute: Callable[..., Any], *, takes_names: bool = False) -> None:
        self.compute = compute
        self.takes_names = takes_names


class Lent:
    """Step data that still belong to the loop: they are copied only if training stops at this step."""

    __slots__ = ("data",)

    def __init__(self, data: Any) -> None:
        self.data = data


def is_tensor(value: Any) -> bool:
    """Return whether `value` is a torch tensor, without importing torch for a program that has not."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def has_numbers(tensor: Tensor) -> bool:
    """Return whether a tensor's numbers are all in this process: not of one that is sharded, or has but a shape."""
    import torch

    return not tensor.is_meta and type(tensor).__torch_dispatch__ is torch.Tensor.__torch_dispatch__


def given(inputs: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    """Return what a module is called with as one value: its only argument, a tuple, or a mapping if some have names."""
    if keywords:
        return {**{str(place): value for place, value in enumerate(inputs)}, **keywords}
    return inputs[0] if len(inputs) == 1 else inputs


def own(value: Any) -> Any:
    """Return a copy of `value` that shares no memory with it.

    Tensors are detached and cloned on their device, arrays copied, and containers and dataclasses rebuilt around their
    copies; a class of its own that derives from list, tuple or dict becomes the plain one, because its constructor may
    want anything. Other objects are kept as they are: they are values (numbers, text) or nothing that tdb could copy.
    """
    if is_tensor(value):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, Mapping):
        return {key: own(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return type(value)._make(own(item) for item in value)
    if isinstance(value, list | tuple):
        items = [own(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        copied = copy.copy(value)
        for field in dataclasses.fields(value):
            object.__setattr__(copied, field.name, own(getattr(value, field.name)))  # also where it is frozen
        return copied
    return value


def reading(loss: Any) -> Any:
    """Return a loss as it is kept whose number cannot be read at once: a copy on its device if it is a tensor.

    A copy, because the next step may be written into the same memory, as CUDA graphs do.
    """
    return loss.detach().clone() if is_tensor(loss) else loss


def number(value: Any) -> float | None:
    """Return a loss as a float: a number, or the only element of a tensor; None if it is neither, or beyond floats."""
    if value is None:
        return None
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def labels_of(batch: Any) -> Any:
    """Return the labels of a batch that is a pair (inputs, integer vector of as many entries), else None."""
    if isinstance(batch, list | tuple) and len(batch) == 2:
        inputs, labels = batch
        if all(hasattr(part, "shape") and len(part.shape) > 0 for part in (inputs, labels)):
            integer = "int" in str(labels.dtype)
            if integer and len(labels.shape) == 1 and len(labels) == len(inputs):
                return labels
    return None
