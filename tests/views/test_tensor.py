"""A tensor as a line of statistics and its values."""

from __future__ import annotations

import math
import statistics as by_hand

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tdb.queries import summary_of
from tdb.results import TensorValue
from tdb.views import plain_text
from tdb.views.tensor import short_dtype, statistics


def shown(values: object, dtype: str = "torch.float32", *, full: bool = False) -> list[str]:
    return plain_text(TensorValue("", np.asarray(values), dtype, "cpu", full)).splitlines()


def test_a_small_tensor_shows_all_its_values() -> None:
    assert shown(np.float32([[-0.1, 0.2], [0.0, 0.1]])) == [
        "f32[2,2] cpu  min -0.1 mean 0.05 max 0.2 std 0.1291  nan 0 inf 0",
        "[[-0.1  0.2]",
        " [ 0.   0.1]]",
    ]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (np.int64(3), "torch.int64", "i64[] cpu  min 3 mean 3 max 3 std -"),
        (np.array([True, False, True]), "torch.bool", "bool[3] cpu  true 2 false 1"),
        (np.zeros((0, 3)), "torch.float64", "f64[0,3] cpu  empty"),
        (np.full(4, np.nan), "torch.float32", "f32[4] cpu  min - mean - max - std -  nan 4 inf 0"),
        (np.array([1.0, np.inf, 3.0]), "torch.bfloat16", "bf16[3] cpu  min 1 mean 2 max 3 std 1.414  nan 0 inf 1"),
        (
            np.array([3 + 4j, 0j]),
            "torch.complex64",
            "c64[2] cpu  abs_min 0 abs_mean 2.5 abs_max 5 abs_std 3.536  nan 0 inf 0",
        ),
        (np.float16([65504, 65504]), "half", "half[2] cpu  min 6.55e+04 mean 6.55e+04 max 6.55e+04 std 0  nan 0 inf 0"),
    ],
)
def test_every_kind_of_tensor_has_its_line(values: np.ndarray, dtype: str, expected: str) -> None:
    assert shown(values, dtype)[0] == expected


def test_a_large_tensor_shows_its_corners_unless_all_is_asked_for() -> None:
    values = np.arange(64 * 784.0).reshape(64, 784)
    assert sum(line.count("...") for line in shown(values)) == 7
    full = " ".join(shown(values, full=True)[1:]).replace("[", " ").replace("]", " ").split()
    assert [float(word) for word in full] == values.ravel().tolist()


@pytest.mark.parametrize(
    ("dtype", "short"), [("torch.float32", "f32"), ("bfloat16", "bf16"), ("torch.uint8", "u8"), ("torch.bool", "bool")]
)
def test_dtypes_have_short_names(dtype: str, short: str) -> None:
    assert short_dtype(dtype) == short


NUMBERS = st.floats(-1e6, 1e6) | st.just(math.nan) | st.just(math.inf)


@given(arrays.arrays(np.float64, st.integers(0, 30), elements=NUMBERS))
def test_statistics_are_those_of_the_finite_values(values: np.ndarray) -> None:
    finite = [value for value in values.tolist() if math.isfinite(value)]
    found = statistics(values)
    assert found["nan"] == sum(map(math.isnan, values.tolist()))
    assert found["inf"] == sum(map(math.isinf, values.tolist()))
    if not finite:
        assert found["mean"] is found["std"] is found["min"] is None
        return
    assert (found["min"], found["max"]) == (min(finite), max(finite))
    assert found["mean"] == pytest.approx(by_hand.fmean(finite), abs=1e-9)
    assert found["std"] == (None if len(finite) == 1 else pytest.approx(by_hand.stdev(finite), abs=1e-7))


@pytest.mark.parametrize("values", [np.array([1.0, 2.0, 4.0]), np.array([1, 2, 4]), np.array([1 + 1j, 2j])])
def test_a_table_has_the_standard_deviation_of_the_line(values: np.ndarray) -> None:
    line = statistics(values)
    assert summary_of(values)["std"] == line.get("std", line.get("abs_std"))
