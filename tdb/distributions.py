"""How the values of many tensors are distributed, a row each, on a scale that is logarithmic on both sides of zero."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tdb.counted import counted
from tdb.errors import NotCapturedError, StateError
from tdb.model_capture import ModelCapture, dense_values
from tdb.queries import array_of
from tdb.results import Array, Distributions, Table
from tdb.step import not_yet

if TYPE_CHECKING:
    from torch import Tensor, nn

PER_DECADE = 4
MOST_DECADES = 8
MOST_VALUES = 2**18
"""Values of a tensor that are looked at; of a larger one so many, evenly spaced."""


def activations_of(model: nn.Module, capture: ModelCapture) -> dict[str, Array]:
    """Return the output of each module without modules inside, as far as it is still there; by name.

    Raises:
        StateError: the step was not captured, or no module was called yet.
    """
    if not capture.captured:
        raise NotCapturedError
    if not capture.progress.has_output:
        raise not_yet("output of the model", capture.progress)
    found = {}
    for name, module in model.named_modules():
        values = capture.outputs[name].values()[0] if name in capture.outputs else None
        if next(module.children(), None) is None and values is not None:
            found[name] = _thinned(values)
    if not found:
        raise StateError("no module has given real numbers in this step")
    return found


def gradients_of(model: nn.Module, capture: ModelCapture) -> dict[str, Array]:
    """Return the gradient of each parameter as the update used it, or as it is now; by the parameter's name.

    Raises:
        StateError: there is none.
    """
    if not capture.progress.has_gradients:
        raise not_yet("gradients", capture.progress)
    found = {}
    for name, weight in model.named_parameters():
        kept = capture.grads[name].values() if name in capture.grads else None
        grad = kept if kept is not None else weight.grad
        if grad is not None:
            found[name] = _thinned(dense_values(grad.detach()))
    if not found:
        raise StateError("no gradients are there any more: the loop clears them", "`phase backward` stops before that")
    return found


def weights_of_model(model: nn.Module) -> dict[str, Array]:
    """Return each parameter, by its name."""
    return {name: _thinned(weight.detach()) for name, weight in model.named_parameters()}


def _thinned(values: Tensor) -> Array:
    import torch

    if values.is_complex():  # its real and its imaginary part are two values
        values = torch.view_as_real(values.resolve_conj())
    thinned = values.flatten()[:: max(1, -(-values.numel() // MOST_VALUES))]
    return array_of(thinned if thinned.dtype == torch.float64 else thinned.float())


def distributions(arrays: Mapping[str, Array], what: str, step: int) -> Distributions:
    """Return the distributions of arrays as one picture."""
    magnitudes = {name: np.abs(array[np.isfinite(array) & (array != 0)]) for name, array in arrays.items()}
    seen = [np.log10(each) for each in magnitudes.values() if each.size]
    high = math.floor(max((each.max() for each in seen), default=0.0)) + 1
    low = math.floor(min((np.percentile(each, 1) for each in seen), default=-1.0))
    low = min(max(low, high - MOST_DECADES), high - 1)
    count = (high - low) * PER_DECADE
    shares = np.zeros((len(arrays), 2 * count))
    for row, array in enumerate(arrays.values()):
        finite = array[np.isfinite(array) & (array != 0)].astype(np.float64)
        places = np.clip(((np.log10(np.abs(finite)) - low) * PER_DECADE).astype(int), 0, count - 1)
        index = np.where(finite > 0, count + places, count - 1 - places)
        shares[row] = np.bincount(index, minlength=2 * count) / max(array.size, 1)
    zeros = np.array([np.mean(array == 0) if array.size else 0.0 for array in arrays.values()])
    wrong = np.array([int((~np.isfinite(array)).sum()) for array in arrays.values()])
    dead = f", {int((zeros == 1).sum())} all zeros" if (zeros == 1).any() else ""
    bad = f", {int((wrong > 0).sum())} with NaN or inf" if (wrong > 0).any() else ""
    rows = counted(len(arrays), "module" if what == "activations" else "parameter")
    return Distributions(
        list(arrays),
        shares,
        (low, high),
        zeros,
        wrong,
        caption=f"{what} of {rows}: -1e{high} to -1e{low}, the share of zeros, 1e{low} to 1e{high}{dead}{bad}",
        title=f"{what}, step {step}",
    )


def distribution_table(arrays: Mapping[str, Array], header: str) -> Table:
    """Return a row for each array: shares of zeros and negative entries, quantiles of the absolute values, NaN, inf."""
    rows = []
    for array in arrays.values():
        finite = np.abs(array[np.isfinite(array)])
        quantiles = np.percentile(finite, [5, 50, 95]) if finite.size else np.full(3, np.nan)
        rows.append(
            (
                np.mean(array == 0) if array.size else np.nan,
                np.mean(array < 0) if array.size else np.nan,
                *quantiles,
                int(np.isnan(array).sum()),
                int(np.isinf(array).sum()),
            )
        )
    names = ("zeros", "negative", "|5%|", "|median|", "|95%|", "nan", "inf")
    columns = {name: np.array([row[at] for row in rows]) for at, name in enumerate(names)}
    return Table({header: list(arrays), **columns}, note=f"{counted(len(arrays), 'row')}; quantiles of absolute values")
