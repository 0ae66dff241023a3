"""Trajectories against weights that are all kept, and cosines taken one by one in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tdb.errors import UsageError
from tdb.history import Budget, History
from tdb.watches import Watches
from tests.histories import append, read_while_written

pytestmark = pytest.mark.filterwarnings("error")

METRICS = ("win_rate", "grad_magnitude", "som_magnitude", "feature_novelty")


def cosine(one: Any, other: Any) -> float:
    """The cosine of two rows, by loops in float64."""
    one, other = [float(x) for x in np.ravel(one)], [float(x) for x in np.ravel(other)]
    norms = sum(x * x for x in one) ** 0.5 * sum(x * x for x in other) ** 0.5
    return float("nan") if norms == 0 else sum(x * y for x, y in zip(one, other, strict=True)) / norms


def record(watches: Watches, step: int, rows: Any, names: tuple[str, ...] = (), block: Any = None) -> None:
    """Record one step, of the same tick."""
    watches.append(0, np.array([[step, step]]), rows[None], names, None if block is None else block[None])


class Run:
    """Training of [D, F] weights that walk at random, every step of them kept."""

    def __init__(self, watches: Watches, features: int = 64, inputs: int = 20, seed: int = 0) -> None:
        self.watches = watches
        self.random = np.random.default_rng(seed)
        self.weights = self.random.standard_normal((features, inputs)).astype(np.float32)
        self.kept = [self.weights.copy()]
        self.metrics: list[Any] = [None]

    def step(self, count: int = 1, names: tuple[str, ...] = METRICS) -> None:
        """Take steps, which are handed over together."""
        first = len(self.kept)
        blocks = self.random.random((count, len(names), len(self.weights)), np.float32)
        for block in blocks:
            self.weights += 0.1 * self.random.standard_normal(self.weights.shape).astype(np.float32)
            self.kept.append(self.weights.copy())
            self.metrics.append({name: block[row] for row, name in enumerate(names)})
        ids = self.watches.get_watched()
        steps = np.arange(first, first + count)
        rows = np.stack(self.kept[first:])[:, ids]
        self.watches.append(0, np.stack([steps * 2, steps], axis=1), rows, names, blocks[:, :, ids])

    def expected(self, feature: int, began: int, steps: range) -> list[dict[str, float]]:
        return [
            {"step": step, "weight_cos_to_init": cosine(self.kept[step][feature], self.kept[began][feature])}
            | {name: float(values[feature]) for name, values in self.metrics[step].items()}
            for step in steps
        ]


def assert_alike(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [set(row) for row in found] == [set(row) for row in expected]
    for row, known in zip(found, expected, strict=True):
        assert row == pytest.approx(known, abs=2e-6, nan_ok=True)


# ---- the plan's verification -----------------------------------------------------------------------------------------


def test_five_features_over_a_whole_run() -> None:
    watches = Watches()
    run = Run(watches)
    watches.add([0, 15, 31, 47, 63], run.weights)
    run.step(20)
    assert watches.get_watched() == [0, 15, 31, 47, 63]
    assert {feature: len(rows) for feature, rows in watches.get_trajectories().items()} == dict.fromkeys(
        [0, 15, 31, 47, 63], 20
    )
    run.step(1000)
    trajectories = watches.get_trajectories()
    for feature in (0, 15, 31, 47, 63):
        assert_alike(trajectories[feature], run.expected(feature, 0, range(1, 1021)))
    watches.remove([0])
    watches.add([10], run.weights)
    run.step(5)
    trajectories = watches.get_trajectories()
    assert_alike(trajectories[0], run.expected(0, 0, range(1, 1021)))
    assert_alike(trajectories[10], run.expected(10, 1020, range(1021, 1026)))
    assert_alike(trajectories[15], run.expected(15, 0, range(1, 1026)))


def test_pairs_say_when_two_features_become_alike() -> None:
    watches = Watches()
    run = Run(watches)
    watches.add([3, 17, 42], run.weights)
    run.step(50)
    steps, cosines = watches.pair(42, 3)
    assert steps.tolist() == list(range(1, 51))
    np.testing.assert_allclose(cosines, [cosine(run.kept[step][3], run.kept[step][42]) for step in steps], atol=2e-6)
    step, matrix = watches.cosines()
    assert step == 50
    rows = run.kept[50][[3, 17, 42]]
    np.testing.assert_allclose(matrix, [[cosine(one, other) for other in rows] for one in rows], atol=2e-6)
    assert watches.pairs() == [(3, 17), (3, 42), (17, 42)]


# ---- sets that change ------------------------------------------------------------------------------------------------


def test_a_feature_watched_again_goes_on_in_a_new_segment() -> None:
    watches = Watches()
    run = Run(watches)
    watches.add([5, 6], run.weights)
    run.step(3)
    watches.remove([5])
    run.step(3)
    watches.add([5], run.weights)
    run.step(2)
    trajectory = watches.trajectory(5)
    assert trajectory["step"].tolist() == [1, 2, 3, 7, 8]
    assert trajectory["segment"].tolist() == [1, 1, 1, 2, 2]
    assert_alike(watches.get_trajectories()[5], run.expected(5, 0, range(1, 4)) + run.expected(5, 6, range(7, 9)))
    assert watches.trajectory(6)["segment"].tolist() == [1] * 8
    assert watches.pair(5, 6)[0].tolist() == [1, 2, 3, 7, 8]


def test_replacing_the_set_leaves_those_that_stay_alone() -> None:
    watches = Watches()
    run = Run(watches)
    watches.replace([3, 17], run.weights)
    run.step(4)
    watches.replace([42, 17], run.weights)
    run.step(4)
    assert watches.get_watched() == [42, 17]
    assert_alike(watches.get_trajectories()[17], run.expected(17, 0, range(1, 9)))
    assert_alike(watches.get_trajectories()[42], run.expected(42, 4, range(5, 9)))
    assert_alike(watches.get_trajectories()[3], run.expected(3, 0, range(1, 5)))
    watches.replace([42, 17], run.weights)
    run.step(1)
    assert watches.trajectory(17)["segment"].tolist() == [1] * 9


def test_clearing_drops_trajectories_and_keeps_watches() -> None:
    watches = Watches()
    run = Run(watches)
    watches.add([1, 2], run.weights)
    run.step(5)
    watches.remove([1])
    watches.clear_trajectories()
    assert watches.get_watched() == [2]
    assert watches.get_trajectories() == {2: []}
    run.step(5)
    assert_alike(watches.get_trajectories()[2], run.expected(2, 0, range(6, 11)))


def test_steps_before_the_watch_began_and_steps_missed_are_followed_when_they_are_taken_again() -> None:
    watches = Watches()
    weights = np.arange(12, dtype=np.float32).reshape(3, 4) + 1
    watches.add([0, 2], weights)

    def take(*steps: int) -> None:
        for step in steps:
            record(watches, step, weights[[0, 2]] + step, ("win_rate",), np.full((1, 2), step / 100))

    take(11, 12, 13)
    take(6, 7)  # back to step 5, and on
    take(6, 7, 8)
    take(12, 13, 14, 20, 21)  # another branch, on from there
    take(9, 15, 16, 17)  # and on again where nothing was followed
    found = watches.trajectory(2)
    assert found["step"].tolist() == [6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 20, 21]
    np.testing.assert_allclose(found["win_rate"], found["step"] / 100, rtol=1e-6)
    expected = [cosine(weights[2] + step, weights[2]) for step in found["step"]]
    np.testing.assert_allclose(found["weight_cos_to_init"], expected, rtol=1e-6)
    assert watches.pair(0, 2)[0].tolist() == found["step"].tolist()
    assert found["segment"].tolist() == [1] * 13


operation = st.one_of(
    st.tuples(st.just("step"), st.integers(1, 40), st.booleans()),
    st.tuples(st.just("add"), st.lists(st.integers(0, 5), max_size=3)),
    st.tuples(st.just("remove"), st.integers(0, 5)),
    st.tuples(st.just("replace"), st.lists(st.integers(0, 5), max_size=4)),
    st.tuples(st.just("clear")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(operation, max_size=14))
def test_any_session_gives_the_trajectories_of_a_list_of_dicts(operations: list[tuple[Any, ...]]) -> None:
    watches = Watches()
    run = Run(watches, features=6, inputs=5)
    initial: dict[int, Any] = {}
    rows: dict[int, list[dict[str, Any]]] = {}
    for kind, *details in operations:
        if kind == "step":
            for _ in range(details[0]):
                run.step(names=METRICS if details[1] else METRICS[:2])
                for feature, began in initial.items():
                    known = {"step": len(run.kept) - 1, "weight_cos_to_init": cosine(run.weights[feature], began)}
                    rows[feature].append(known | {name: row[feature] for name, row in run.metrics[-1].items()})
        elif kind == "clear":
            watches.clear_trajectories()
            rows = {feature: [] for feature in initial}
        elif kind == "remove":
            if details[0] in initial:
                watches.remove(details)
                del initial[details[0]]
        else:
            ids = details[0]
            getattr(watches, kind)(ids, run.weights)
            new = {feature: initial.get(feature, run.weights[feature].copy()) for feature in ids}
            initial = initial | new if kind == "add" else new
            for feature in initial:
                rows.setdefault(feature, [])
    assert watches.get_watched() == list(initial)
    names = watches.metric_names()
    found = watches.get_trajectories()
    assert sorted(found) == sorted(rows)
    for feature, expected in rows.items():
        complete = [{name: row.get(name, float("nan")) for name in ("step", *names)} for row in expected]
        assert_alike(found[feature], complete)


# ---- what rows may be ------------------------------------------------------------------------------------------------


def test_a_row_of_zeros_has_no_cosine() -> None:
    watches = Watches()
    weights = np.zeros((3, 4), np.float32)
    weights[1:] = 1
    watches.add([0, 1, 2], weights)
    record(watches, 1, weights)
    assert np.isnan(watches.trajectory(0)["weight_cos_to_init"]).all()
    assert watches.trajectory(1)["weight_cos_to_init"].tolist() == [1]
    np.testing.assert_array_equal(watches.cosines()[1], [[np.nan] * 3, [np.nan, 1, 1], [np.nan, 1, 1]])


def test_weights_that_explode_have_no_cosine_either() -> None:
    watches = Watches()
    weights = np.ones((3, 40), np.float32)
    watches.add([0, 1, 2], weights)
    for step, size in enumerate((1e10, 1e30, np.inf, np.nan), 1):
        weights[0] = size
        record(watches, step, weights)
    np.testing.assert_allclose(watches.trajectory(0)["weight_cos_to_init"], [1, np.nan, np.nan, np.nan], atol=2e-6)
    np.testing.assert_allclose(watches.pair(0, 2)[1], [1, np.nan, np.nan, np.nan], atol=2e-6)
    np.testing.assert_allclose(watches.pair(1, 2)[1], [1, 1, 1, 1], atol=2e-6)
    np.testing.assert_allclose(watches.cosines()[1][1], [np.nan, 1, 1], atol=2e-6)


def test_rows_may_be_tensors_kernels_or_half_precision() -> None:
    kernels = torch.randn(8, 3, 3, 3, requires_grad=True)
    watches = Watches()
    watches.add([2, 5], kernels)
    later = (kernels + 0.5).bfloat16()
    record(watches, 1, later[[2, 5]])
    rows = later.float().detach().numpy()
    began = kernels.detach().numpy()
    assert watches.trajectory(5)["weight_cos_to_init"] == pytest.approx([cosine(rows[5], began[5])], abs=2e-6)
    assert watches.pair(2, 5)[1] == pytest.approx([cosine(rows[2], rows[5])], abs=2e-6)


def test_the_weights_of_the_beginning_are_owned() -> None:
    watches = Watches()
    weights = torch.randn(4, 3)
    before = weights.clone()
    watches.add([1], weights)
    weights.mul_(-1)
    record(watches, 1, weights[[1]])
    weights.zero_()
    assert watches.trajectory(1)["weight_cos_to_init"] == pytest.approx([cosine(-before[1], before[1])], abs=2e-6)


def test_metrics_may_be_missing() -> None:
    watches = Watches()
    weights = np.eye(3, dtype=np.float32)
    watches.add([0, 2], weights)
    record(watches, 1, weights[[0, 2]])
    record(watches, 2, weights[[0, 2]], ("a",), np.array([[1.0, 2.0]]))
    record(watches, 3, weights[[0, 2]], ("b", "a"), np.array([[3.0, 4.0], [5.0, 6.0]]))
    record(watches, 4, weights[[0, 2]])
    trajectory = watches.trajectory(2)
    np.testing.assert_array_equal(trajectory["a"], [np.nan, 2, 6, np.nan])
    np.testing.assert_array_equal(trajectory["b"], [np.nan, np.nan, 4, np.nan])


# ---- mistakes --------------------------------------------------------------------------------------------------------


def test_mistakes_are_explained_and_change_nothing() -> None:
    watches = Watches(Budget(64 * 2**10))
    weights = np.ones((64, 4), np.float32)
    with pytest.raises(UsageError, match=r"no feature is watched. Example: watch 0 15 31"):
        watches.cosines()
    record(watches, 0, weights)  # nothing is watched: nothing happens
    watches.add([3], weights)
    with pytest.raises(UsageError, match=r"no step was taken since the watch began"):
        watches.cosines()
    with pytest.raises(UsageError, match=r"no feature 64. Features are 0..63"):
        watches.add([4, 64], weights)
    with pytest.raises(UsageError, match=r"no feature -1. Features are 0..63"):
        watches.replace([-1], weights)
    with pytest.raises(UsageError, match=r"feature 9 is not watched. Watched: 3"):
        watches.remove([9, 3])
    with pytest.raises(UsageError, match=r"feature 9 was never watched. Trajectories: 3"):
        watches.trajectory(9)
    with pytest.raises(UsageError, match=r"features 3 and 9 were never watched together. Trajectories: 3"):
        watches.pair(3, 9)
    with pytest.raises(UsageError, match=r"64 watched features takes 16 KiB, more than history has room for"):
        watches.add(range(64), weights)
    with pytest.raises(UsageError, match=r"rows of shape \[2, 4\] for 1 watched features. Expected 1 x 4"):
        record(watches, 1, weights[:2])
    with pytest.raises(UsageError, match=r"a block of shape \[1, 2\] for 1 metrics of 1 watched features"):
        record(watches, 1, weights[:1], ("a",), np.ones((1, 2)))
    assert watches.get_watched() == [3]
    record(watches, 1, weights[[3]])
    assert watches.get_trajectories() == {3: [{"step": 1, "weight_cos_to_init": 1.0}]}


# ---- memory and threads ----------------------------------------------------------------------------------------------


def test_trajectories_share_the_budget_of_history_and_keep_its_stops() -> None:
    history = History(128 * 2**10)
    watches = Watches(history.budget)
    weights = np.eye(8, dtype=np.float32)
    watches.add([1, 5], weights)
    for step in range(1, 10_001):
        append(history, 0, step, step, 0, 0.0, 0.5, stopped=step % 997 == 0)
        weights[1, 0] = step / 1000
        record(watches, step, weights[[1, 5]], ("a",), np.full((1, 2), step))
    assert history.nbytes <= 128 * 2**10
    trajectory = watches.trajectory(1)
    assert set(range(997, 10_001, 997)) <= set(trajectory["step"].tolist())
    assert 500 < len(trajectory["step"]) < 10_000
    assert trajectory["step"][[0, -1]].tolist() == [1, 10_000]
    np.testing.assert_array_equal(trajectory["a"], trajectory["step"])
    expected = 1 / np.sqrt(1 + (trajectory["step"] / 1000) ** 2)
    np.testing.assert_allclose(trajectory["weight_cos_to_init"], expected, atol=1e-6)
    before = history.nbytes
    watches.clear_trajectories()
    assert history.nbytes < before


def test_readers_see_whole_rows_while_training_writes() -> None:
    watches = Watches(Budget(128 * 2**10))
    weights = np.zeros((4, 600), np.float32)
    weights[:, 0] = 1
    watches.add([0, 3], weights)
    rows = weights[[0, 3]].copy()

    def expected(steps: Any) -> Any:
        # The angle to the beginning grows with the step; a row that mixes two steps has another length and angle.
        return np.cos(steps % 1000 / 1000)

    def read(_number: int) -> None:
        trajectory = watches.trajectory(3)
        steps = trajectory["step"]
        assert (np.diff(steps) > 0).all()
        np.testing.assert_allclose(trajectory["weight_cos_to_init"], expected(steps), atol=1e-5)
        if "a" in trajectory:
            assert (trajectory["a"] == steps % 1000).all()
        steps, cosines = watches.pair(0, 3)
        np.testing.assert_allclose(cosines, expected(steps), atol=1e-5)

    def write(step: int) -> None:
        angle = step % 1000 / 1000
        rows[1, 0] = np.cos(angle)
        rows[1, 1:] = np.sin(angle) / np.sqrt(599)
        record(watches, step, rows, ("a",), np.full((1, 2), step % 1000, np.float32))

    read_while_written(read, write)
