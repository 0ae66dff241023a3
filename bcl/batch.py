"""The images of one batch as they are told of: which come first, what is known of one, which features it concerns.

Plain arrays, made from a step's tensors by name, as `BCL.step_tensors` gives them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bcl.arrays import Array, owned
from bcl.config import BCLConfig
from bcl.images import Exerted, exerted, feature_columns, image_columns, means_by

SORTS = {"loss": "what the model makes of it", "coverage": "how much the features claim it", "pull": "how far it moves"}
"""The columns by which images have an order, and what each says."""


@dataclass(frozen=True)
class OneImage:
    """One image of a batch.

    Attributes:
        facts: what is known of it, by name; "loss rank" and its kin are "1 of 128" for the greatest.
        claims: [D] whether the feature claims it, being stronger than all of its neighbours.
        features: what it does to each feature, [D] by name.
    """

    facts: Mapping[str, int | float | str]
    claims: Array
    features: Mapping[str, Array]

    def concerned(self, most: int) -> Array:
        """Return the features that claim the image and half as many that it moves most, by their rank scores.

        Args:
            most: how many that claim it are told at most.
        """
        score = self.features["rank_score"]
        claiming = [row for row in np.argsort(-score, kind="stable") if self.claims[row]][:most]
        pull = self.features.get("pull")
        moved = [] if pull is None else list(np.argsort(-pull, kind="stable")[: most // 2])
        rows = np.unique(np.asarray([*claiming, *moved], dtype=int))
        return rows[np.argsort(-score[rows], kind="stable")]


@dataclass(frozen=True)
class Batch:
    """The images of a batch, which count from 0.

    Attributes:
        inputs: [B, F] the images.
        weights: W [D, F].
        win_rate: [D] how much of the batch each feature wins.
        columns: what is told of each image, [B] by name; its label, too, if that is known.
        exerted: what each image does to each feature.
    """

    inputs: Array
    weights: Array
    win_rate: Array
    columns: Mapping[str, Array]
    exerted: Exerted

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def labels(self) -> Array | None:
        """One label [B] an image, if they are known."""
        return self.columns.get("label")

    @property
    def sorts(self) -> list[str]:
        """Which of `SORTS` these images have."""
        return [name for name in SORTS if name in self.columns]

    @property
    def measures(self) -> dict[str, Array]:
        """The columns [B] whose means say something."""
        return {name: self.columns[name] for name in (*self.sorts, "claims")}

    def order(self, by: str, *, ascending: bool) -> Array:
        """Return the images [B] by one of the columns; those whose value is no number come last."""
        values = self.columns[by]
        return np.argsort(values if ascending else -values.astype(np.float64), kind="stable")

    def rows(self, images: Array) -> dict[str, Array]:
        """Return what is told of some of the images [n], [n] by name."""
        return {name: column[images] for name, column in self.columns.items()}

    def summary(self) -> dict[str, dict[str, float]]:
        """Return "mean", "min" and "max" of each measure over all images."""
        return {
            word: {name: float(of(column)) for name, column in self.measures.items()}
            for word, of in (("mean", np.mean), ("min", np.min), ("max", np.max))
        }

    def by_label(self) -> dict[str, Array] | None:
        """Return the number of images and the mean of each measure, a row a label; None if labels are no classes."""
        if self.labels is None or self.labels.dtype.kind not in "iu":
            return None
        measures = {name: torch.as_tensor(column) for name, column in self.measures.items()}
        means = means_by(torch.as_tensor(self.labels), measures)
        return {"label" if name == "group" else name: owned(column) for name, column in means.items()}

    def image(self, number: int) -> OneImage:
        """Return what is known of one image."""
        facts: dict[str, int | float | str] = {"image": number}
        if self.labels is not None:
            facts["label"] = self.labels[number].item()
        for name in self.sorts:
            values = self.columns[name]
            facts[name] = float(values[number])
            facts[f"{name} rank"] = f"{int((values > values[number]).sum()) + 1} of {len(self)}"
        claims = owned(self.exerted.claims[number])
        facts |= {"claimed by": int(claims.sum()), "winner": int(self.columns["winner"][number])}
        features = {name: owned(column) for name, column in feature_columns(self.exerted, number).items()}
        return OneImage(facts, claims, features)


def batch_of(
    tensors: Mapping[str, Tensor],
    weight: Tensor,
    config: BCLConfig,
    loss: Tensor | None = None,
    labels: Array | None = None,
) -> Batch:
    """Return the images of a step.

    Args:
        tensors: of the step, by name.
        weight: W [D, F], of the layer.
        config: of the rule.
        loss: [B] of each image, if it is known.
        labels: one for each image, in any shape; if they are not as many, they are about something else.

    Raises:
        LookupError: the layer's inputs were overwritten since.
    """
    found = exerted(tensors, config)
    known = labels.reshape(-1) if labels is not None and labels.size == len(found.coverage) else None
    columns = {name: owned(column) for name, column in image_columns(found, loss).items()}
    named = {} if known is None else {"label": known}
    return Batch(
        inputs=owned(tensors["inputs"]),
        weights=owned(weight),
        win_rate=owned(tensors["win_rate"]),
        columns={"image": columns["image"], **named, **columns},
        exerted=found,
    )
