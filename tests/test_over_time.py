"""Questions over time, each against the same answer by loops over lists."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdb.errors import UsageError
from tdb.history import History
from tdb.over_time import (
    curves_table,
    feature_summary,
    find,
    gini,
    heat,
    loss_curve,
    pair_curves,
    pair_matrix,
    recorded,
    sparkline,
    sparkline_table,
    summary_page,
    top_share,
    trailing_mean,
    trajectory_curves,
)
from tdb.panel import StatusRule
from tdb.results import Curves
from tdb.views.number import printable
from tdb.watches import Watches
from tests.histories import append

pytestmark = pytest.mark.filterwarnings("error")

RULE = StatusRule("win_rate", dead_below=0.01, winner_above=0.05)


def a_run(steps: int = 60, features: int = 7, every: int = 1) -> tuple[History, list[dict[str, Any]]]:
    """A history, and the same as a list of dicts."""
    draw = random.Random(5)
    history = History()
    rows: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        win_rate = [draw.random() * 0.07 for _ in range(features)]
        row: dict[str, Any] = {"step": step, "loss": 1 / step, "win_rate": win_rate}
        metrics = {"win_rate": np.array(win_rate), "grad": np.array(win_rate) * 3 - 0.01}
        append(history, 0, step, step, 0, 0.0, 1 / step, metrics if step % every == 0 else None, stopped=step == 13)
        rows.append(row)
    return history, [row for row in rows if row["step"] % every == 0]


# ---- formulas --------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=40), st.integers(1, 50))
def test_the_trailing_mean_is_the_mean_of_the_last_values(values: list[float], window: int) -> None:
    expected = []
    for end in range(1, len(values) + 1):
        known = [value for value in values[max(0, end - window) : end] if math.isfinite(value)]
        expected.append(math.fsum(known) / len(known) if known else math.nan)
    scale = max((abs(value) for value in values if math.isfinite(value)), default=1.0)
    np.testing.assert_allclose(trailing_mean(np.array(values), window), expected, rtol=1e-12, atol=1e-13 * scale)


def test_a_spike_is_forgotten_when_it_has_left_the_window() -> None:
    losses = np.full(100, 0.1)
    losses[20] = 1e30
    smoothed = trailing_mean(losses, 10)
    np.testing.assert_allclose(np.delete(smoothed, range(20, 30)), 0.1, rtol=1e-12)
    np.testing.assert_allclose(smoothed[20:30], 1e29)


def gini_by_loops(values: list[float]) -> float:
    """BCL.md: 1 - 2 sum(cumsum(sorted wins)) / (n total) + 1/n."""
    running, sums = 0.0, []
    for value in sorted(values):
        running += value
        sums.append(running)
    return 1 - 2 * sum(sums) / (len(values) * sum(values)) + 1 / len(values)


@given(st.lists(st.lists(st.floats(1e-6, 1e3), min_size=3, max_size=3), min_size=1, max_size=12))
def test_gini_and_top_share_are_those_of_the_loops(rows: list[list[float]]) -> None:
    values = np.array(rows).T
    np.testing.assert_allclose(gini(values), [gini_by_loops(list(row)) for row in values], atol=1e-12)
    shares = [sum(sorted(row)[-5:]) / sum(row) for row in values.tolist()]
    np.testing.assert_allclose(top_share(values), shares, rtol=1e-12)


def test_gini_at_its_ends() -> None:
    assert gini(np.full(64, 0.3)) == pytest.approx(0)
    assert gini(np.eye(64)[5]) == pytest.approx(1 - 1 / 64)
    assert top_share(np.eye(64)[5]) == 1
    assert top_share(np.ones((2, 10)), 2).tolist() == [0.2, 0.2]
    # Mean absolute difference over twice the mean, the textbook's other form.
    wins = np.random.default_rng(0).random(30)
    differences = sum(abs(one - other) for one in wins for other in wins)
    assert gini(wins) == pytest.approx(differences / (2 * 30**2 * wins.mean()))


@pytest.mark.parametrize("values", [[0, 0, 0], [1, -1, 1], [1, math.nan, 1]])
def test_shares_of_nothing_and_of_negative_values_are_unknown(values: list[float]) -> None:
    assert np.isnan(gini(np.array(values)))
    assert np.isnan(top_share(np.array(values)))


# ---- curves ----------------------------------------------------------------------------------------------------------


def test_the_loss_curve_says_what_it_shows() -> None:
    history, _ = a_run()
    curves = loss_curve(history, marks=history.marks())
    assert list(curves.lines) == ["loss"]
    assert curves.lines["loss"][1].tolist() == [1 / step for step in range(1, 61)]
    assert curves.marks == {13: "stop"}
    assert curves.caption == ("loss over steps 1 to 60: loss 1 to 0.01667, least 0.01667 at step 60, most 1 at step 1")


def test_a_part_of_the_loss_curve_is_smoothed_over_what_came_before_it_too() -> None:
    history, _ = a_run()
    curves = loss_curve(history, 20, 30, smooth=4, log=True)
    steps, smoothed = curves.lines["mean of the last 4"]
    assert steps.tolist() == list(range(20, 31))
    expected = [sum(1 / other for other in range(step - 3, step + 1)) / 4 for step in steps]
    np.testing.assert_allclose(smoothed, expected)
    assert curves.lines["loss"][0].tolist() == list(range(20, 31))
    assert (curves.log, curves.marks) == (True, {})


def test_curves_of_nothing_are_refused() -> None:
    history, _ = a_run()
    with pytest.raises(UsageError, match=r"no loss is recorded. step, then ask again"):
        loss_curve(History())
    with pytest.raises(UsageError, match=r"no loss is recorded from step 100 to the last"):
        loss_curve(history, first=100)
    with pytest.raises(UsageError, match=r"smooth takes a number of steps from 1, not 0"):
        loss_curve(history, smooth=0)


def watched() -> tuple[Watches, np.ndarray[Any, Any]]:
    """Features 3, 17 and 42 over 12 steps, 3 watched again from step 9 on; their weights [steps, D, F]."""
    draw = np.random.default_rng(3)
    kept = np.cumsum(draw.standard_normal((13, 50, 8)), axis=0).astype(np.float32)
    watches = Watches()
    watches.add([3, 17, 42], kept[0])
    for step in range(1, 13):
        if step == 7:
            watches.remove([3])
        if step == 9:
            watches.add([3], kept[step - 1])
        ids = watches.get_watched()
        place, rates = np.array([[step, step]]), np.array([[[i + step / 100 for i in ids]]])
        watches.append(0, place, kept[step, ids][None], ("win_rate",), rates)
    return watches, kept


def cosine(one: Any, other: Any) -> float:
    """By loops, in float64."""
    product = sum(float(x) * float(y) for x, y in zip(one, other, strict=True))
    return product / math.sqrt(sum(float(x) ** 2 for x in one) * sum(float(y) ** 2 for y in other))


def test_trajectories_are_a_line_a_feature_and_segment() -> None:
    watches, kept = watched()
    curves = trajectory_curves(watches, "win_rate", marks={5: "stop", 99: "stop"})
    assert list(curves.lines) == ["3", "3 (2)", "17", "42"]
    assert curves.colors == {"3": 3, "3 (2)": 3, "17": 17, "42": 42}
    assert curves.lines["3"][0].tolist() == [1, 2, 3, 4, 5, 6]
    assert curves.lines["3 (2)"][0].tolist() == [9, 10, 11, 12]
    np.testing.assert_allclose(curves.lines["42"][1], [42 + step / 100 for step in range(1, 13)], rtol=1e-6)
    assert (
        curves.caption == "win_rate over steps 1 to 12: 4 lines, at the end from 3.06 (feature 3) to 42.12 (feature 42)"
    )
    turned = trajectory_curves(watches, "weight_cos_to_init", [3]).lines["3 (2)"][1]
    np.testing.assert_allclose(turned, [cosine(kept[step, 3], kept[8, 3]) for step in range(9, 13)], atol=1e-6)
    smooth = trajectory_curves(watches, "win_rate", [17], first=3, last=4, smooth=3).lines["17"][1]
    np.testing.assert_allclose(smooth, [17.02, 17.03], rtol=1e-6)
    with pytest.raises(UsageError, match=r"no metric 'winrate' in the trajectories. Did you mean: win_rate"):
        trajectory_curves(watches, "winrate")
    with pytest.raises(UsageError, match="feature 8 was never watched"):
        trajectory_curves(watches, "win_rate", [8])
    with pytest.raises(UsageError, match=r"no metric 'x' in the trajectories. Metrics: weight_cos_to_init, win_rate"):
        trajectory_curves(watches, "x")


def test_pairs_over_time_and_now() -> None:
    watches, kept = watched()
    curves = pair_curves(watches)
    assert list(curves.lines) == ["17-42", "17-3", "42-3"]
    steps, cosines = curves.lines["17-3"]
    assert steps.tolist() == [1, 2, 3, 4, 5, 6, 9, 10, 11, 12]
    np.testing.assert_allclose(cosines, [cosine(kept[step, 17], kept[step, 3]) for step in steps], atol=1e-6)
    assert list(pair_curves(watches, [3, 42], last=4).lines["3-42"][0]) == [1, 2, 3, 4]
    matrix = pair_matrix(watches)
    ids = [17, 42, 3]
    assert list(matrix.row_ids) == list(matrix.column_ids) == ids
    expected = [[cosine(kept[12, one], kept[12, other]) for other in ids] for one in ids]
    np.testing.assert_allclose(matrix.values, expected, atol=1e-6)
    pairs = {(17, 42): expected[0][1], (17, 3): expected[0][2], (42, 3): expected[1][2]}
    (one, other), most = max(pairs.items(), key=lambda item: item[1])
    assert matrix.caption == (
        f"weight cosines of 3 watched features at step 12: mean {sum(pairs.values()) / 3:.4g}, "
        f"most alike {one} and {other} ({most:.4g})"
    )
    with pytest.raises(UsageError, match=r"a pair takes two watched features"):
        pair_curves(watches, [3])


def test_a_table_of_curves_has_a_row_a_step() -> None:
    lines = {"a": (np.array([1, 2, 4]), np.array([0.1, 0.2, 0.4])), "b": (np.array([2, 3]), np.array([2.0, 3.0]))}
    table = curves_table(Curves(lines, y_name="win_rate"))
    assert list(table.columns) == ["step", "a", "b"]
    np.testing.assert_array_equal(table.columns["step"], [1, 2, 3, 4])
    np.testing.assert_array_equal(table.columns["a"], [0.1, 0.2, np.nan, 0.4])
    np.testing.assert_array_equal(table.columns["b"], [np.nan, 2, 3, np.nan])
    assert table.note == "4 rows, win_rate by step"


# ---- text ------------------------------------------------------------------------------------------------------------


def test_sparklines_rise_and_fall_with_their_values() -> None:
    assert sparkline(np.arange(8)) == "▁▂▃▄▅▆▇█"
    assert sparkline(np.arange(80), width=8) == "▁▂▃▄▅▆▇█"
    assert printable(sparkline(np.arange(8)), ascii_only=True) == "_.-=+*#@"
    assert sparkline(np.array([3.0, 3.0])) == "▁▁"
    assert sparkline(np.array([1.0, np.nan, np.inf, 2.0])) == "▁  █"
    assert sparkline(np.array([np.nan])) == " "
    assert sparkline(np.array([])) == " "
    assert len(sparkline(np.arange(1000), width=33)) == 33


def test_a_sparkline_table_has_a_row_a_line() -> None:
    lines = {"3": (np.arange(100), np.linspace(1, 2, 100)), "17": (np.arange(4), np.array([2.0, np.nan, 5.0, 4.0]))}
    table = sparkline_table(Curves(lines, y_name="win_rate"), width=10)
    assert {name: list(values) for name, values in table.columns.items()} == {
        "line": ["3", "17"],
        "first": [1.0, 2.0],
        "last": [2.0, 4.0],
        "min": [1.0, 2.0],
        "max": [2.0, 5.0],
        "course": ["▁▂▃▃▄▅▆▆▇█", "▁ █▆"],
    }
    assert table.note == "2 lines of at most 100 points; a mark is the mean of 10 of them"
    diverged = sparkline_table(Curves({"loss": (np.arange(3), np.array([2.0, 1.0, np.nan]))}, y_name="loss"))
    np.testing.assert_equal([diverged.columns[name][0] for name in ("first", "last", "min")], [2.0, np.nan, 1.0])


# ---- features --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["win_rate", "grad"])
def test_the_summary_counts_statuses_and_measures_inequality(metric: str) -> None:
    history, rows = a_run(every=3)
    table = feature_summary(history, metric, RULE)
    assert list(table.columns) == ["step", "dead", "contender", "winner", "mean", "gini", "top5_share"]
    for index, row in enumerate(rows):
        words = RULE(np.array(row["win_rate"], np.float32))
        values = [float(np.float32(value * 3 - 0.01 if metric == "grad" else value)) for value in row["win_rate"]]
        found = {name: values[index] for name, values in table.columns.items()}
        assert found["step"] == row["step"]
        for word in ("dead", "contender", "winner"):
            assert found[word] == words.count(word)
        assert found["mean"] == pytest.approx(sum(values) / 7)
        positive = min(values) >= 0
        assert found["gini"] == pytest.approx(gini_by_loops(values) if positive else math.nan, nan_ok=True)
        share = sum(sorted(values)[-5:]) / sum(values) if positive else math.nan
        assert found["top5_share"] == pytest.approx(share, nan_ok=True)
    assert table.note == "20 recorded steps from 3 to 60, features counted by win_rate"


def test_the_summary_counts_features_of_unknown_status_where_there_are_any() -> None:
    history = History()
    rates = [[0.2, 0.02, 0.0], [0.2, math.nan, 0.0], [math.nan] * 3]
    for step, rate in enumerate(rates, start=1):
        append(history, 0, step, step, 0, 0.0, 1.0, {"win_rate": np.array(rate)})
    table = feature_summary(history, "win_rate", RULE)
    statuses = [RULE(np.array(rate, np.float32)) for rate in rates]
    for word in ("dead", "contender", "winner", "unknown"):
        assert table.columns[word].tolist() == [each.count(word) for each in statuses], word  # type: ignore[union-attr]
    assert "unknown 0 to 3" in summary_page(table, "win_rate").caption


def test_the_summary_leaves_counts_out_without_a_rule() -> None:
    history, _ = a_run()
    table = feature_summary(history, "win_rate", first=11, last=20)
    assert list(table.columns) == ["step", "mean", "gini", "top5_share"]
    assert list(table.columns["step"]) == list(range(11, 21))
    page = summary_page(table, "win_rate")
    assert [list(picture.lines) for picture in page.pictures if isinstance(picture, Curves)] == [
        ["mean"],
        ["gini", "top5_share"],
    ]


def test_the_summary_as_a_picture() -> None:
    history, _ = a_run()
    table = feature_summary(history, "win_rate", RULE)
    page = summary_page(table, "win_rate")
    counts = page.pictures[0]
    assert isinstance(counts, Curves)
    assert list(counts.lines) == ["dead", "contender", "winner"]
    np.testing.assert_array_equal(counts.lines["dead"][1], table.columns["dead"])
    assert page.caption.startswith(
        "win_rate of 7 features, 60 recorded steps from 1 to 60, features counted by win_rate"
    )


def test_features_that_are_unknown_are_not_contenders() -> None:
    history = History()
    append(history, 0, 1, 1, 0, 0.0, 0.5, {"win_rate": np.array([0.0, 0.03, np.nan, 0.9])})
    columns = feature_summary(history, "win_rate", RULE).columns
    assert [columns[word][0] for word in ("dead", "contender", "winner")] == [1, 1, 1]
    assert np.isnan(columns["mean"][0])


def test_a_heatmap_has_a_row_a_feature_and_a_column_a_step() -> None:
    history, rows = a_run(every=10)
    matrix = heat(history, "win_rate", first=20)
    expected = np.array([row["win_rate"] for row in rows[1:]], np.float32).T
    np.testing.assert_array_equal(matrix.values, expected)
    assert list(matrix.column_ids) == [20, 30, 40, 50, 60]
    assert list(matrix.row_ids) == list(range(7))
    assert not matrix.signed
    assert heat(history, "grad").signed
    with pytest.raises(UsageError, match=r"no win_rate is recorded from step 100 to the last"):
        heat(history, "win_rate", first=100)


# ---- find ------------------------------------------------------------------------------------------------------------


def test_names_are_joined_on_the_steps_that_recorded_all_of_them() -> None:
    history, rows = a_run(every=4)
    steps, found = recorded(history, ["loss", "win_rate", "step"], first=10)
    assert steps.tolist() == [row["step"] for row in rows if row["step"] >= 10]
    assert found["step"].tolist() == steps.tolist()
    assert found["loss"].tolist() == [1 / step for step in steps]
    np.testing.assert_allclose(found["win_rate"], [row["win_rate"] for row in rows[2:]], rtol=1e-6)
    assert recorded(history, [])[0].tolist() == list(range(1, 61))
    with pytest.raises(UsageError, match="no metric 'lss' in history"):
        recorded(history, ["lss"])


def test_a_step_that_was_taken_again_counts_as_it_went_the_last_time() -> None:
    history = History()
    for tick, step in enumerate([1, 2, 3, 2, 3, 4], 1):
        append(history, 0, tick, step, 0, 0.0, float(tick), {"a": np.full(2, tick * 10)} if step > 1 else None)
    steps, found = recorded(history, ["loss", "a"])
    assert steps.tolist() == [2, 3, 4]
    assert found["loss"].tolist() == [4, 5, 6]
    assert found["a"][:, 0].tolist() == [40, 50, 60]


def stretches_by_loops(steps: list[int], held: list[bool]) -> list[tuple[str, str, int, int, int]]:
    found = []
    index = 0
    while index < len(steps):
        if not held[index]:
            index += 1
            continue
        end = index
        while end + 1 < len(steps) and held[end + 1]:
            end += 1
        first, last = steps[index], steps[end]
        if index == 0:
            began = "step 1" if first == 1 else f"step {first} or earlier"
        elif steps[index - 1] == first - 1:
            began = f"step {first}"
        else:
            began = f"between step {steps[index - 1]} and {first}"
        if end == len(steps) - 1:
            ended = f"holds at step {last}, the last recorded"
        elif steps[end + 1] == last + 1:
            ended = f"step {last}"
        else:
            ended = f"between step {last} and {steps[end + 1]}"
        found.append((began, ended, first, last, end - index + 1))
        index = end + 1
    return found


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=40))
def test_find_tells_when_a_condition_held_as_exactly_as_history_knows(rows: list[tuple[int, bool]]) -> None:
    steps = np.cumsum([distance for distance, _ in rows], dtype=np.int64)
    held = np.array([held for _, held in rows], dtype=bool)
    expected = stretches_by_loops(steps.tolist(), held.tolist())
    for which, chosen in (("all", expected), ("first", expected[:1]), ("last", expected[-1:])):
        table = find(steps, held, which)  # type: ignore[arg-type]
        columns = (table.columns[name] for name in ("began", "ended", "first", "last", "steps"))
        assert list(zip(*columns, strict=True)) == chosen


def test_what_lies_beyond_the_steps_asked_for_tells_when_a_condition_began_and_ended() -> None:
    steps, held = np.arange(1, 21), np.array([4 <= step <= 15 for step in range(1, 21)])

    def ends(first: int | None, last: int | None) -> tuple[str, str, str]:
        table = find(steps, held, within=(first, last))
        return table.columns["began"][0], table.columns["ended"][0], table.note

    assert ends(4, 15) == ("step 4", "step 15", "held at 12 of 12 recorded steps from 4 to 15")
    assert ends(5, 14) == ("before step 5", "after step 14", "held at 10 of 10 recorded steps from 5 to 14")
    assert ends(2, None) == ("step 4", "step 15", "held at 12 of 19 recorded steps from 2 to 20")
    steps, held = steps[::3], held[::3]  # 1, 4, 7, 10, 13, 16, 19
    assert ends(3, 14) == (
        "between step 1 and 4",
        "between step 13 and 16",
        "held at 4 of 4 recorded steps from 4 to 13; steps are missing in 5 places, where it is not known",
    )
    assert find(steps, held, within=(17, 18)).note == "no steps are recorded"


def test_find_says_how_much_it_cannot_know() -> None:
    steps = np.array([1, 2, 3, 10, 20, 21])
    held = np.array([False, False, True, True, False, False])
    assert find(steps, held).note == (
        "held at 2 of 6 recorded steps from 1 to 21; steps are missing in 2 places, where it is not known"
    )
    assert find(steps[:3], held[:3]).note == "held at 1 of 3 recorded steps from 1 to 3"
    assert find(steps[1:3], ~held[2:4]).note == (
        "never held at the 2 recorded steps from 2 to 3; steps are missing in 1 place, where it is not known"
    )
    assert find(steps[:0], held[:0]).note == "no steps are recorded"
    with pytest.raises(ValueError, match=r"held is int64 \[6\], expected bool \[6\]"):
        find(steps, steps)
