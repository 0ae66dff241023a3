"""The plan's M-DBG-5: features followed over the run, and questions about all of it."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tdb.commands.place import pace
from tdb.elsewhere.carried import carried_from
from tdb.history import History
from tdb.script import Script
from tests.histories import append
from tests.typing_session import TypingSession

Make = Callable[..., TypingSession]
FIVE = [0, 15, 31, 47, 63]


def recipe(*more: str) -> Script:
    return Script("recipes.gradient_gating_l0", ("--condition", "bcl-slow", *more), is_module=True)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TypingSession]:
    """Five features watched from the start, 20 steps stepped, 1,000 run, one unwatched and one added, 5 more."""
    session = TypingSession(tmp_path_factory.mktemp("watched"), recipe("--steps", "2000"), as_json=True)
    session.answer("watch 0 15 31 47 63")
    session.answer("step 20")
    session.after_20_steps = session.answer("traj win_rate")  # type: ignore[attr-defined]
    session.weights_at_20 = rows(session, "weights")  # type: ignore[attr-defined]
    session.answer("until 1020")
    session.answer("unwatch 0")
    session.answer("watch +10")
    session.answer("step 5")
    yield session
    session.close()


def rows(session: TypingSession, name: str) -> Any:
    return np.array(session.answer(f"grid {name} all")["rows"], dtype=np.float64)


def lines(answer: dict[str, Any], metric: str) -> dict[str, Any]:
    """The lines of a chart, label -> [points] without its gaps."""
    table = answer["curves"][metric]
    columns = dict(zip(table["columns"], np.array(table["rows"], dtype=np.float64).T, strict=True))
    steps = columns.pop("step")
    return {
        label: dict(zip(steps[~np.isnan(v)].astype(int).tolist(), v[~np.isnan(v)].tolist(), strict=True))
        for label, v in columns.items()
    }


def test_after_20_steps_there_are_20_points_for_each_feature(watched: TypingSession) -> None:
    found = lines(watched.after_20_steps, "win_rate")  # type: ignore[attr-defined]
    assert sorted(map(int, found)) == FIVE
    assert all(sorted(points) == list(range(1, 21)) for points in found.values())


@pytest.mark.parametrize(
    "metric", ["weight_cos_to_init", "win_rate", "grad_magnitude", "som_magnitude", "feature_novelty"]
)
def test_every_metric_has_a_line_for_each_feature_over_the_whole_run(watched: TypingSession, metric: str) -> None:
    found = lines(watched.answer(f"traj {metric}"), metric)
    assert sorted(map(int, found)) == [0, 10, *FIVE[1:]]
    assert len(found["0"]) == 1020  # it was taken off, and keeps its trajectory
    assert list(found["10"]) == [1021, 1022, 1023, 1024, 1025]  # it starts fresh
    assert all(len(found[str(feature)]) == 1025 for feature in FIVE[1:])


def test_a_trajectory_ends_at_what_the_step_shows(watched: TypingSession) -> None:
    table = watched.answer("metrics")["table"]
    rates = [row[table["columns"].index("win_rate")] for row in table["rows"]]
    for label, points in lines(watched.answer("traj win_rate"), "win_rate").items():
        if label != "0":
            assert points[1025] == rates[int(label)]


def test_the_cosine_is_with_the_weights_when_the_watch_began(watched: TypingSession) -> None:
    found = lines(watched.answer("traj weight_cos_to_init"), "weight_cos_to_init")
    assert found["15"][1] > 0.9
    assert found["15"][1020] < 0.9
    assert found["10"][1021] == pytest.approx(1.0, abs=1e-3)


def test_pairs_are_the_cosines_of_the_weights(watched: TypingSession) -> None:
    answer = watched.answer("pairs")
    weights = rows(watched, "weights")[answer["ids"]]
    units = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    np.testing.assert_allclose(answer["cosines"], units @ units.T, atol=1e-5)
    history = lines(watched.answer("traj pairs"), "weight cosine")
    first, second = answer["ids"][:2]
    assert history[f"{first}-{second}"][1025] == pytest.approx(answer["cosines"][0][1], abs=1e-5)


def test_find_says_when(watched: TypingSession) -> None:
    points = lines(watched.answer("traj win_rate 31"), "win_rate")["31"]
    expected = [step for step, rate in points.items() if rate < 0.01]
    assert watched.answer("find win_rate[31] < 0.01")["steps"] == expected
    assert watched.answer("find win_rate[31] < 0.01 first")["first"] == expected[0]
    among = [step for step in expected if expected[1] <= step <= expected[-2]]
    found = watched.answer(f"find win_rate[31] < 0.01 from {expected[1]} to {expected[-2]}")
    assert found["steps"] == among
    assert watched.answer(f"find to {expected[-2]} win_rate[31] < 0.01 from {expected[1]} all") == found
    assert watched.answer(f"find win_rate[31] < 0.01 last to {expected[0]}")["last"] == expected[0]


def test_find_between_steps_says_what_is_known_beyond_them(watched: TypingSession) -> None:
    table = watched.answer("find step > 3 from 10 to 20")["table"]
    assert table["rows"] == [["before step 10", "after step 20", 10, 20, 11]]
    assert table["note"] == "held at 11 of 11 recorded steps from 10 to 20"
    rows = watched.answer("find step > 14 and step < 18 from 10 to 20")["table"]["rows"]
    assert rows == [["step 15", "step 17", 15, 17, 3]]


def test_find_from_a_step_may_look_back_before_it(watched: TypingSession) -> None:
    fell = watched.answer("find delta(loss) < 0")["steps"]
    assert watched.answer(f"find delta(loss) < 0 from {fell[5]}")["steps"] == fell[5:]


def test_summary_counts_every_step(watched: TypingSession) -> None:
    table = watched.answer("summary win_rate")["table"]
    heat = watched.answer("heat win_rate")
    values = np.array(heat["values"])
    columns = dict(zip(table["columns"], np.array(table["rows"]).T, strict=True))
    np.testing.assert_array_equal(columns["step"], heat["steps"])
    np.testing.assert_array_equal(columns["dead"], (values < 0.01).sum(axis=0))
    np.testing.assert_array_equal(columns["winner"], (values > 0.05).sum(axis=0))
    np.testing.assert_allclose(columns["mean"], values.mean(axis=0), rtol=1e-5)


def test_loss_is_there_for_every_step(watched: TypingSession) -> None:
    found = lines(watched.answer("loss smooth 10"), "loss")
    assert list(found["loss"]) == list(range(1, 1026))
    assert found["mean of the last 10"][100] == pytest.approx(
        np.mean([found["loss"][step] for step in range(91, 101)]), rel=1e-6
    )


def test_a_chart_can_be_written_as_numbers(watched: TypingSession, tmp_path: Path) -> None:
    written = []
    for figures in ("off", "file"):
        watched.type(f"set figures {figures}")
        watched.type(f"loss -o {tmp_path / 'loss.csv'}")
        written.append((tmp_path / "loss.csv").read_text())
    rows = [line.split(",") for line in written[0].splitlines()]
    assert written[0] == written[1]
    assert rows[0] == ["step", "loss"]
    recorded = watched.controller.recorder.history.loss()
    assert [(int(step), float(loss)) for step, loss in rows[1:]] == list(zip(*map(list, recorded), strict=True))


@pytest.mark.parametrize("suffix", ["json", "csv", "npz"])
def test_export_writes_it_all(watched: TypingSession, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"run.{suffix}"
    watched.answer(f"export {path}")
    if suffix == "npz":
        with np.load(path, allow_pickle=False) as saved:
            assert any(len(saved[name]) == 1025 for name in saved.files)
    else:
        assert path.read_text().count("\n") >= (1025 if suffix == "csv" else 0)


def test_the_stop_at_which_training_stands_is_marked_like_those_before(make_session: Make, tmp_path: Path) -> None:
    session = make_session(recipe("--steps", "30"))
    session.type("step 5")
    session.type("until 8")
    for name in ("run.json", "again.json"):
        session.type(f"export {tmp_path / name}")
        marks = json.loads((tmp_path / name).read_text())["marks"]
        assert list(zip(marks["tick"], marks["step"], marks["word"], strict=True)) == [
            (5, 5, "step"),
            (8, 8, "until 8"),
        ]
    session.type(f"export {tmp_path / 'run.csv'}")
    with (tmp_path / "run.csv").open(newline="") as file:
        assert {row["step"]: row["mark"] for row in csv.DictReader(file) if row["mark"]} == {
            "5": "step",
            "8": "until 8",
        }
    assert session.session.marks() == {5: "step", 8: "until 8"}


def test_without_figures_there_are_sparklines(make_session: Make) -> None:
    session = make_session(recipe("--steps", "30"))
    session.type("set figures off")
    session.type("watch 3 17")
    session.type("step 12")
    shown = session.type("traj win_rate")
    assert "▁" in shown or "█" in shown


def test_free_running_records_the_loss_always_and_metrics_now_and_then(make_session: Make) -> None:
    session = make_session(recipe("--steps", "95"), as_json=True)
    session.answer("set record.every 20")
    session.answer("continue")
    assert len(lines(session.answer("loss"), "loss")["loss"]) == 95
    assert session.answer("heat win_rate")["steps"] == [1, 20, 40, 60, 80, 95]
    answer = session.answer("find win_rate[31] < 0.01 first")
    table = answer["table"]
    if table["rows"]:
        assert "between" in table["rows"][0][0]
    assert "missing" in table["note"]


def test_what_was_recorded_survives_a_crash(make_session: Make, tmp_path: Path) -> None:
    script = """
        import tdb
        from bcl import BCLConfig, attach_bcl
        from bcl.panel import bcl_panel
        from recipes import data
        from recipes.model import LinearAutoencoder
        from recipes.trainer import Trainer
        import torch

        torch.manual_seed(0)
        torch.set_num_threads(1)
        model = LinearAutoencoder()
        trainer = Trainer(model, torch.optim.Adam(model.parameters()), data.batches(data.load().train, 128))
        controller = tdb.active_controller()
        controller.focus_on("encoder.0")
        controller.add_panel(bcl_panel(attach_bcl(model, "encoder.0", BCLConfig())))

        def fail(step):
            if step == 33:
                raise RuntimeError("as planned")

        trainer.train(50, on_step=fail, debug_controller=controller)
    """
    session = make_session(script, as_json=True)
    session.answer("watch 0 15")
    answer = session.answer("continue")
    assert "as planned" in answer["error"]
    assert list(lines(session.answer("traj win_rate"), "win_rate")["15"]) == list(range(1, 33))
    session.answer(f"export {tmp_path / 'crashed.npz'}")
    assert (tmp_path / "crashed.npz").stat().st_size > 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("watch loss", "watch follows features; to stop when a value changes: break changed loss"),
        ("watch 999", "no feature 999: features are 0..63"),
        ("watch clear 3", "watch clear forgets all trajectories, and takes no features"),
        ("watch 3 +4", "watch either replaces the set or adds to it"),
        ("unwatch 5", "feature 5 is not watched. Watched: "),
        ("traj pairs win_rate", "traj pairs draws cosines of weights, and no win_rate. Example: traj pairs 0 31"),
        ("traj pairs log", "traj pairs draws cosines of weights, and they have no logarithm"),
        ("summary loss", "loss is one value a step, not one a feature: `find loss > 0` and `loss` look at it"),
        ("traj wnrate", "no trajectory of 'wnrate'. Did you mean: win_rate"),
        ("traj from 5000", "no weight_cos_to_init is recorded from step 5000"),
        ("heat nothing", "no metric 'nothing' in history. Recorded: "),
        ("find nope > 1", "no metric 'nope' in history"),
        ("find win_rate >", "the expression ends too early"),
        ("find loss > 0 from x", "find from takes a step, not 'x'"),
        ("find loss > 0 from", "find from takes a step. Example: find loss < 0.1 from 100 to 500 first"),
        ("find loss > 0 from 9000", "no step is recorded from step 9000 to the last"),
        ("set history.budget 1", "set history.budget takes a size from 64KiB, such as 256MiB, not '1'"),
        ("set optimizer.lr nan", "set optimizer.lr takes a number, not 'nan'. Now: 0.001"),
        ("set optimizer.lr inf", "set optimizer.lr takes a number, not 'inf'. Now: 0.001"),
        ("set optimizer.lr -1", "set optimizer.lr takes a number from 0 on, not '-1'. Now: 0.001"),
        ("set bcl.neighborhood_k 2.5", "set bcl.neighborhood_k takes a whole number, not '2.5'. Now: 8"),
        ("set record.every 0", "set record.every takes a number of steps from 1, not '0'"),
        ("export run.xyz", "run.xyz"),
    ],
)
def test_a_mistake_is_said_and_changes_nothing(watched: TypingSession, line: str, message: str) -> None:
    before = watched.answer("state"), watched.answer("watch"), watched.answer("set")
    shown = watched.type(line)
    assert message in shown
    assert '"ok":false' in shown
    assert (watched.answer("state"), watched.answer("watch"), watched.answer("set")) == before


def test_watched_features_without_a_step_have_no_chart_yet(make_session: Make) -> None:
    session = make_session(recipe("--steps", "30"))
    session.type("step 2")
    session.type("watch 3 17")
    assert "*** no weight_cos_to_init is recorded: step, then ask again" in session.type("traj")
    session.type("step 2")
    session.type("watch clear")
    assert session.type("traj win_rate") == "*** the trajectories have no step yet. The next one begins them\n"
    for line in ("traj win_rate", "traj pairs", "pairs", "traj --table"):
        assert "***" in session.type(line)
        assert "a bug in tdb" not in session.type(line)


def test_every_layer_keeps_its_own_watches_when_the_focus_moves(make_session: Make) -> None:
    session = make_session(recipe("--steps", "60"), as_json=True)
    session.answer("watch 0 15 31")
    session.answer("step 4")
    session.answer("focus decoder.0")
    session.answer("watch 700")
    session.answer("step 3")
    assert list(lines(session.answer("traj weight_norm"), "weight_norm")["700"]) == [5, 6, 7]
    session.answer("focus encoder.0")
    session.answer("step 2")
    assert list(lines(session.answer("traj win_rate"), "win_rate")["15"]) == [1, 2, 3, 4, 8, 9]
    assert session.controller.recorder.failure == ""


def test_a_summary_counts_by_the_layer_s_own_status_and_the_user_s_thresholds(make_session: Make) -> None:
    session = make_session(recipe("--steps", "40"), as_json=True)
    session.answer("until 30")
    rates = session.controller.recorder.history.metric("win_rate")[1]
    session.answer("set status.dead 0.3")  # above what a winner needs: dead goes first
    for line in "focus encoder.0", "focus decoder.0":
        session.answer(line)
        table = session.answer("summary win_rate")["table"]
        counts = {name: [row[table["columns"].index(name)] for row in table["rows"]] for name in ("dead", "winner")}
        assert counts["dead"] == (rates < 0.3).sum(axis=1).tolist()
        assert counts["winner"] == (rates >= 0.3).sum(axis=1).tolist()


def test_a_layer_too_large_for_the_budget_says_so(make_session: Make) -> None:
    session = make_session(recipe("--steps", "60"))
    session.type("step 2")
    session.type("set history.budget 64KiB")
    session.type("focus decoder.0")
    session.type("step 5")
    assert "metrics are not recorded: one step of them takes 28 KiB" in session.type("heat weight_norm")
    assert "loss over steps 1 to 7" in session.type("loss")


def test_what_the_budget_has_thinned_is_said(make_session: Make) -> None:
    session = make_session(recipe("--steps", "400"))
    session.type("set history.budget 256KiB")
    session.type("watch 31")
    assert "thinned" not in session.type("step 20") + session.type("loss") + session.type("heat win_rate")
    session.type("until 300")
    for line in ("heat win_rate", "summary win_rate", "heat win_rate from 5 to 20"):
        assert re.search(
            r"thinned to fit into `history.budget` 256KiB: every \w+ step from 1 to \d+.* is left", session.type(line)
        )
    assert "thinned" not in session.type("heat win_rate from 299 to 300")
    assert "thinned" not in session.type("loss")


def test_what_a_condition_names_is_recorded_at_every_step(make_session: Make) -> None:
    """Also over going back; the other metrics now and then, as ever; and the run is the same."""
    watched = make_session(recipe("--steps", "60"))
    watched.type("watch 31")
    watched.type("until 45")
    armed = make_session(recipe("--steps", "60"))
    armed.type("break when win_rate[31] < -1 or loss < -1")
    armed.type("until 45")
    assert "of metrics as before, bit for bit" in armed.type("goto 12")
    armed.type("until 45")
    every_step, one = (session.controller.recorder.history for session in (watched, armed))
    for expected, found in zip(every_step.metric("win_rate"), one.metric("win_rate"), strict=True):
        np.testing.assert_array_equal(found, expected)
    steps, magnitudes = one.metric("grad_magnitude")
    known = ~np.isnan(magnitudes).all(axis=1)
    assert {10, 20, 30, 40} <= set(steps[known].tolist()) < set(range(1, 46))
    np.testing.assert_array_equal(one.loss()[1], every_step.loss()[1])
    assert armed.type("find win_rate[31] < 2").splitlines()[-1] == "held at 45 of 45 recorded steps from 1 to 45"
    armed.type("continue")
    known = carried_from(armed.session).branch.columns  # what the steps of a re-run will be compared with
    np.testing.assert_array_equal(known["win_rate"][1], one.metric("win_rate")[1])


def test_the_state_names_watches_and_a_pace_without_the_time_at_stops(watched: TypingSession) -> None:
    state = watched.answer("state")
    assert (state["watches"], state["steps/s"] > 0) == (watched.answer("watch")["watched"], True)
    history = History()
    assert pace(history) is None
    for step, wall_time in enumerate([10.0, 10.5, 100.0, 100.5], 1):
        append(history, 0, step, step, None, wall_time, 0.0)
    history.mark(2, "step")
    assert pace(history) == 2.0


def test_words_that_name_no_feature_leave_the_watches_as_they_are(make_session: Make) -> None:
    session = make_session(recipe("--steps", "20"))
    session.type("watch 3 17")
    assert session.type("unwatch 5") == "*** feature 5 is not watched. Watched: 3, 17\n"
    session.type("step 2")
    for words in ("5:2", "8:8"):
        assert f"*** {words} is no feature now" in session.type(f"watch {words}")
    assert session.controller.get_watched() == [3, 17]
    assert "*** 5:2 is no feature now" in session.type("traj win_rate 5:2")


@pytest.mark.parametrize("size", [100, 49, 37])
def test_what_is_always_active_is_recorded_as_that(make_session: Make, size: int) -> None:
    session = make_session(f"""
        import torch

        net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        net[0].bias.data.add_(10)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.001)
        for _ in range(40):
            loss = net(torch.rand({size}, 6)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    """)
    session.type("watch 0;; step 12")
    assert "held at 12 of 12 recorded steps" in session.type("find active_fraction[0] == 1")
