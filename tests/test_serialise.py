"""JSON gives back what went in, whatever the numbers; and it is one line of JSON that any parser takes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tdb.errors import UsageError
from tdb.results import (
    Curves,
    Facts,
    Histogram,
    Images,
    Matrix,
    Page,
    Profiles,
    Result,
    Scatter,
    Table,
    TensorValue,
    Text,
)
from tdb.serialise import dumps, to_array, to_json


def parsed(value: Any) -> Any:
    """What a strict JSON parser makes of a value."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    line = dumps(value)
    assert "\n" not in line
    assert line.isascii()
    return json.loads(line, parse_constant=refuse)


def number(value: Any) -> float:
    """A number of tdb's JSON: infinities and NaN are text."""
    return float({"Infinity": "inf", "-Infinity": "-inf", "NaN": "nan"}[value]) if isinstance(value, str) else value


KINDS = [np.float16, np.float32, np.float64, np.int8, np.int64, np.uint64, np.bool_]


@given(st.sampled_from(KINDS).flatmap(lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, min_side=0))))
def test_arrays_come_back_exactly(values: np.ndarray) -> None:
    flat = np.vectorize(number, otypes=[object])(np.array(parsed(values), dtype=object)) if values.size else []
    np.testing.assert_array_equal(np.array(flat, dtype=values.dtype).reshape(values.shape), values)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
NESTED = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


def as_expected(value: Any) -> Any:
    """What must come back, by the plainest rules."""
    if isinstance(value, dict):
        return {key: as_expected(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_expected(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}[str(value)]
    return value


@given(NESTED)
def test_plain_values_come_back(value: Any) -> None:
    assert parsed(value) == as_expected(value)


class Color(Enum):
    RED = "red"


class Pair(NamedTuple):
    step: int
    loss: float


@dataclass
class Record:
    name: str
    value: float


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.float64("nan"), "NaN"),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (1 + 2j, {"real": 1.0, "imaginary": 2.0}),
        (np.array([1 + 2j]), [{"real": 1.0, "imaginary": 2.0}]),
        (np.array([]), []),
        (np.array([[1.0, -np.inf]]), [[1.0, "-Infinity"]]),
        (np.array(["a", None], dtype=object), ["a", None]),
        (Path("a/b"), "a/b"),
        ((1, 2), [1, 2]),
        (range(3), [0, 1, 2]),
        ({2, 1}, [1, 2]),
        ({1: "a", (2, 3): "b"}, {"1": "a", "(2, 3)": "b"}),
        (Pair(3, math.inf), {"step": 3, "loss": "Infinity"}),
        (Record("a", 0.5), {"name": "a", "value": 0.5}),
        (Color.RED, "red"),
        (b"bytes", "b'bytes'"),
    ],
)
def test_other_values_become_plain_ones(value: Any, expected: Any) -> None:
    assert parsed(value) == expected


def test_a_table_is_columns_rows_and_a_status_for_each_row() -> None:
    table = Table(
        {"id": np.array([3, 5]), "loss": np.float32([0.1, np.nan]), "name": ["a", "b"]},
        status=["dead", "winner"],
        summary={"mean": {"loss": float("nan")}},
        note="2 of 64 rows",
    )
    assert parsed(table) == {
        "columns": ["id", "loss", "name"],
        "rows": [[3, 0.10000000149011612, "a"], [5, "NaN", "b"]],
        "status": ["dead", "winner"],
        "summary": {"mean": {"loss": "NaN"}},
        "note": "2 of 64 rows",
    }


def test_a_tensor_is_shape_dtype_stats_and_values() -> None:
    tensor = TensorValue("w", np.float32([[1, 2], [3, np.nan]]), "torch.float32", "cpu")
    assert parsed(tensor) == {
        "name": "w",
        "shape": [2, 2],
        "dtype": "torch.float32",
        "device": "cpu",
        "stats": {"min": 1.0, "mean": 2.0, "max": 3.0, "std": 1.0, "nan": 1, "inf": 0},
        "values": [[1.0, 2.0], [3.0, "NaN"]],
    }


def test_pictures_are_their_data_and_their_caption() -> None:
    answer = parsed(Matrix(np.eye(2), caption="ones", row_ids=np.array([4, 2])))
    assert (answer["values"], answer["caption"], answer["row_ids"]) == ([[1, 0], [0, 1]], "ones", [4, 2])
    lines = parsed(Curves({"loss": (np.array([1, 2]), np.array([0.5, np.inf]))}, "loss"))["lines"]
    assert lines == {"loss": [[1, 2], [0.5, "Infinity"]]}
    assert parsed(Page([Histogram(np.array([1.0]), "h")]))["pictures"][0]["values"] == [1.0]


def test_a_result_is_its_data_or_else_its_parts() -> None:
    assert parsed(Result([Text("shown")], {"loss": np.float64(0.5)})) == {"loss": 0.5}
    assert parsed(Result([Facts({"step": np.int64(3)})])) == {"step": 3}
    assert parsed(Result([Text("a"), Text("b")])) == ["a", "b"]


def test_the_data_of_a_picture_is_one_array() -> None:
    images = np.arange(24.0).reshape(2, 3, 4)
    assert to_array(Images(images)) is images
    np.testing.assert_array_equal(to_array(Profiles(images[0])), images[0])
    points = to_array(Scatter(np.array([1.0, 2.0]), np.array([3.0, 4.0]), "x", "y", [7, 9], color=np.array([0.1, 0.2])))
    assert points.tolist() == [(7, 1.0, 3.0, 0.1), (9, 2.0, 4.0, 0.2)]
    assert points.dtype.names == ("id", "x", "y", "color")
    lines = Curves({"a": (np.array([1, 2]), np.array([0.5, 0.6])), "bc": (np.array([9]), np.array([0.7]))}, "y")
    assert to_array(lines).tolist() == [("a", 1, 0.5), ("a", 2, 0.6), ("bc", 9, 0.7)]
    assert len(to_array(Curves({}, "y"))) == 0
    assert to_array(Page([Matrix(np.eye(3)), Matrix(np.ones((3, 3)))])).shape == (2, 3, 3)
    with pytest.raises(UsageError, match="different shapes"):
        to_array(Page([Matrix(np.eye(3)), Matrix(np.eye(4))]))


def test_to_json_leaves_nothing_but_plain_values() -> None:
    found = to_json({"a": np.float32(1.5), 3: [np.arange(2), (Path("x"),)]})
    assert found == {"a": 1.5, "3": [[0, 1], ["x"]]}
    assert type(found["a"]) is float
    assert type(found["3"][0][0]) is int
