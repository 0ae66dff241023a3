"""The weight of a layer, read so that training does not notice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import Tensor, nn

SMALLEST_FLOAT = 4
"""Bytes of the smallest float that numpy and torch share: it has no bfloat16, and float16 would overflow."""


def weight_of(module: nn.Module) -> Tensor | None:
    """Return a layer's weight as the layer uses it; None if it has none, or none yet.

    One that is parametrized is computed whenever it is read. In training mode that may change what it is computed of:
    the power iteration of `spectral_norm` takes another step.
    """
    plain = _plain_weight(module)
    if plain is not None:
        return plain
    import torch

    parametrization = _parametrization_of(module)
    if parametrization is None:
        weight = getattr(module, "weight", None)
        return weight if isinstance(weight, torch.Tensor) and not torch.nn.parameter.is_lazy(weight) else None
    modes = [(each, each.training) for each in parametrization.modules()]
    try:
        for each, _ in modes:
            each.training = False
        with torch.no_grad():
            computed: Tensor = parametrization.forward()
            return computed
    finally:
        for each, training in modes:
            each.training = training


def gradient_of(module: nn.Module) -> Tensor | None:
    """Return the gradient of a layer's weight; None if it has none, as one that is computed of parameters."""
    plain = _plain_weight(module)
    if plain is not None:
        return plain.grad
    if _parametrization_of(module) is not None:
        return None
    weight: Any = module.weight
    return weight.grad if weight.is_leaf or weight.retains_grad else None


def is_computed(module: nn.Module) -> bool:
    """Return whether a layer's weight is computed of parameters, by a parametrization or a hook before its forward."""
    if _plain_weight(module) is not None:
        return False
    return _parametrization_of(module) is not None or not cast("Tensor", module.weight).is_leaf


def trained_for(module: nn.Module) -> Tensor:
    """Return the parameter that is trained for a layer's weight: it, or one that it is computed of."""
    parametrization = _parametrization_of(module)
    weight: Any = module.weight if parametrization is None else next(parametrization.parameters())
    return weight  # type: ignore[no-any-return]


def form_of(module: nn.Module) -> tuple[Any, ...]:
    """Return what has to stay as it is for a layer's weights to be compared: shape, dtype and device."""
    weight = trained_for(module)
    return weight.shape, weight.dtype, weight.device


def has_plain_weight(module: nn.Module) -> bool:
    """Return whether a layer's weight is a parameter of its own."""
    return _plain_weight(module) is not None


def has_form(module: nn.Module, form: tuple[Any, ...]) -> bool:
    """Return whether `form_of` gives `form`; in the shortest way, on whatever device."""
    weight = _plain_weight(module)
    if weight is None:
        return form_of(module) == form
    return weight.shape == form[0] and weight.dtype is form[1]


def as_rows(weight: Tensor, *, transposed: bool = False) -> Tensor:
    """Return a weight or its gradient as rows [D, F], without copying where that can be.

    A complex number is two entries of a row, its real and its imaginary part: norms are as before, cosines real.
    Half precision becomes single precision, which it equals: in itself the squares of an update underflow.

    Args:
        weight: of any shape.
        transposed: a feature is a column of it.
    """
    weight = weight.detach()
    dense = weight.to_dense() if weight.is_sparse else weight
    if dense.is_complex():
        from torch import view_as_real

        dense = view_as_real(dense.resolve_conj())
    elif dense.itemsize < SMALLEST_FLOAT:
        dense = dense.float()
    rows = dense.transpose(0, 1) if transposed else dense
    return rows if rows.dim() == 2 else rows.flatten(1)


def has_lazy(model: nn.Module | None) -> bool:
    """Return whether a model has parameters that are made when it is called for the first time."""
    from torch.nn.parameter import is_lazy

    return model is not None and any(map(is_lazy, model.parameters()))


def _plain_weight(module: nn.Module) -> Tensor | None:
    """Return the weight of a layer that simply has one; looked up at every step, and so in the shortest way."""
    parameters = vars(module).get("_parameters")
    weight = parameters.get("weight") if isinstance(parameters, dict) else None
    return weight if type(weight).__name__ == "Parameter" else None


def _parametrization_of(module: nn.Module) -> Any:
    """Return the module that computes a layer's weight; None if the layer simply has it."""
    modules: Any = module._modules  # noqa: SLF001 - an attribute of that name may be anything
    if "parametrizations" not in modules:  # a scripted module's have no `get`
        return None
    every = modules["parametrizations"]
    return every["weight"] if "weight" in every else None  # noqa: SIM401 - `every` has no `get`, either
