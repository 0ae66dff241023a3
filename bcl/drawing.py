"""How the rule's tensors are seen: which of them stand together, and what each is drawn as, by its axes.

Plain arrays in and out; whoever draws makes a picture of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bcl.arrays import Array
from bcl.trace import AXES

WINNING = ("feature_novelty", "win_rate")  # their product is the effective win
SIDE_BY_SIDE = 36  # small images in a row
AXIS_NAMES = {"BD": ("image", "feature"), "Dk": ("feature", "neighbour")}


@dataclass(frozen=True)
class Drawing:
    """One picture's contents.

    Attributes:
        form: "images" [N, H, W], a "heatmap" [R, C], or "bars" [N, F], which are N rows of F bars.
        values: to be drawn.
        title: the names of the tensors that are seen.
        said: what is seen of them, where it is not simply all of their values.
        signed: whether zero is the middle of the scale.
        labels: one a row of `values`, as far as rows have any.
        axes: what the rows and the columns of a heatmap are.
        columns: how many images stand side by side, if that matters.
        scales: what each row of bars reaches to, where every row has a scale of its own.
    """

    form: Literal["images", "heatmap", "bars"]
    values: Array
    title: str
    said: str
    signed: bool
    labels: Sequence[str] = ()
    axes: tuple[str, str] = ("", "")
    columns: int | None = None
    scales: Sequence[float] = ()


def drawn_together(arrays: Mapping[str, Array]) -> list[dict[str, Array]]:
    """Return tensors in the groups in which they are drawn; what has no values is left out, and so is `winner`.

    Those of one number a feature stand together, so that they can be compared: those in `WINNING`, and all others.
    """
    names = [name for name, values in arrays.items() if values.size and name != "winner"]
    others = [name for name in names if AXES[name] == "D" and name not in WINNING]
    groups: list[list[str]] = []
    for name in names:
        together = next((group for group in (WINNING, others) if name in group), [name])
        group = [member for member in names if member in together]
        if group not in groups:
            groups.append(group)
    return [{name: arrays[name] for name in group} for group in groups]


def drawing_of(arrays: Mapping[str, Array], weights: Array, shape: tuple[int, ...] | None) -> Drawing:
    """Return what a tensor is drawn as, or several with one number a feature.

    Args:
        arrays: the tensor by its name, or several of axes "D" or "B".
        weights: W [D, F]; neighbours are shown by theirs.
        shape: (H, W) of a row [F] as an image; None if it is none.
    """
    name, values = next(iter(arrays.items()))
    axes, signed = AXES[name], bool((values < 0).any())
    numbers = [str(row) for row in range(len(values))]
    if axes == "Dk" and shape is not None:
        return _neighbours(values, weights.reshape(-1, *shape))
    if axes in AXIS_NAMES:
        return Drawing("heatmap", values, name, "", signed, axes=AXIS_NAMES[axes])
    if axes in ("DF", "BF"):
        if shape is None:
            return Drawing("bars", values, name, "", signed, numbers)
        return Drawing("images", values.reshape(-1, *shape), name, "", signed, numbers)
    rows = np.stack(list(arrays.values()))
    several = len(rows) > 1
    scales = [float(np.abs(row[np.isfinite(row)]).max(initial=0.0)) or 1.0 for row in rows]
    said, labels = ("a bar for each feature", list(arrays)) if several else ("", [])
    return Drawing("bars", rows, ", ".join(arrays), said, signed, labels, scales=scales)


def _neighbours(neighbours: Array, weights: Array) -> Drawing:
    """Return each feature's weights [D, H, W] before those of its `neighbours` [D, k], under its number."""
    features, count = neighbours.shape
    members = np.column_stack([np.arange(features), neighbours])  # [D, 1 + k]
    labels = [label for row in range(features) for label in (str(row), *[""] * count)]
    said = f"under its number a feature's weights, then its {count} neighbours'"
    columns = max(SIDE_BY_SIDE // (1 + count), 1) * (1 + count)
    return Drawing("images", weights[members.ravel()], "neighbours", said, True, labels, columns=columns)
