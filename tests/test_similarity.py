"""Cosine similarity, against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tdb.errors import TdbError
from tdb.similarity import cosine_matrix, similarity_of


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**31), st.sampled_from([1.0, 1e-30, 1e30]))
@settings(max_examples=100, deadline=None)
def test_a_matrix_of_cosines_is_its_definition(rows: int, width: int, seed: int, scale: float) -> None:
    weights = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) * scale
    weights[seed % rows] = 0 if seed % 3 == 0 else weights[seed % rows]
    matrix = cosine_matrix(weights)
    exact = weights.double().numpy()
    for i in range(rows):
        for j in range(rows):
            product = math.sqrt((exact[i] ** 2).sum()) * math.sqrt((exact[j] ** 2).sum())
            assert matrix[i, j] == pytest.approx((exact[i] * exact[j]).sum() / product if product else 0.0, abs=1e-5)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(np.diag(matrix), (np.abs(exact).max(axis=1) > 0).astype(np.float32))


def test_more_features_than_memory_has_room_for_are_refused_before_it_is_asked_for() -> None:
    features = torch.ones(1, 1).expand(100_000, 1)
    with pytest.raises(TdbError, match=r"of 100,000 features are 1.0e\+10 numbers, 40 GB. `watch` some of them"):
        cosine_matrix(features)
    assert cosine_matrix(features, features[:2]).shape == (100_000, 2)


def test_what_is_not_finite_gives_nan_and_is_counted() -> None:
    weights = torch.randn(5, 4)
    weights[2, 1] = float("nan")
    weights[4, 0] = float("inf")
    matrix = cosine_matrix(weights)
    assert np.isnan(matrix[2]).all()
    assert np.isnan(matrix[4]).all()
    similarity = similarity_of(matrix, square=True)
    assert similarity.not_finite == 20 - 6
    assert similarity.mean == pytest.approx(np.mean([matrix[0, 1], matrix[0, 3], matrix[1, 3]]), abs=1e-6)


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 2**31), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_the_statistics_are_those_of_the_entries(rows: int, columns: int, seed: int, square: bool, gaps: bool) -> None:
    rng = np.random.default_rng(seed)
    columns = rows if square else columns
    matrix = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    if square:
        matrix = (matrix + matrix.T) / 2
        np.fill_diagonal(matrix, 1)
    if gaps:
        gap = rng.integers(min(rows, columns))
        matrix[gap] = np.nan
        if square:
            matrix[:, gap] = np.nan
    pairs = [(i, j) for i in range(rows) for j in range(columns) if not square or i < j]
    entries = {pair: float(matrix[pair]) for pair in pairs if np.isfinite(matrix[pair])}
    found = similarity_of(matrix, square=square)
    if not entries:
        assert math.isnan(found.mean)
        return
    values = list(entries.values())
    assert found.mean == pytest.approx(np.mean(values), abs=1e-6)
    assert found.std == pytest.approx(np.std(values), abs=1e-6)
    assert found.max == pytest.approx(max(entries.values()), abs=1e-7)
    expected = sorted(entries.values(), reverse=True)[:3]
    assert [pair.cosine for pair in found.pairs] == pytest.approx(expected, abs=1e-7)
