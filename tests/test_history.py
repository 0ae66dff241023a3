"""History against a list of dicts that forgets nothing."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tdb.errors import UsageError
from tdb.history import History, Span
from tests.histories import append, read_while_written

pytestmark = pytest.mark.filterwarnings("error")

SMALLEST = 64 * 2**10
MIB = 2**20


def values_at(tick: int, metric: int, size: int) -> np.ndarray[Any, Any]:
    """Values that name their own tick, metric and feature, exact in float32."""
    return (tick % 4096 * 1000 + metric * 100 + np.arange(size) % 100).astype(np.float32)


def filled(steps: int, budget: int = 256 * MIB, stops: tuple[int, ...] = (), size: int = 64, every: int = 1) -> History:
    """A history of `steps` steps whose loss is 1 / step."""
    history = History(budget)
    for step in range(1, steps + 1):
        metrics = {"win_rate": values_at(step, 0, size), "novelty": values_at(step, 1, size)}
        append(history, 0, step, step, 1, step / 8, 1 / step, metrics if step % every == 0 else None, step in stops)
    return history


# ---- answers ---------------------------------------------------------------------------------------------------------


def test_a_run_is_remembered_with_its_steps() -> None:
    history = filled(30, every=10)
    steps, losses = history.loss()
    assert steps.tolist() == list(range(1, 31))
    assert losses.tolist() == [1 / step for step in range(1, 31)]
    steps, values = history.metric("win_rate")
    assert steps.tolist() == [10, 20, 30]
    assert values.shape == (3, 64)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values[1], values_at(20, 0, 64))


def test_parts_of_a_run_can_be_asked_for() -> None:
    history = filled(30, every=10)
    assert history.loss(5, 7)[0].tolist() == [5, 6, 7]
    assert history.metric("novelty", first=15)[0].tolist() == [20, 30]
    assert history.last(3)["step"].tolist() == [28, 29, 30]
    assert history.last(99)["step"].tolist() == list(range(1, 31))
    assert history.last(0)["step"].tolist() == []
    assert {name: values.tolist() for name, values in history.range(2, 3).items()} == {
        "tick": [2, 3],
        "step": [2, 3],
        "wall_time": [2 / 8, 3 / 8],
        "loss": [1 / 2, 1 / 3],
        "timeline": [0, 0],
        "epoch": [1, 1],
    }


def test_one_step_can_be_asked_for() -> None:
    history = filled(20, every=10, stops=(10,))
    row = history.at(10)
    assert (row["step"], row["loss"], row["mark"]) == (10, 1 / 10, "stop")
    np.testing.assert_array_equal(row["novelty"], values_at(10, 1, 64))
    assert "novelty" not in history.at(11)
    with pytest.raises(UsageError, match=r"step 21 is not in history. Recorded nearby: 20$"):
        history.at(21)


def test_an_empty_history_answers_too() -> None:
    history = History()
    assert history.loss()[0].shape == (0,)
    assert history.range()["epoch"].shape == (0,)
    assert history.density() == []
    assert history.marks() == {}
    with pytest.raises(UsageError, match=r"step 1 is not in history. It is empty"):
        history.at(1)


def test_an_unknown_metric_is_named_with_its_neighbours() -> None:
    history = filled(1)
    with pytest.raises(UsageError, match=r"no metric 'win_rat' in history. Did you mean: win_rate"):
        history.metric("win_rat")
    with pytest.raises(UsageError, match=r"no metric 'x' in history. Recorded: win_rate, novelty"):
        history.metric("x")
    with pytest.raises(UsageError, match=r"no metric 'win_rate' of decoder.0 in history. Recorded: none"):
        history.metric("win_rate", "decoder.0")


def test_what_is_returned_is_owned() -> None:
    history = filled(3)
    history.loss()[1][:] = -1
    history.metric("win_rate")[1][:] = -1
    assert history.loss()[1].min() > 0
    assert history.metric("win_rate")[1].min() >= 0


@pytest.mark.parametrize(
    ("loss", "stored"),
    [
        (0.25, 0.25),
        (3, 3.0),
        (None, np.nan),
        (np.float32(0.5), 0.5),
        (np.array([0.5]), 0.5),
        (torch.tensor(1.5, requires_grad=True) * 2, 3.0),
        (torch.tensor([0.5], dtype=torch.bfloat16), 0.5),
        (torch.ones(2), np.nan),
    ],
)
def test_a_loss_may_be_a_number_a_tensor_or_absent(loss: Any, stored: float) -> None:
    history = History()
    append(history, 0, 1, 1, None, 0.0, loss)
    np.testing.assert_array_equal(history.loss()[1], [stored])
    assert history.range()["epoch"].tolist() == [-1]


class Elsewhere(torch.Tensor):
    """A tensor that says it is not in host memory, and counts how often it is fetched."""

    fetched = 0
    is_cpu = False

    def cpu(self, *args: Any, **options: Any) -> torch.Tensor:
        Elsewhere.fetched += 1
        return super().cpu(*args, **options)

    def item(self) -> Any:
        Elsewhere.fetched += 1
        return super().item()


def test_a_loss_on_a_device_is_fetched_when_it_is_read_not_when_it_is_recorded() -> None:
    history = History(SMALLEST)
    buffer = torch.zeros(()).as_subclass(Elsewhere)
    Elsewhere.fetched = 0
    for step in range(1, 17):  # the first chunk
        buffer.fill_(1 / step)  # the loop writes every loss into the same memory, as CUDA graphs do
        append(history, 0, step, step, 1, 0.0, 7.0 if step == 5 else buffer)
    assert Elsewhere.fetched == 0
    expected = [7.0 if step == 5 else float(np.float32(1 / step)) for step in range(1, 17)]
    assert history.loss()[1].tolist() == expected
    assert Elsewhere.fetched == 1
    for step in range(17, 400):
        buffer.fill_(1 / step)
        append(history, 0, step, step, 1, 0.0, buffer)
    assert Elsewhere.fetched < 20  # once a chunk
    steps, losses = history.loss()
    expected = [7.0 if step == 5 else float(np.float32(1 / step)) for step in steps]
    assert losses.tolist() == expected


def test_a_handful_of_steps_is_recorded_as_one_step_after_the_other() -> None:
    losses = [0.5, None, 3, torch.tensor(0.25), torch.full((), 0.125).as_subclass(Elsewhere), "high", 2.0**200]
    boundaries = [
        (2 * step, step, None if step == 3 else 7, loss, step / 2) for step, loss in enumerate(losses * 20, 1)
    ]
    together, apart = History(SMALLEST), History(SMALLEST)
    together.append_steps(1, boundaries)
    for tick, step, epoch, loss, wall_time in boundaries:
        append(apart, 1, tick, step, epoch, wall_time, loss)
    for name, values in together.range().items():
        np.testing.assert_array_equal(values, apart.range()[name])
    assert together.loss()[1][:7].tolist() == pytest.approx(
        [0.5, np.nan, 3, 0.25, 0.125, np.nan, 2.0**200], nan_ok=True
    )
    assert together.newest == apart.newest == (280, 140)


# ---- metrics that come and go ----------------------------------------------------------------------------------------


def test_a_metric_that_comes_later_is_unknown_before_and_one_that_goes_after() -> None:
    history = History()
    ones = np.ones(3)
    append(history, 0, 1, 1, 0, 0.0, 0.5, {"a": ones, "b": ones * 2})
    append(history, 0, 2, 2, 0, 0.0, 0.5, {"c": ones * 3, "a": ones * 4})
    append(history, 0, 3, 3, 0, 0.0, 0.5, {"a": ones * 5, "b": ones * 6})
    assert history.metric_names() == ["a", "b", "c"]
    assert history.metric("a")[1][:, 0].tolist() == [1, 4, 5]
    np.testing.assert_array_equal(history.metric("b")[1][:, 1], [2, np.nan, 6])
    np.testing.assert_array_equal(history.metric("c")[1][:, 2], [np.nan, 3, np.nan])


def test_each_focused_layer_keeps_its_metrics() -> None:
    history = History()
    history.focus("encoder.0")
    append(history, 0, 1, 1, 0, 0.0, 0.5, {"norm": np.ones(4)})
    history.focus("decoder.0")
    append(history, 0, 2, 2, 0, 0.0, 0.5, {"norm": np.full(2, 7.0)})
    history.focus("encoder.0")
    append(history, 0, 3, 3, 0, 0.0, 0.5, {"norm": np.full(4, 2.0)})
    assert history.layers() == ["encoder.0", "decoder.0"]
    assert history.metric("norm")[1][:, 0].tolist() == [1, 2]
    assert history.metric("norm", "decoder.0")[0].tolist() == [2]
    assert history.metric("norm", "decoder.0")[1].tolist() == [[7, 7]]


def test_a_layer_that_changes_its_size_begins_anew_under_another_name() -> None:
    history = History()
    history.focus("fc")
    for step, size in enumerate((4, 4, 2, 2), 1):
        append(history, 0, step, step, 0, 0.0, 0.5, {"norm": np.full(size, float(step))})
    assert history.layers() == ["fc", "fc (2 features)"]
    assert history.metric("norm", "fc")[0].tolist() == [1, 2]
    assert history.metric("norm")[0].tolist() == [3, 4]


def test_metrics_that_come_together_are_those_that_come_one_by_one() -> None:
    one_by_one, together = History(), History()
    names = ("a", "b", "c")
    blocks = np.random.default_rng(0).random((39, 3, 5), np.float32)
    for step, block in enumerate(blocks, 1):
        append(one_by_one, 0, step, step, 0, 0.0, 0.5, dict(zip(names, block, strict=True)))
    together.append_steps(0, [(step, step, 0, 0.5, 0.0) for step in range(1, 40)])
    together.append_metrics(0, np.array([range(1, 40)] * 2).T, names, blocks)
    for number, name in enumerate(names):
        np.testing.assert_array_equal(together.metric(name)[1], blocks[:, number])
        np.testing.assert_array_equal(one_by_one.metric(name)[1], blocks[:, number])


def test_a_timeline_is_asked_for_by_its_number_and_the_newest_is_the_default() -> None:
    history = History()
    for tick, (timeline, step) in enumerate([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3)], 1):
        append(history, timeline, tick, step, 0, 0.0, float(tick), {"a": np.full(2, float(tick))}, stopped=step == 2)
    assert history.loss()[1].tolist() == [4, 5]
    assert history.loss(timeline=0)[1].tolist() == [1, 2, 3]
    assert history.metric("a", timeline=0)[1][:, 0].tolist() == [1, 2, 3]
    assert history.at(2)["tick"] == 4
    assert history.marks() == history.marks(0) == {2: "stop"}
    assert history.tables()["steps"]["tick"].tolist() == [1, 2, 3, 4, 5]


# ---- thinning --------------------------------------------------------------------------------------------------------

operation = st.one_of(
    st.tuples(st.just("steps"), st.integers(1, 120), st.booleans()),
    st.tuples(st.just("stop")),
    st.tuples(st.just("mark"), st.integers(0, 30)),
    st.tuples(st.just("focus"), st.sampled_from(["one", "two"])),
    st.tuples(st.just("metrics"), st.sampled_from([("a",), ("a", "b"), ("b", "c"), ("c", "a")])),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(operation, min_size=4, max_size=30))
def test_whatever_is_recorded_is_what_was_appended(operations: list[tuple[Any, ...]]) -> None:
    history = History(SMALLEST)
    history.focus("one")
    everything: list[dict[str, Any]] = []
    layer, names = "one", ("a",)
    marks: dict[int, str] = {}
    size = {"one": 64, "two": 48}

    def take(with_metrics: bool, stopped: bool = False) -> None:
        step = len(everything) + 1
        metrics = {name: values_at(step, ord(name) - ord("a"), size[layer]) for name in names if with_metrics}
        everything.append({"step": step, "loss": 1 / step, "layer": layer if with_metrics else "", "metrics": metrics})
        append(history, 0, step * 3, step, step // 9, step / 8, 1 / step, metrics, stopped)
        if stopped:
            marks[step] = "stop"

    for kind, *details in operations:
        if kind == "steps":
            for _ in range(details[0]):
                take(details[1])
        elif kind == "stop":
            take(True, stopped=True)
        elif kind == "mark":
            recorded = history.loss()[0]
            if len(recorded) > details[0]:
                step = int(recorded[-1 - details[0]])
                history.mark(step, f"breakpoint {details[0]}")
                marks[step] = f"breakpoint {details[0]}"
        elif kind == "focus":
            layer = details[0]
            history.focus(layer)
        else:
            names = details[0]

    assert history.nbytes <= SMALLEST
    assert history.marks() == marks
    columns = history.range()
    assert (np.diff(columns["tick"]) > 0).all()
    for step, tick, loss, epoch in zip(*(columns[name] for name in ("step", "tick", "loss", "epoch")), strict=True):
        assert (tick, loss, epoch) == (step * 3, everything[step - 1]["loss"], step // 9)
    assert set(marks) <= set(columns["step"].tolist())
    for where in history.layers():
        appended = [row["step"] for row in everything if row["layer"] == where]
        for name in history.metric_names(where):
            steps, values = history.metric(name, where)
            assert set(steps.tolist()) <= set(appended)
            assert set(marks).intersection(appended) <= set(steps.tolist())
            assert steps.tolist() == sorted(set(steps.tolist()))
            for step, row in zip(steps, values, strict=True):
                known = everything[step - 1]["metrics"].get(name, np.full(size[where], np.nan))
                np.testing.assert_array_equal(row, known)


def test_nothing_goes_while_there_is_room() -> None:
    history = filled(1000, 2 * MIB)
    assert history.loss()[0].tolist() == history.metric("win_rate")[0].tolist() == list(range(1, 1001))
    assert history.density("win_rate") == [Span(1, 1000, 1000)]


@pytest.mark.parametrize("steps", [400, 3000, 20_000])
def test_the_newer_half_stays_dense_and_the_older_evenly_spaced(steps: int) -> None:
    history = filled(steps, 256 * 2**10)
    recorded, _ = history.metric("win_rate")
    assert 0.75 <= history.nbytes / (256 * 2**10) <= 1
    assert recorded[0] == 1
    distances = np.diff(recorded)
    newer = recorded[len(recorded) // 2 + 1 :]
    assert (np.diff(newer) == 1).all()
    assert newer[-1] == steps
    # Thinned one more time than its neighbours, plus a seam; and nowhere a hole in which a run could disappear.
    assert distances.max() <= 8 * steps / len(recorded)
    quarters = [
        np.count_nonzero((recorded > low) & (recorded <= low + steps / 8)) for low in np.arange(0, 4) * steps / 8
    ]
    assert min(quarters) * 4 >= max(quarters)


def test_stops_are_never_thinned() -> None:
    stops = tuple(range(3, 20_000, 401))
    history = filled(20_000, 256 * 2**10, stops)
    assert set(stops) <= set(history.metric("win_rate")[0].tolist())
    assert set(stops) <= set(history.loss()[0].tolist())
    assert history.marks() == dict.fromkeys(stops, "stop")
    steps, values = history.metric("novelty")
    assert (np.diff(steps) > 0).all()
    for step, row in zip(steps, values, strict=True):
        np.testing.assert_array_equal(row, values_at(step, 1, 64))


def test_stops_that_fill_the_budget_are_thinned_in_their_turn() -> None:
    history = filled(3000, 128 * 2**10, tuple(range(1, 3001)))
    assert history.nbytes <= 128 * 2**10
    steps, values = history.metric("win_rate")
    assert steps[-1] == 3000
    assert len(steps) > 60
    assert np.diff(steps).max() <= 8 * 3000 / len(steps)
    for step, row in zip(steps, values, strict=True):
        np.testing.assert_array_equal(row, values_at(step, 0, 64))


def test_marks_outlive_what_cannot_give_way() -> None:
    history = History(SMALLEST)
    for step in range(1, 101):
        if step % 5 == 0:
            history.focus(f"layer {step}")  # a row each, of which none can go
        metrics = {"a": np.ones(1000)} if step % 5 == 0 else None
        append(history, 0, step, step, 0, 0.0, 0.5, metrics, stopped=step % 2 == 0)
    assert history.marks() == dict.fromkeys(range(2, 101, 2), "stop")


def test_density_tells_what_is_missing() -> None:
    history = filled(3000, 256 * 2**10)
    recorded = history.metric("win_rate")[0].tolist()
    missing = [(one, other) for one, other in itertools.pairwise(recorded) if other > one + 1]
    assert len(missing) > 10
    spans = history.density("win_rate")
    assert (spans[0].first, spans[-1].last, spans[-1].every) == (1, 3000, 1)
    assert sum(span.rows for span in spans) == len(recorded)
    for span in spans:
        inside = [step for step in recorded if span.first <= step <= span.last]
        assert len(inside) == span.rows
        assert span.every == round(float(np.diff(inside).mean()))


def test_a_span_says_how_densely_steps_are_recorded() -> None:
    history = History(SMALLEST)
    for step in range(1, 3001):
        append(history, 0, step, step, 0, 0.0, 0.5, stopped=step == 7)
    spans = history.density()
    assert len(spans) > 1
    assert str(spans[-1]) == f"every step from {spans[-1].first:,} to 3,000"
    assert str(Span(1, 1001, 101)) == "every 10th step from 1 to 1,001"
    assert str(Span(1, 43, 3)) == "every 21st step from 1 to 43"
    assert str(Span(1, 9, 9)) == "every step from 1 to 9"
    assert str(Span(257, 257, 1, halved=2)) == "step 257"


def test_a_smaller_budget_is_kept_at_once() -> None:
    history = filled(4000, 4 * MIB)
    assert history.nbytes > MIB
    history.budget.resize(128 * 2**10)
    assert history.nbytes <= 128 * 2**10
    assert history.loss()[0][-1] > 3900
    with pytest.raises(UsageError, match=r"a budget of 100 bytes holds no history. Give 64KiB or more"):
        history.budget.resize(100)
    with pytest.raises(UsageError, match="holds no history"):
        History(100)


def test_losses_do_not_give_way_in_vain_to_metrics_that_do_not_fit_any_more() -> None:
    history = History(64 * MIB)
    for step in range(1, 61):
        append(history, 0, step, step, 0, 0.0, 0.5, {"a": np.ones(100_000)})
        if step == 5:
            history.budget.resize(MIB)
    assert len(history.metric("a")[0]) < 5
    assert history.loss()[0].tolist() == list(range(1, 61))


def test_metrics_too_large_for_the_budget_are_left_out_and_that_is_said() -> None:
    history = History(SMALLEST)
    for step in range(1, 50):
        append(history, 0, step, step, 0, 0.0, 0.5, {"a": np.ones(100_000)})
    assert len(history.loss()[0]) == 49
    assert history.metric_names() == []
    with pytest.raises(UsageError, match=r"metrics are not recorded: one step of them takes 391 KiB"):
        history.metric("a")


def test_memory_stays_within_the_budget() -> None:
    names = tuple("abcdefghi")
    block = np.ones((9, 64), np.float32)
    budget = 8 * MIB
    tracemalloc.start()
    try:
        history = History(budget)
        for step in range(1, 30_001):
            history.append_metrics(0, np.array([[step, step]]), names, block[None])
            append(history, 0, step, step, 0, 0.0, 0.5)
            if step % 1000 == 0:
                history.mark(step, "stop")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(history) > len(history.metric("a")[0])
    assert history.nbytes <= budget
    assert peak <= 1.1 * budget


def test_memory_is_not_taken_before_it_is_needed() -> None:
    history = filled(10, size=8)
    assert history.nbytes < 10_000


# ---- threads ---------------------------------------------------------------------------------------------------------


def test_a_row_that_is_half_written_is_not_seen() -> None:
    history = History()
    seen: list[list[int]] = []

    class Slow:
        """A wall time that is still being worked out when others come to read."""

        def __float__(self) -> float:
            seen.append(history.loss()[0].tolist())
            return 0.5

    for step in (1, 2, 3):
        append(history, 0, step, step, 0, Slow(), 0.25)  # type: ignore[arg-type]
    assert seen == [[], [1], [1, 2]]


def test_readers_see_whole_rows_while_training_writes_and_thins() -> None:
    history = History(256 * 2**10)
    names = ("a", "b")
    seen = [0, 0]
    block = np.empty((2, 64), np.float32)

    def read(number: int) -> None:
        columns = history.range()
        steps = columns["step"]
        assert (columns["loss"] == steps / 4).all()
        assert (columns["wall_time"] == steps * 2.0).all()
        assert (np.diff(steps) > 0).all()
        newest = int(steps[-1]) if len(steps) else 0
        assert newest >= seen[number]
        seen[number] = newest
        if history.layers():
            steps, values = history.metric("b")
            assert (values == (steps % 4096)[:, None]).all()
            assert (np.diff(steps) > 0).all()
            assert set(history.marks()) <= set(history.loss()[0].tolist())
            history.density()

    def write(step: int) -> None:
        block[:] = step % 4096
        history.append_metrics(0, np.array([[step, step]]), names, block[None])
        append(history, 0, step, step, 0, step * 2.0, step / 4)
        if step % 500 == 0:
            history.mark(step, "stop")

    def is_thinned() -> bool:
        return bool((np.diff(history.metric("b")[0]) > 1).any())

    read_while_written(read, write, is_thinned)
    assert is_thinned()
