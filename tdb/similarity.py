"""Cosine similarity of features: the matrix, and the numbers that say what it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.results import Array

if TYPE_CHECKING:
    from torch import Tensor

MOST_SIMILAR = 3


def unit_rows(rows: Tensor) -> Tensor:
    """Return the rows [D, F] divided by their L2 norms; a row of zeros stays one."""
    rows = rows.float()
    # Scaled by the largest entry first: in float32 the squares of entries below 1e-19 or above 1e19 are lost.
    scale = rows.abs().amax(dim=1, keepdim=True)
    rows = rows / scale.masked_fill(scale == 0, 1.0)
    norms = rows.norm(dim=1, keepdim=True)
    units: Tensor = rows / norms.masked_fill(norms == 0, 1.0)
    return units


def cosine_matrix(rows: Tensor, others: Tensor | None = None) -> Array:
    """Return the cosines of all pairs of rows, [D, D], or of rows with other rows, [D, E].

    The cosine of a row of zeros with anything, itself too, is 0. A row with NaN or an infinite entry gives NaN.
    """
    units = unit_rows(rows)
    if others is not None:
        return np.asarray((units @ unit_rows(others).T).clamp_(-1.0, 1.0).cpu().numpy())
    matrix = (units @ units.T).clamp_(-1.0, 1.0)
    diagonal = matrix.diagonal()
    diagonal.copy_(diagonal.round())  # 1 or 0 exactly; rounding alone would leave 0.9999999
    return np.asarray(matrix.cpu().numpy())


@dataclass(frozen=True)
class Pair:
    """Two different rows, and their cosine."""

    first: int
    second: int
    cosine: float


@dataclass(frozen=True)
class Similarity:
    """What a matrix of cosines shows; of a square one, its entries off the diagonal, of another all.

    Attributes:
        mean, std, max: over the finite entries; NaN if there are none.
        pairs: the most similar pairs, the most similar first.
        not_finite: how many entries are not finite, and left out.
    """

    mean: float
    std: float
    max: float
    pairs: tuple[Pair, ...]
    not_finite: int

    def as_data(self) -> dict[str, Any]:
        """Return the numbers by name."""
        pairs = [[pair.first, pair.second, pair.cosine] for pair in self.pairs]
        return {"mean": self.mean, "std": self.std, "max": self.max, "pairs": pairs, "not_finite": self.not_finite}


def similarity_of(matrix: Array, *, square: bool, absolute: bool = False) -> Similarity:
    """Return the statistics of a matrix of cosines.

    Args:
        matrix: [D, E].
        square: rows and columns are the same features, so that (i, j) and (j, i) are one pair and (i, i) is none.
        absolute: of the absolute values.
    """
    values = np.abs(matrix) if absolute else matrix
    if square:
        count = len(values)
        total = count * (count - 1)
        upper = np.triu_indices(count, 1)
        entries = values[upper]
        rows, columns = upper
    else:
        entries = values.reshape(-1)
        total = entries.size
        rows, columns = np.unravel_index(np.arange(entries.size), values.shape)
    finite = np.isfinite(entries)
    if not finite.any():
        return Similarity(float("nan"), float("nan"), float("nan"), (), total)
    chosen = entries[finite]
    where = np.flatnonzero(finite)
    size = min(MOST_SIMILAR, len(chosen))
    top = np.argpartition(chosen, len(chosen) - size)[-size:]
    order = where[top[np.argsort(-chosen[top], kind="stable")]]
    pairs = tuple(Pair(int(rows[i]), int(columns[i]), float(matrix[rows[i], columns[i]])) for i in order)
    missing = int((~finite).sum()) * (2 if square else 1)
    return Similarity(
        float(chosen.mean(dtype=np.float64)), float(chosen.std(dtype=np.float64)), float(chosen.max()), pairs, missing
    )
