"""Cosine similarity of features: the matrix, and the numbers that say what it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.errors import TdbError
from tdb.results import Array

if TYPE_CHECKING:
    from torch import Tensor

MOST_SIMILAR = 3
BLOCK = 512
MOST_COSINES = 2**30  # 4 GB, which are copied once or twice on the way to a figure


def unit_rows(rows: Tensor) -> Tensor:
    """Return the rows [D, F] divided by their L2 norms; a row of zeros, or of nothing, stays one."""
    rows = rows.float()
    if not rows.shape[1]:
        return rows
    # Scaled by the largest entry first: in float32 the squares of entries below 1e-19 or above 1e19 are lost.
    scale = rows.abs().amax(dim=1, keepdim=True)
    rows = rows / scale.masked_fill(scale == 0, 1.0)
    norms = rows.norm(dim=1, keepdim=True)
    units: Tensor = rows / norms.masked_fill(norms == 0, 1.0)
    return units


def cosine_matrix(rows: Tensor, others: Tensor | None = None) -> Array:
    """Return the cosines of all pairs of rows, [D, D], or of rows with other rows, [D, E].

    The cosine of a row of zeros with anything, itself too, is 0. A row with NaN or an infinite entry gives NaN.

    Raises:
        TdbError: there are more than anybody has the memory for.
    """
    pairs = len(rows) * len(rows if others is None else others)
    if pairs > MOST_COSINES:
        raise TdbError(
            f"the cosines of {len(rows):,} features are {pairs:.1e} numbers, {4 * pairs / 1e9:,.0f} GB",
            "`watch` some of them: `pairs` compares those",
        )
    units = unit_rows(rows)
    if others is not None:
        return np.asarray((units @ unit_rows(others).T).clamp_(-1.0, 1.0).cpu().numpy())
    # Only the upper half is computed, in strips, and mirrored: the two halves of a product may differ in the last bit.
    matrix = units.new_empty(len(units), len(units))
    for start in range(0, len(units), BLOCK):
        strip = slice(start, start + BLOCK)
        across = (units[strip] @ units[start:].T).clamp_(-1.0, 1.0)
        corner = across[:, : across.shape[0]]
        corner.copy_(corner.triu() + corner.triu(1).T)
        matrix[strip, start:] = across
        matrix[start:, strip] = across.T
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
    values = np.abs(matrix) if absolute else matrix.copy()
    if square:
        np.fill_diagonal(values, np.nan)
    missing = values.size - int(np.isfinite(values).sum()) - (len(values) if square else 0)
    if values.size - missing - (len(values) if square else 0) == 0:
        return Similarity(float("nan"), float("nan"), float("nan"), (), missing)
    if missing:
        values[~np.isfinite(values)] = np.nan
    largest = _largest(values, square=square)
    pairs = tuple(Pair(i, j, float(matrix[i, j])) for i, j in largest)
    mean, std = float(np.nanmean(values, dtype=np.float64)), float(np.nanstd(values, dtype=np.float64))
    return Similarity(mean, std, float(values[largest[0]]), pairs, missing)


def _largest(values: Array, *, square: bool) -> list[tuple[int, int]]:
    """Return where the largest few entries stand, the largest first, each pair of a square matrix once.

    They stand in the rows with the largest maxima, so only those are looked through.
    """
    with np.errstate(invalid="ignore"):
        maxima = np.fmax.reduce(values, axis=1)
    rows = np.argsort(-np.nan_to_num(maxima, nan=-np.inf), kind="stable")[: 2 * MOST_SIMILAR]
    found: dict[tuple[int, int], float] = {}
    for row in map(int, rows):
        entries = np.nan_to_num(values[row], nan=-np.inf)
        for column in map(int, np.argsort(-entries, kind="stable")[:MOST_SIMILAR]):
            if np.isfinite(entries[column]):
                pair = (min(row, column), max(row, column)) if square else (row, column)
                found[pair] = float(entries[column])
    return sorted(found, key=lambda pair: (-found[pair], pair))[:MOST_SIMILAR]
