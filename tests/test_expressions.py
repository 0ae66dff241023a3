"""Expressions against Python's own eval, and every function against its definition written as loops."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tdb.errors import TdbError, UsageError
from tdb.expressions import (
    FUNCTIONS,
    Memory,
    UnknownNameError,
    compile_expression,
    evaluate_history,
    evaluate_rows,
    explain,
    involves_nan,
    none_true,
    short,
    truth,
)

pytestmark = [
    pytest.mark.filterwarnings("error"),  # no expression may put a warning on the user's terminal
    pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning"),
]
fuzz = settings(max_examples=2000, deadline=2000, database=None, suppress_health_check=list(HealthCheck))

WIN_RATE = np.array([0.0098, 0.2, 0.05, 0.7, 0.0, 0.33], dtype=np.float32)
FORCES = np.arange(24.0).reshape(4, 6) / 7 - 1.5
NAMESPACE: dict[str, Any] = {
    "step": 341,
    "epoch": 2,
    "loss": 2.1,
    "win_rate": WIN_RATE,
    "forces": FORCES,
    "alive": WIN_RATE > 0.01,
    "bcl_metrics.win_rate": WIN_RATE * 2,
}


def value_of(text: str, namespace: Mapping[str, Any] = NAMESPACE) -> Any:
    return compile_expression(text).evaluate(namespace, Memory())


def flat(x: Any) -> list[float]:
    return [float(entry) for entry in np.ravel(x)]


# ---- the language, against Python itself -----------------------------------------------------------------------------


# Multiples of 1/64: every sum is exact, so that no comparison hangs on the order of additions.
EXACT: dict[str, Any] = {
    "step": 341,
    "epoch": 2,
    "loss": 2.125,
    "win_rate": np.array([1, 13, 3, 45, 0, 21]) / 64,
    "forces": np.arange(24.0).reshape(4, 6) / 8 - 1.5,
    "alive": np.array([True, False, True, True, False, True]),
    "bcl_metrics.win_rate": np.arange(6) / 4,
}
PYTHON_NAMES = {
    **EXACT,
    "bcl_metrics": SimpleNamespace(win_rate=EXACT["bcl_metrics.win_rate"]),
    "feature": [SimpleNamespace(win_rate=rate) for rate in EXACT["win_rate"]],
    "__builtins__": {},
    "abs": abs,
    "min": lambda *values: min(values),
    "max": lambda *values: max(values),
    "mean": lambda x: math.fsum(flat(x)) / len(flat(x)),
    "sum": lambda x: math.fsum(flat(x)),
    "len": len,
}
numbers = st.one_of(
    st.integers(0, 20).map(str),
    st.floats(0, 5, allow_subnormal=False).map(lambda number: f"{number:.3f}"),
    st.sampled_from(["loss", "step", "epoch", "win_rate[0]", "win_rate[-1]", "forces[2, 3]", "forces[1][4]"]),
    st.sampled_from(["feature[4].win_rate", "bcl_metrics.win_rate[1]", "mean(win_rate)", "sum(forces[:, 2])"]),
    st.sampled_from(["len(win_rate)", "sum(win_rate[1:4])", "mean(forces[0, 1:])", "sum(alive)", "len(forces[0])"]),
)


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operator = st.sampled_from(["+", "-", "*", "<", "<=", ">", ">=", "==", "!="])
    division = st.sampled_from(["/", "//", "%"])  # never by zero: numpy's numbers allow it, Python's do not
    return st.one_of(
        st.tuples(inner, operator, inner).map(lambda parts: f"(({parts[0]}) {parts[1]} ({parts[2]})) + 0"),
        st.tuples(inner, division, inner).map("({0[0]}) {0[1]} (abs({0[2]}) + 1)".format),
        st.tuples(inner, inner, inner).map("(({0[0]}) < ({0[1]}) <= ({0[2]})) + 0".format),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map("(({0[0]}) > 1 {0[1]} ({0[2]}) == 0) + 0".format),
        st.tuples(st.sampled_from(["(not", "(-", "(+"]), inner).map("{0[0]} ({0[1]})) + 0".format),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda parts: "{}({}, {})".format(*parts)),
        inner.map(lambda part: f"abs({part})"),
    )


valid_expressions = st.recursive(numbers, combined, max_leaves=6)


@settings(max_examples=1500, deadline=2000, database=None, suppress_health_check=list(HealthCheck))
@given(valid_expressions)
def test_an_expression_means_what_python_means(text: str) -> None:
    expected = eval(text, dict(PYTHON_NAMES))
    np.testing.assert_allclose(float(value_of(text, EXACT)), float(expected), rtol=1e-6, atol=1e-9)


def test_only_the_names_that_are_reached_are_asked_for() -> None:
    class Asked(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            asked.append(name)
            return super().__getitem__(name)

    asked: list[str] = []
    condition = compile_expression("loss > 3 and mean(win_rate) < 1 or epoch == 2")
    assert condition.names == ("loss", "win_rate", "epoch")
    assert condition.functions == ("mean",)
    assert not condition.needs_history
    assert condition.evaluate(Asked(NAMESPACE)) is True
    assert asked == ["loss", "epoch"]


def test_dotted_names_are_keys_and_features_are_entries() -> None:
    assert compile_expression("bcl_metrics.win_rate[3] > feature[3].win_rate").names == (
        "bcl_metrics.win_rate",
        "win_rate",
    )
    assert value_of("bcl_metrics.win_rate[3] == 2 * feature[3].win_rate")


def test_the_entries_of_an_array_are_joined_inside_the_brackets_of_a_function() -> None:
    expected = sum(1 for rate in WIN_RATE if rate > 0.01 and not rate > 0.5)
    for text in (
        "sum(win_rate > 0.01 and not win_rate > 0.5)",
        "sum((win_rate > 0.01) & ~(win_rate > 0.5))",
        "sum(0.01 < win_rate <= 0.5)",
    ):
        assert value_of(text) == expected, text
    assert value_of("sum(win_rate < 0.01 or win_rate > 0.5)") == sum(1 for r in WIN_RATE if r < 0.01 or r > 0.5)
    assert value_of("win_rate[win_rate > 0.1 and alive]").tolist() == WIN_RATE[WIN_RATE > 0.1].tolist()
    assert value_of("win_rate[[0, 3]]").tolist() == WIN_RATE[[0, 3]].tolist()
    assert value_of("forces[..., 1:5:2]").tolist() == FORCES[..., 1:5:2].tolist()


# ---- functions of one step, against loops ----------------------------------------------------------------------------


def norm_by_loops(vector: list[float]) -> float:
    return math.sqrt(math.fsum(entry * entry for entry in vector))


def cosine_by_loops(a: list[float], b: list[float]) -> float:
    lengths = norm_by_loops(a) * norm_by_loops(b)
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


def median_by_sorting(x: Any) -> float:
    ordered = sorted(flat(x))
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def deviation_by_loops(x: Any) -> float:
    values = flat(x)
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


BY_LOOPS: dict[str, Callable[..., Any]] = {
    "abs(a)": lambda a, _b: [abs(row) for row in a],
    "min(a)": lambda a, _b: min(flat(a)),
    "max(a)": lambda a, _b: max(flat(a)),
    "min(a, b)": lambda a, b: [[min(pair) for pair in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)],
    "max(a, b, 0)": lambda a, b: [[max(x, y, 0) for x, y in zip(*r, strict=True)] for r in zip(a, b, strict=True)],
    "mean(a)": lambda a, _b: math.fsum(flat(a)) / a.size,
    "std(a)": lambda a, _b: deviation_by_loops(a),
    "median(a)": lambda a, _b: median_by_sorting(a),
    "sum(a)": lambda a, _b: math.fsum(flat(a)),
    "sum(a > b)": lambda a, b: [x > y for x, y in zip(flat(a), flat(b), strict=True)].count(True),
    "any(a > 2)": lambda a, _b: any(entry > 2 for entry in flat(a)),
    "all(a > -2)": lambda a, _b: all(entry > -2 for entry in flat(a)),
    "argmin(a)": lambda a, _b: flat(a).index(min(flat(a))),
    "argmax(a)": lambda a, _b: flat(a).index(max(flat(a))),
    "isnan(a / 0)": lambda a, _b: [[entry == 0 for entry in row] for row in a.tolist()],
    "isfinite(a / b)": lambda _a, b: [[entry != 0 for entry in row] for row in b.tolist()],
    "norm(a)": lambda a, _b: [norm_by_loops(row) for row in a.tolist()],
    "norm(a[0])": lambda a, _b: norm_by_loops(a.tolist()[0]),
    "norm(a[0, 0])": lambda a, _b: abs(a[0, 0]),
    "cos(a, b)": lambda a, b: [cosine_by_loops(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)],
    "cos(a, b[0])": lambda a, b: [cosine_by_loops(x, b.tolist()[0]) for x in a.tolist()],
    "len(a)": lambda a, _b: len(a.tolist()),
    "a ** 2": lambda a, _b: [[entry * entry for entry in row] for row in a.tolist()],
}


@pytest.mark.parametrize("text", BY_LOOPS)
@pytest.mark.parametrize("seed", range(5))
def test_functions_of_one_step(text: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, columns = random.integers(1, 6, 2)
    a, b = random.normal(0, 2, (2, rows, columns)).round(1)  # rounded, so that ties and zeros occur
    a[random.integers(rows)] *= seed % 2  # and rows of zeros
    a, b = a.astype(np.float32), b.astype(np.float32)
    expected = BY_LOOPS[text](a, b)
    np.testing.assert_allclose(value_of(text, {"a": a, "b": b}), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("any(nothing)", False),
        ("all(nothing)", True),
        ("sum(nothing)", 0),
        ("mean(nothing)", math.nan),
        ("min(nothing)", math.nan),
        ("median(nothing)", math.nan),
        ("any(x)", False),  # NaN is not true
        ("all(x)", False),
        ("mean(x)", math.nan),
        ("max(x)", math.nan),
        ("9**9**9", math.inf),
        ("(-8) ** 0.5", math.nan),
        ("~True", False),
    ],
)
def test_empty_arrays_nan_and_endless_powers(text: str, expected: float) -> None:
    namespace = {"nothing": np.zeros(0), "x": np.array([0, math.nan])}
    np.testing.assert_equal(float(value_of(text, namespace)), float(expected))


# ---- functions that look back, against the whole series --------------------------------------------------------------


def series(seed: int, steps: int = 400, features: int = 3) -> np.ndarray[Any, Any]:
    """A rounded random walk, so that values repeat and meet levels exactly, with NaN and infinities in between."""
    random = np.random.default_rng(seed)
    walk = np.cumsum(random.normal(0, 1, (steps, features)), axis=0).round(0)
    walk[random.random((steps, features)) < 0.03] = np.nan
    walk[random.random((steps, features)) < 0.02] = np.inf
    return walk


def previous_by_definition(x: list[float], t: int, n: int) -> float:
    return x[t - n] if t >= n else math.nan


def average_by_definition(x: list[float], t: int, n: int) -> float:
    finite = [value for value in x[: t + 1] if math.isfinite(value)]
    if not finite:
        return math.nan
    average = finite[0]
    for value in finite[1:]:
        average = (1 - 2 / (n + 1)) * average + 2 / (n + 1) * value
    return average


def crosses_by_definition(x: list[float], t: int, level: float) -> bool:
    return t > 0 and (x[t - 1] < level <= x[t] or x[t - 1] > level >= x[t])


def since_by_definition(x: list[float], t: int) -> float:
    return next((float(t - past) for past in range(t, -1, -1) if x[past] > 1), math.nan)


LOOKING_BACK: dict[str, Callable[[list[float], int], float]] = {
    "prev(x)": lambda x, t: previous_by_definition(x, t, 1),
    "prev(x, 7)": lambda x, t: previous_by_definition(x, t, 7),
    "prev(x, n=3) + prev(x, 1)": lambda x, t: previous_by_definition(x, t, 3) + previous_by_definition(x, t, 1),
    "delta(x)": lambda x, t: x[t] - previous_by_definition(x, t, 1),
    "delta(delta(x))": lambda x, t: x[t] - 2 * x[t - 1] + x[t - 2] if t >= 2 else math.nan,
    "ema(x, 5)": lambda x, t: average_by_definition(x, t, 5),
    "crosses(x, 2)": lambda x, t: crosses_by_definition(x, t, 2),
    "crosses(x, -1)": lambda x, t: crosses_by_definition(x, t, -1),
    "since(x > 1)": since_by_definition,
    "prev(x > 1)": lambda x, t: t > 0 and x[t - 1] > 1,
    "step > 200 and prev(x)": lambda x, t: t + 1 > 200 and previous_by_definition(x, t, 1),
}


@pytest.mark.parametrize("text", LOOKING_BACK)
def test_functions_that_look_back(text: str) -> None:
    walk = series(seed=len(text))
    expression, memory = compile_expression(text), Memory()
    columns = [[float(value) for value in column] for column in walk.T]
    single, of_first = compile_expression(text.replace("x", "x[0]")), Memory()
    for t, row in enumerate(walk):
        namespace = {"step": t + 1, "x": row}
        expected = [LOOKING_BACK[text](column, t) for column in columns]
        np.testing.assert_allclose(float(single.evaluate(namespace, of_first)), float(expected[0]), rtol=1e-9)
        if " and " not in text:
            np.testing.assert_allclose(np.asarray(expression.evaluate(namespace, memory), float), expected, rtol=1e-9)


def test_what_looks_back_owns_what_it_remembers() -> None:
    buffer = np.array([1.0, 2.0])
    expression, memory = compile_expression("prev(x)"), Memory()
    expression.evaluate({"step": 1, "x": buffer}, memory)
    buffer[:] = 5
    assert expression.evaluate({"step": 2, "x": buffer}, memory).tolist() == [1.0, 2.0]


def looked_at(text: str, looks: list[tuple[int, float]], memory: Memory) -> list[float]:
    expression = compile_expression(text)
    return [float(expression.evaluate({"step": step, "x": x}, memory)) for step, x in looks]


def test_a_second_look_at_the_same_step_replaces_the_first() -> None:
    looks = [(1, 10.0), (2, 20.0), (2, 20.0), (2, 25.0), (3, 30.0)]
    np.testing.assert_equal(looked_at("prev(x)", looks, Memory()), [math.nan, 10, 10, 10, 25])
    np.testing.assert_equal(looked_at("delta(x)", looks, Memory()), [math.nan, 10, 10, 15, 5])


def test_a_gap_or_a_jump_back_forgets() -> None:
    looks = [(1, 10.0), (2, 20.0), (4, 40.0), (5, 50.0), (3, 30.0), (4, 40.0)]
    np.testing.assert_equal(looked_at("prev(x)", looks, Memory()), [math.nan, 10, math.nan, 40, math.nan, 30])
    np.testing.assert_equal(looked_at("prev(x)", looks[:4], Memory(gaps=True)), [math.nan, 10, 20, 40])


def test_counted_boundaries_decide_what_the_next_step_is() -> None:
    memory, expression = Memory(), compile_expression("prev(x)")
    seen = []
    for boundary, step, x in [(1, 64, 1.0), (2, 128, 2.0), (4, 192, 3.0), (5, 192, 4.0), (6, 64, 5.0)]:
        memory.look(step, boundary)
        seen.append(float(expression.evaluate({"step": step, "x": x}, memory)))
    np.testing.assert_equal(seen, [math.nan, 1, math.nan, 3, math.nan])


# ---- truth, NaN, explanations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (np.False_, False),
        (np.True_, True),
        (0, False),
        (-2.5, True),
        (math.nan, False),
        (np.float32("nan"), False),
        (np.array(3), True),
        (np.array(math.nan), False),
    ],
)
def test_truth_of_one_value(value: Any, expected: bool) -> None:
    assert truth(value) is expected


def test_an_array_is_neither_true_nor_false() -> None:
    with pytest.raises(TdbError, match=re.escape("w gives an array of shape [3], not one truth value. Use any(")):
        truth(np.ones(3), "w")
    with pytest.raises(TdbError, match=re.escape("Use any(...) or all(...)")):
        value_of("win_rate < 0.1 and loss > 1")


conditions = st.recursive(
    st.sampled_from(
        [
            "loss < 1",
            "1 < loss < 9",
            "loss != 3",
            "a[0] > loss",
            "any(a < 0.5)",
            "all(a > 0)",
            "any(a > 0 and b > 0)",
            "all(a > 0 or b > 0)",
            "any((a > 0) | (b < 0))",
            "isnan(loss)",
            "b[1] >= 0",
            "mean(a) > 0",
        ]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: "({}) {} ({})".format(*parts)),
        inner.map(lambda part: f"not ({part})"),
    ),
    max_leaves=4,
)


@settings(max_examples=300, deadline=2000, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(conditions, min_size=1, max_size=5), st.integers(0, 10**6))
def test_conditions_asked_together_are_false_if_each_of_them_is(texts: list[str], seed: int) -> None:
    expressions, random = [compile_expression(text) for text in texts], np.random.default_rng(seed)
    together = none_true(expressions)
    for _ in range(5):
        namespace = {"loss": random.normal(0, 9), "a": random.normal(0, 3, 2), "b": random.normal(0, 3, 2)}
        alone = [each.evaluate(namespace) for each in expressions]
        assert together(namespace, None) is all(value is np.False_ for value in alone)


@pytest.mark.parametrize("text", ["1e400", "-0", "0x10", "((1))", "2 - 2", "True"])
def test_conditions_that_are_written_out_are_asked_without_a_warning(text: str) -> None:
    assert not none_true([compile_expression(text)])({}, None)


def test_conditions_asked_together_raise_what_one_of_them_raises() -> None:
    together = none_true([compile_expression("loss < 1"), compile_expression("missing < 1")])
    with pytest.raises(KeyError, match="missing"):
        together({"loss": np.float64(2)}, None)


holes = st.tuples(st.booleans(), st.lists(st.booleans(), min_size=4, max_size=4))


@settings(max_examples=400, deadline=2000, database=None, suppress_health_check=list(HealthCheck))
@given(conditions, holes, st.integers(0, 10**6))
def test_where_nan_is_to_blame_no_other_values_make_the_condition_true(text: str, nan: Any, seed: int) -> None:
    condition, random = compile_expression(text), np.random.default_rng(seed)
    seen = []
    for _ in range(30):
        loss, *entries = np.where([nan[0], *nan[1]], np.nan, random.normal(0, 3, 5))
        namespace = {"loss": loss, "a": np.array(entries[:2]), "b": np.array(entries[2:])}
        seen.append((involves_nan(condition, namespace), truth(condition.evaluate(namespace))))
    if seen[0][0]:
        assert not any(true for _, true in seen)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("loss < 1", True),
        ("loss != 1", False),
        ("isnan(loss)", False),
        ("loss < 1 or step > 3", False),
        ("loss < 1 or loss > 2", True),
        ("loss < 1 and step > 3", True),
        ("any(some < 1)", False),
        ("all(some < 1)", True),
        ("any(none < 1)", True),
        ("delta(step) > 1", False),  # no earlier step yet is not NaN in the data
        ("delta(loss) > 1", True),
        ("crosses(loss, 1)", True),
        ("since(loss < 1) > 3", False),
        ("loss", True),
        ("missing < 1", False),
    ],
)
def test_nan_that_keeps_a_condition_from_being_true(text: str, expected: bool) -> None:
    namespace = {"loss": math.nan, "step": 1, "some": np.array([math.nan, 2]), "none": np.full(2, math.nan)}
    assert involves_nan(compile_expression(text), namespace) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("win_rate[0] < 0.01", "win_rate[0] = 0.0098 < 0.01"),
        ("feature[0].win_rate<0.01", "feature[0].win_rate = 0.0098 < 0.01"),
        ("0 < loss <= 2 * loss", "0 < loss = 2.1 <= 2 * loss = 4.2"),
        ("loss > 2 and step == 341", "loss = 2.1 > 2 and step = 341 == 341"),
        ("loss > 3 or step > 300", "step = 341 > 300"),
        ("loss > 3 or step > 400", "loss = 2.1 > 3 or step = 341 > 400"),
        ("loss > 2 and step > 400", "step = 341 > 400"),
        ("not loss > 3", "not (loss = 2.1 > 3)"),
        ("any(win_rate < 0.01)", "any(win_rate < 0.01): 2 of 6, at [0] = 0.0098, [4] = 0"),
        ("any(win_rate > 0.01)", "any(win_rate > 0.01): 4 of 6, at [1] = 0.2, [2] = 0.05, [3] = 0.7, ..."),
        ("all(win_rate < 0.5)", "all(win_rate < 0.5): 5 of 6, not at [3] = 0.7"),
        ("all(alive | (win_rate < 1))", "all(alive | (win_rate < 1)): 6 of 6"),
        ("isfinite(loss)", "isfinite(loss): loss = 2.1"),
        ("crosses(loss, 1)", "crosses(loss, 1): loss = 2.1"),
        ("mean(win_rate) > 0.1", "mean(win_rate) = 0.215 > 0.1"),
        ("loss", "loss = 2.1"),
        ("forces[0, :2]", "forces[0, :2] = [-1.5, -1.357]"),
        ("forces", "forces = [4, 6] from -1.5 to 1.786"),
        ("loss < 2.10001", "loss = 2.1 < 2.10001"),
        ("1 < 2", "1 < 2"),
    ],
)
def test_an_explanation_shows_the_values_that_decided(text: str, expected: str) -> None:
    expression, memory = compile_expression(text), Memory()
    expression.evaluate(NAMESPACE, memory)
    assert explain(expression, NAMESPACE, memory) == expected


def test_of_many_values_the_finite_bounds_are_shown_and_how_many_are_not() -> None:
    assert short(np.array([[np.nan, 1.0, 2.0], [np.inf, 3.0, np.nan]])) == "[2, 3] from 1 to 3, 2 NaN, 1 inf"
    assert short(np.full(5, np.nan)) == "[5] 5 NaN"


def test_an_explanation_never_shows_different_values_as_equal() -> None:
    close = compile_expression("a < b")
    assert explain(close, {"a": 0.0099999, "b": 0.01}) == "a = 0.0099999 < b = 0.01"


def test_explaining_does_not_advance_what_looks_back() -> None:
    expression, memory = compile_expression("delta(loss) > 0.5"), Memory()
    for step, loss in enumerate([1.0, 1.2, 2.0], 1):
        expression.evaluate({"step": step, "loss": loss}, memory)
    for _ in range(2):
        assert explain(expression, {"step": 3, "loss": 2.0}, memory) == "delta(loss) = 0.8 > 0.5"


# ---- tables and history ----------------------------------------------------------------------------------------------

COLUMNS = {
    "win_rate": np.array([0.005, 0.2, math.nan, 0.03, 0.0]),
    "som_magnitude": np.array([2.0, 0.5, 3.0, math.nan, 1.5]),
    "feature_id": np.arange(5),
}
row_conditions = st.recursive(
    st.sampled_from(["win_rate < 0.01", "som_magnitude > 1", "0.001 < win_rate < 0.1", "feature_id % 2 == 0"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: "({}) {} ({})".format(*parts)),
        inner.map(lambda part: f"not ({part} > 0)"),
    ),
    max_leaves=5,
)


@settings(max_examples=300, deadline=2000, database=None, suppress_health_check=list(HealthCheck))
@given(row_conditions)
def test_rows_are_chosen_as_python_chooses_each_row(text: str) -> None:
    rows = [{name: column[row] for name, column in COLUMNS.items()} for row in range(5)]
    assert evaluate_rows(compile_expression(text), COLUMNS).tolist() == [bool(eval(text, {}, row)) for row in rows]


def test_a_function_takes_the_whole_column() -> None:
    assert (
        evaluate_rows(compile_expression("feature_id > mean(feature_id)"), COLUMNS).tolist() == [False] * 3 + [True] * 2
    )
    assert evaluate_rows(compile_expression("som_magnitude[0] > 1"), COLUMNS).all()
    assert evaluate_rows(compile_expression("win_rate"), COLUMNS).tolist() == [True, True, False, True, False]


def test_rows_that_cannot_be_chosen() -> None:
    with pytest.raises(UsageError, match=r"no column 'win_rat'\. Did you mean: win_rate"):
        evaluate_rows(compile_expression("win_rat < 1"), COLUMNS)
    with pytest.raises(UsageError, match=r"no column 'x'\. Columns: win_rate, som_magnitude, feature_id"):
        evaluate_rows(compile_expression("x < 1"), COLUMNS)
    with pytest.raises(UsageError, match=r"looks back over steps\. A table shows one step"):
        evaluate_rows(compile_expression("delta(win_rate) < 1"), {**COLUMNS, "step": np.array(3)})
    with pytest.raises(UsageError, match=r"gives \[2\] values for \[5\] rows"):
        evaluate_rows(compile_expression("win_rate[:2] < 1"), COLUMNS)
    with pytest.raises(TdbError, match="cannot be computed"):
        evaluate_rows(compile_expression("win_rate[9] < 1"), COLUMNS)


def test_history_is_searched_as_a_loop_over_its_steps_would() -> None:
    random = np.random.default_rng(4)
    steps = np.cumsum(random.integers(1, 4, 300))  # thinned: some steps are missing
    loss = np.cumsum(random.normal(0, 1, 300))
    rates = random.random((300, 4)).astype(np.float32)
    columns: dict[str, Any] = {"step": steps, "loss": loss, "win_rate": rates}

    found = evaluate_history(
        compile_expression("win_rate[2] < 0.3 and loss > prev(loss) or since(loss > 2) > 9"), columns
    )
    expected, last = [], math.nan
    for t in range(300):
        last = float(steps[t]) if loss[t] > 2 else last
        rises = t > 0 and loss[t] > loss[t - 1]
        expected.append(bool(rates[t, 2] < np.float32(0.3) and rises) or steps[t] - last > 9)
    assert found.tolist() == expected
    assert 0 < sum(expected) < 300
    assert evaluate_history(compile_expression("any(win_rate < 0.01)"), columns).tolist() == [
        any(rate < 0.01 for rate in row) for row in rates.tolist()
    ]


def test_history_without_the_metric_or_with_an_array_condition() -> None:
    columns: dict[str, Any] = {"loss": np.ones(3), "win_rate": np.ones((3, 2))}
    with pytest.raises(UsageError, match=r"no recorded metric 'los'\. Did you mean: loss"):
        evaluate_history(compile_expression("los < 1"), columns)
    with pytest.raises(TdbError, match="any"):
        evaluate_history(compile_expression("win_rate < 1"), columns)
    assert evaluate_history(compile_expression("1 < 2"), columns).tolist() == [True] * 3
    assert evaluate_history(compile_expression("loss < 2"), {"loss": np.ones(0)}).tolist() == []


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transcript",
    [
        """
        loss<
             ^ the expression ends too early
        """,
        """
        loss > 1 and
                    ^ the expression ends too early
        """,
        """
        max(loss
           ^ '(' was never closed
        """,
        """
        loss = 3
             ^ `=` assigns; to compare write ==
        """,
        """
        loss > 1 && step > 3
                 ^ two conditions are joined by `and`
        """,
        """
        meen(loss) > 1
        ^ no function 'meen'. Did you mean: mean, median
        """,
        """
        mean > 1
        ^ mean is a function: mean(x)
        """,
        """
        loss > 1 & step > 3
               ^ & and | bind tighter than comparisons: write (a < 1) & (b > 2), or a < 1 and b > 2
        """,
        """
        ema(loss) > 1
        ^ it is used as ema(x, n)
        """,
        """
        prev(loss, 0) > 1
                   ^ prev takes a whole number of steps, 1 to 1000
        """,
        """
        win_rate[1.5] < 1
                 ^ an index is a whole number, not 1.5
        """,
        """
        feature[3] < 1
        ^ feature takes an id and a metric: feature[31].win_rate
        """,
        """
        'text' == loss
        ^ text has no place in an expression, but as a key: scores["accuracy"]
        """,
        """
        any(w < 1 for w in win_rate)
           ^ a comprehension is not needed: any, all and sum work on whole arrays
        """,
        """
        größe + wen(3)
                ^ no function 'wen'. Did you mean: len
        """,
        """
        1if loss else 2
        ^ a number and a word need a blank between them
        """,
    ],
)
def test_an_error_is_the_line_and_a_caret_at_the_place(transcript: str) -> None:
    line, caret = transcript.strip("\n").rstrip().split("\n")
    with pytest.raises(UsageError) as error:
        compile_expression(line[8:])
    assert str(error.value) == f"{line[8:]}\n{caret[8:]}"


def test_the_line_is_shown_as_it_was_typed() -> None:
    with pytest.raises(UsageError) as error:
        compile_expression("  loss<", before="b when")
    assert str(error.value) == "b when  loss<\n             ^ the expression ends too early"


ESCAPES = [
    "__import__('os').system('true')",
    "().__class__.__bases__[0].__subclasses__()",
    "loss.__class__.__mro__",
    "loss.__init__",
    "win_rate.tofile(3)",
    "(loss + 1).real",
    "(1).__class__",
    "[c for c in ().__class__.__base__.__subclasses__()]",
    "(lambda: 0)()",
    "eval(1)",
    "exec(1)",
    "open(0)",
    "getattr(loss, 1)",
    "globals()",
    "mean.__globals__",
    "mean.__call__(win_rate)",
    "abs.__self__",
    "(x := loss)",
    "f'{loss.__class__}'",
    "'{0.__class__}'.format(loss)",
    "__builtins__",
    "_memory",
    "feature[0].__class__",
    "feature[loss.__class__].x",
    "win_rate[loss.__class__]",
    "win_rate[open(0)]",
    "any(*[1])",
    "any(**{})",
    "print(1)",
    "breakpoint()",
    "await loss",
    "yield",
]


@pytest.mark.parametrize("text", ESCAPES)
def test_nothing_but_numbers_is_reached(text: str) -> None:
    with pytest.raises(UsageError) as error:
        compile_expression(text)
    assert_is_caret_message(str(error.value))


@pytest.mark.parametrize("text", ["win_rate.tofile", "loss.f_back.f_globals", "(loss).real", "feature[0].tofile"])
def test_a_dot_is_part_of_a_name_and_reaches_no_attribute(text: str) -> None:
    with pytest.raises(UnknownNameError):
        value_of(text)


def test_the_names_of_the_generated_code_are_names_like_any_other() -> None:
    for name in ("namespace", "memory", "both", "power", "value_0"):
        with pytest.raises(UnknownNameError):
            value_of(f"{name} > 1 or prev(loss) < 1")
        assert value_of(f"{name} + prev({name} > 1)", {"step": 1, name: 4}) == 4


def assert_is_one_line(error: TdbError) -> None:
    assert "\n" not in str(error)


def assert_is_caret_message(message: str) -> None:
    line, _, under = message.partition("\n")
    assert line.isprintable()
    assert not under or re.fullmatch(r" *\^ \S.*", under), message
    assert len(under.partition("^")[0]) <= len(line)


# fmt: off
words = st.sampled_from([
    "loss", "win_rate", "step", "feature", "x9", "mean", "any", "prev", "ema", "since", "crosses", "and", "or", "not",
    "if", "else", "in", "is", "lambda", "for", "await", "yield", "True", "None", "0", "1", "31", "1e9", "0.01", "1j",
    "1_0", "0x", "9**9**9", "<", ">", "<=", "==", "!=", "=", ":=", "+", "-", "*", "**", "/", "//", "%", "@", "&", "|",
    "^", "~", "<<", "(", ")", "[", "]", "{", "}", ",", ".", "..", "...", ":", ";", "#", "!", "?", "$", "`", "\\", "->",
    "''", '"', "'a'", "f'", "\t", "\n", "\x00", "\x07", "é", "∑", "🙂", "\ud800", "__class__", "__import__",
    ".win_rate", "[31]", "(x)", "&&", " ", "  ",
])
spoiled = st.sampled_from([
    "({0}", "{0})", "{0}]", "{0} <", "{0} and", "({0}).__class__", "({0} + 1).real", "loss.__dict__[{0}]", "open({0})",
    "eval({0})", "getattr({0}, {0})", "type({0})", "[{0} for x in win_rate]", "{{{0}}}", "{{{0}: {0}}}", "[{0}]",
    "({0}, {0})", "lambda: {0}", "({0}) if 1 else 2", "(y := {0})", "'{0}'", "f'{{{0}}}'", "{0}; {0}", "{0} = 1",
    "{0}\n{0}", "{0}\x00", "({0}) in win_rate", "({0}) is True", "({0}) << 99", "({0}) @ win_rate", "({0}) ^ 1",
    "await {0}", "*{0}", "{0},", "win_rate(1)[{0}]", "loss.x()[{0}]", "({0}) + 1j", "({0})(1)", "feature({0})",
    "mean()[{0}]", "abs({0}, 1)", "prev({0}, 1.5)", "prev({0}, -1)", "ema({0}, loss)", "prev(loss, n={0}, m=3)",
    "win_rate[1.5]({0})", "win_rate[None][{0}]", "{0} 3x", "$ {0}", "{0} ?", "import {0}", "del {0}", "not",
    "any(*[{0}])", "all(**{0})", "None == {0}", "... + {0}", "3[{0}]", "({0}) < 1 & 2", "_x + {0}", "loss._y[{0}]",
])
too_deep = st.sampled_from(["-{0}", "not {0}", "abs({0})", "win_rate[{0}]", "{0}[0]", "({0}) + 1", "prev({0})"])
# fmt: on


def nested(layer: str, depth: int) -> str:
    before, after = layer.split("{0}")
    return before * depth + "loss" + after * depth


malformed = st.one_of(
    st.builds(str.format, spoiled, valid_expressions),
    st.builds(nested, too_deep, st.integers(60, 400)),
    st.integers(1001, 5000).map(lambda length: "1" * length),
)


@fuzz
@given(st.lists(words, max_size=14), st.sampled_from(["", " "]))
def test_any_line_is_an_expression_or_a_usage_error(parts: list[str], glue: str) -> None:
    try:
        expression = compile_expression(glue.join(parts))
    except UsageError as error:
        assert_is_caret_message(str(error))
        return
    try:
        value = expression.evaluate(NAMESPACE, Memory())
        explain(expression, NAMESPACE, Memory())
        truth(value)
    except TdbError as error:
        assert_is_one_line(error)


@fuzz
@given(malformed)
def test_what_has_no_place_is_always_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError) as error:
        compile_expression(text)
    assert_is_caret_message(str(error.value))


def test_integers_cannot_grow_without_end() -> None:
    tall = "*".join(["9223372036854775807"] * 40)
    assert value_of(f"1.0 * {tall} ** 999") == math.inf
    with pytest.raises(UsageError, match="too large"):
        compile_expression("99999999999999999999")


# ---- names and shapes ------------------------------------------------------------------------------------------------


def test_a_name_not_yet_known_is_accepted() -> None:
    condition = compile_expression("wnrate[3] < 1 and bcl_metrics.som > loss and qqq")
    assert condition.names == ("wnrate", "bcl_metrics.som", "loss", "qqq")
    with pytest.raises(UnknownNameError, match="no metric, key or variable 'wnrate' in this step"):
        condition.evaluate(NAMESPACE)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("win_rate[63] + win_rate[-64] < 1", None),
        ("win_rate[64] < 1", "         ^ win_rate has 64 entries: 0..63"),
        ("win_rate[-65] < 1", "         ^ win_rate has 64 entries: 0..63"),
        ("loss[0] < 1", "     ^ loss is a single number: it has no axis 0"),
        ("feature[99].win_rate < 1", "        ^ no feature 99: features are 0..63"),
        ("rank_score[5, 17] < 1", None),
        ("rank_score[5, 64] < 1", "              ^ axis 1 of rank_score has 64 entries: 0..63"),
        ("rank_score[0, 1, 2] < 1", "                 ^ rank_score has 2 axes: it has no axis 2"),
        ("any(rank_score[:, 99] < 1)", "                  ^ axis 1 of rank_score has 64 entries: 0..63"),
        ("any(win_rate[[3, 99]] < 1)", "             ^ win_rate has 64 entries: 0..63"),
        ("any(rank_score[..., 99] < 1)", None),
        ("win_rate[argmax(loss)] < 1", None),
        ("unknown[99] < 1", None),
    ],
)
def test_an_index_out_of_range_is_found_when_the_shape_is_known(text: str, reason: str | None) -> None:
    condition = compile_expression(text)
    shapes: dict[str, tuple[int, ...]] = {"win_rate": (64,), "rank_score": (128, 64), "loss": ()}
    if reason is None:
        condition.check_shapes(shapes)
        return
    with pytest.raises(UsageError) as error:
        condition.check_shapes(shapes)
    assert str(error.value) == f"{text}\n{reason}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("win_rate[99] < 1", "win_rate[99] < 1 cannot be computed: index 99 is out of bounds"),
        ("1 / (epoch - 2)", "1 / (epoch - 2) cannot be computed: division by zero"),
        ("forces + win_rate[:2]", "forces + win_rate[:2] cannot be computed: operands could not be broadcast"),
        ("missing < 1", "no metric, key or variable 'missing' in this step. See `keys` and `sources`"),
    ],
)
def test_what_fails_while_training_runs_is_one_line(text: str, reason: str) -> None:
    with pytest.raises(TdbError) as error:
        value_of(text)
    assert str(error.value).startswith(reason)
    assert "\n" not in str(error.value)


def test_looking_back_needs_a_memory() -> None:
    with pytest.raises(TdbError, match="looks back over steps"):
        compile_expression("prev(loss) < 1").evaluate(NAMESPACE)


def test_every_function_is_documented_as_it_is_called() -> None:
    def arguments() -> Iterator[tuple[str, str]]:
        for name, function in FUNCTIONS.items():
            call = (
                re.sub(r"=\w+", "", function.usage).replace("EXPR", "x > 1").replace("n)", "3)").replace("level", "1")
            )
            yield name, call

    namespace = {"step": 1, **dict.fromkeys("xab", np.array([1.0, 2.0]))}
    for name, call in arguments():
        assert call.startswith(f"{name}(")
        value_of(call, namespace)
