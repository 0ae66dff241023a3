"""Which layers of a model have features: those whose weight has a row for each output unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdb.captures import has_numbers
from tdb.errors import UsageError, did_you_mean
from tdb.layer_weight import has_lazy, weight_of
from tdb.model_capture import class_of

if TYPE_CHECKING:
    from torch import nn

# The feature dimension of the output, counted from the end, by the number of dimensions that a position takes.
ROW_LAYERS = {"Linear": 1, "Conv1d": 2, "Conv2d": 3, "Conv3d": 4, "Embedding": 0}
TRANSPOSED = {"ConvTranspose1d": 2, "ConvTranspose2d": 3, "ConvTranspose3d": 4}  # a feature is a column of these
ROW_LAYERS |= TRANSPOSED


@dataclass(frozen=True)
class LayerInfo:
    """A layer that has features.

    Attributes:
        name: its name in the model.
        kind: its class.
        features: D, the number of rows.
        row_shape: the shape of one row before it is flattened to F; of complex numbers, real and imaginary parts last.
    """

    name: str
    kind: str
    features: int
    row_shape: tuple[int, ...]


def layers_with_features(model: nn.Module) -> list[LayerInfo]:
    """Return the layers of a model whose weight has a row for each feature, and any, in the model's order."""
    found = []
    for name, module in model.named_modules():
        names = (class_of(module), *(base.__name__ for base in type(module).__mro__))
        kind = next((each for each in names if each in ROW_LAYERS), None)
        weight = weight_of(module) if kind is not None else None
        if kind is None or weight is None or weight.dim() < 2 or not has_numbers(weight):
            continue
        parts = (2,) if weight.is_complex() else ()
        if kind not in TRANSPOSED:
            found.append(LayerInfo(name, kind, weight.shape[0], (*weight.shape[1:], *parts)))
        elif getattr(module, "groups", 1) == 1:
            found.append(LayerInfo(name, kind, weight.shape[1], (weight.shape[0], *weight.shape[2:], *parts)))
    return [info for info in found if info.features]


def layer_with_features(model: nn.Module, name: str = "") -> LayerInfo:
    """Return a layer by its name; without a name, the first that has features.

    Raises:
        UsageError: there is no such layer, or it has no features.
    """
    known = {info.name: info for info in layers_with_features(model)}
    if not known and has_lazy(model):
        raise UsageError("the model's layers have no weights yet", "They have after a step")
    if not known and not all(map(has_numbers, model.parameters())):
        raise UsageError("no layer has a weight that is whole in this process", "`layers` shows those it has")
    if not known and next(model.children(), None) is None and class_of(model) == "Module":
        raise UsageError(
            "what is trained belongs to no module, so there is no layer with features", "`layers` shows it"
        )
    if not known:
        raise UsageError("the model has no layer with features", f"Those are: {', '.join(ROW_LAYERS)}")
    chosen = known.get(name or next(iter(known)))
    if chosen is None:
        raise _why_no_features(model, name, known)
    return chosen


def _why_no_features(model: nn.Module, name: str, known: Mapping[str, LayerInfo]) -> UsageError:
    """Return the error of a name that is no layer with features: what it is, and what shows it."""
    modules = dict(model.named_modules())
    if name not in modules:
        near = did_you_mean(name, known) or f"Layers with features: {', '.join(known)}"
        return UsageError(f"no layer {name!r} with features", near)
    inside = [each for each in known if each.startswith(f"{name}.")]
    hint = f"Inside it: {', '.join(inside[:3])}" if inside else f"`layers {name}` and `layers gradients {name}` show it"
    return UsageError(f"{name} is a {class_of(modules[name])}, which has no row of weights a feature", hint)
