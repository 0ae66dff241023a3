"""Questions about one step, answered from its record: pure functions, arrays in, results out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tdb.captures import is_tensor
from tdb.counted import counted
from tdb.errors import StateError, TdbError, in_a_line
from tdb.results import Array, Images, Table

# Beyond this, a grid no longer shows single images.
MOST_IMAGES = 1024

# Entries of a sparse tensor, zeros too, that are written out: 256 MB of float32.
MOST_OF_SPARSE = 2**26

# Types of tensors that float32 holds, and numpy does not know.
NOT_OF_NUMPY = ("torch.bfloat16", "torch.float8")


def array_of(value: Any) -> Array:
    """Return a tensor, array or number as a numpy array on the host.

    What numpy has no type for, such as bfloat16 or what is quantized, becomes the float32 that equals it.
    Of a tensor that is distributed over processes it is the part that lies in this one.

    Raises:
        StateError: a sparse tensor has too many entries to write them all out.
        TdbError: a tensor gives no numbers: it has but a shape, is nested, or of a kind of its own.
    """
    if not is_tensor(value):
        return np.asarray(value)
    try:
        return _numbers_of(value.detach())
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise TdbError(f"this tensor's numbers cannot be looked at: {in_a_line(error)}") from error


def _numbers_of(value: Any) -> Array:
    value = (value.to_local() if hasattr(value, "to_local") else value).cpu()
    if str(value.layout) != "torch.strided":
        if value.numel() > MOST_OF_SPARSE:
            shape = "x".join(map(str, value.shape))
            raise StateError(f"a sparse tensor of {shape} is too large to be looked at", "Look at a part of it")
        value = value.to_dense()
    if value.is_quantized:
        value = value.dequantize()
    if str(value.dtype).startswith(NOT_OF_NUMPY):
        value = value.float()
    return np.asarray(value.resolve_conj().resolve_neg().numpy())


def tensors_in(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Walk nested containers and give every tensor and array with its path, such as "[0]" or "images"."""
    if is_tensor(value) or isinstance(value, np.ndarray):
        yield name or "batch", value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensors_in(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from tensors_in(item, f"{name}[{index}]")


def images_of(array: Array, image_shape: tuple[int, ...] | None = None) -> Array | None:
    """Return a batch as images [N, H, W] or [N, H, W, 3], or None if its shape is not that of images.

    Channels may come first or last; rows of a [N, F] batch are images only where `image_shape` says so.
    """
    if array.ndim == 4 and array.shape[1] in (1, 3) and min(array.shape[2:]) > 3:
        array = np.moveaxis(array, 1, -1)
    elif array.ndim >= 2 and image_shape is not None and int(np.prod(array.shape[1:])) == int(np.prod(image_shape)):
        array = array.reshape(len(array), *image_shape)
    elif not (array.ndim == 4 and array.shape[-1] in (1, 3) and min(array.shape[1:3]) > 3):
        return None
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[-1] not in (1, 3):
        array = np.moveaxis(array, 1, -1)
    return array[..., 0] if array.ndim == 4 and array.shape[-1] == 1 else array


def finite_of(array: Array) -> Array:
    """Return the entries that are finite."""
    return array[np.isfinite(array)] if array.dtype.kind in "fc" else array


def bounds_of(array: Array) -> str:
    """Return "values MIN to MAX" of the finite entries, or that there are none."""
    finite = finite_of(array)
    return f"values {finite.min():.4g} to {finite.max():.4g}" if finite.size else "no finite values"


def not_finite_counts(values: Array) -> dict[str, int]:
    """Return how many values are NaN and how many infinite, naming only what there is."""
    if values.size == 0 or values.dtype.kind not in "fc" or np.isfinite([values.min(), values.max()]).all():
        return {}
    counts = {"NaN": int(np.isnan(values).sum()), "inf": int(np.isinf(values).sum())}
    return {name: count for name, count in counts.items() if count}


def not_finite_text(values: Array, color: str = "") -> str:
    """Return "3 NaN, 1 inf in green" for the values that are not finite, or an empty string."""
    counts = ", ".join(f"{count:,} {word}" for word, count in not_finite_counts(values).items())
    return f"{counts} in {color}" if counts and color else counts


def summary_of(array: Array) -> dict[str, Any]:
    """Return min, mean, max and std of the finite entries in float64, and the counts of NaN and infinite ones.

    The standard deviation is that of the sample, as `torch.std` and the line over a tensor's values have it.
    """
    numbers = array.astype(np.float64) if array.dtype.kind in "fiub" else np.abs(array).astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    empty = finite.size == 0
    return {
        "min": float("nan") if empty else float(finite.min()),
        "mean": float("nan") if empty else float(finite.mean()),
        "max": float("nan") if empty else float(finite.max()),
        "std": float("nan") if empty else float(finite.std(ddof=min(1, finite.size - 1))),
        "nan": int(np.isnan(numbers).sum()),
        "inf": int(np.isinf(numbers).sum()),
    }


def batch_table(batch: Any) -> Table:
    """Return a row for each tensor of a batch: shape, dtype, range, and what is not finite."""
    rows = [(name, value, summary_of(array_of(value))) for name, value in tensors_in(batch)]
    return Table(
        {
            "tensor": [name for name, _, _ in rows],
            "shape": ["x".join(map(str, value.shape)) or "scalar" for _, value, _ in rows],
            "dtype": [str(value.dtype).removeprefix("torch.") for _, value, _ in rows],
            **{key: [summary[key] for _, _, summary in rows] for key in ("min", "mean", "max", "std", "nan", "inf")},
        },
        note=counted(len(rows), "tensor"),
        mixed=True,
    )


def batch_images(batch: Any, labels: Any, step: int, image_shape: tuple[int, ...] | None) -> Images | None:
    """Return the first tensor of a batch that has the shape of images as a labelled grid; None if there is none."""
    for _, value in tensors_in(batch):
        array = array_of(value)
        images = images_of(array, image_shape) if array.ndim else None
        if images is not None and len(images):
            known = [] if labels is None else [str(label) for label in array_of(labels).reshape(-1)[:MOST_IMAGES]]
            shown = images[:MOST_IMAGES]
            height, width = images.shape[1:3]
            more = "" if len(shown) == len(images) else f", the first {MOST_IMAGES} shown"
            return Images(
                shown,
                known,
                title=f"batch of step {step}",
                caption=f"{counted(len(images), 'image')} of {height}x{width}{more}, {bounds_of(shown)}",
            )
    return None
