"""What tdb costs, measured on request: which steps are left out, what is made of the times, and what history says."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tdb.controller import DebugController
from tdb.overhead import WARM_UP, Cost, Overhead
from tdb.results import Curves
from tdb.views.curves import drawable
from tests.conftest import PATIENCE, Loop
from tests.typing_session import TypingSession

Make = Callable[..., TypingSession]

UNKNOWN_LOOP = """
    import tdb

    controller = tdb.active_controller()
    for step in range(1, 2001):
        loss = 1 / step if step != 1000 else float("nan")
        controller.capture_batch([step], loss, step)
        if step == 1900:
            raise RuntimeError("as planned")
        controller.wait_if_paused()
"""


def test_one_step_of_each_pair_is_left_out() -> None:
    overhead = Overhead(after=7, count=1000)
    left_out = np.array([overhead.leaves_out(tick) for tick in range(8 + WARM_UP, 1008 + WARM_UP)])
    assert (left_out.reshape(-1, 2).sum(axis=1) == 1).all()
    assert not any(overhead.leaves_out(tick) for tick in [*range(8 + WARM_UP), *range(1008 + WARM_UP, 3000)])


@pytest.mark.parametrize("period", [2, 4, 5, 8, 10, 16])
def test_no_period_of_the_loop_hides_in_one_kind_of_steps(period: int) -> None:
    """Metrics each tenth step would never be timed if every second step were left out."""
    overhead = Overhead(after=0, count=1600)
    for phase in range(period):
        left_out = [overhead.leaves_out(1 + WARM_UP + tick) for tick in range(phase, 1600, period)]
        assert 0.3 <= np.mean(left_out) <= 0.7


def test_the_ratio_is_the_median_over_the_pairs_and_survives_a_slow_machine() -> None:
    rng = np.random.default_rng(0)
    pace = rng.uniform(1, 5, 501)  # it slows down and recovers, from pair to pair
    recorded = 1.1 * pace
    recorded[::10] *= 50  # somebody else's turn
    cost = Cost(recorded, pace, {})
    assert cost.ratio == pytest.approx(1.1)
    assert recorded.mean() / pace.mean() > 2


def test_the_confidence_covers_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(2000):
        low, high = Cost(np.exp(rng.standard_normal(50)), np.ones(50), {}).confidence
        covered += low <= 1 <= high
    assert 0.93 <= covered / 2000 <= 0.985


@pytest.mark.parametrize("pairs", [1, 2, 5, 10, 100])
def test_the_confidence_is_two_of_the_ratios(pairs: int) -> None:
    ratios = np.random.default_rng(pairs).uniform(1, 2, pairs)
    low, high = Cost(ratios, np.ones(pairs), {}).confidence
    assert sum(ratios < low) == max(0, math.floor(pairs / 2 - 0.98 * math.sqrt(pairs)))
    assert sum(ratios > high) == sum(ratios < low)


def test_an_unknown_loop_is_measured_and_history_says_what_is_missing(make_session: Make, tmp_path: Path) -> None:
    session = make_session(UNKNOWN_LOOP, as_json=True)
    session.answer("step 5")
    answer = session.answer("overhead 40")
    assert answer["pairs"] == 20
    assert answer["low"] <= answer["ratio"] <= answer["high"]
    assert answer["parts"]["captures"] > 0
    assert answer["parts"]["metrics"] == answer["parts"]["watches"] == answer["parts"]["stop points"] == 0
    first = 5 + WARM_UP + 1
    left_out = [first + place for place in range(40) if place.bit_count() % 2]
    assert answer["step"] >= first + 39  # whole steps only: it stops where a pause would
    assert session.session.marks()[answer["step"]] == "overhead"

    loss = json.loads(session.type("loss"))
    steps = [row[0] for row in loss["data"]["curves"]["loss"]["rows"]]
    assert sorted([*steps, *left_out]) == list(range(1, answer["step"] + 1))
    assert f"20 steps between {left_out[0]} and {left_out[-1]} left out by `overhead`" in json.dumps(loss)
    found = session.answer("find loss < 0.01")
    assert found["steps"] == []
    assert "20 steps left out by `overhead`" in found["table"]["note"]

    session.answer(f"export {tmp_path / 'run.csv'}")
    with (tmp_path / "run.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows if row["left_out"] == "1"] == left_out
    assert all(row["loss"] == "" for row in rows if row["left_out"] == "1")
    session.answer(f"export {tmp_path / 'run.json'}")
    assert json.loads((tmp_path / "run.json").read_text())["left_out"]["step"] == left_out


def test_a_loop_that_has_looked_its_calls_up_before_is_measured_as_well(make_session: Make) -> None:
    look_up = "    capture_batch, wait_if_paused = controller.capture_batch, controller.wait_if_paused\n"
    looked_up = UNKNOWN_LOOP.replace("    for step", f"{look_up}    for step").replace("    controller.", "    ")
    assert "        wait_if_paused()" in looked_up
    session = make_session(looked_up, as_json=True)
    session.answer("step 5")
    answer = session.answer("overhead 40")
    assert answer["pairs"] == 20
    assert all(seconds > 0 for seconds in answer["left_out"])
    assert 0 < answer["parts"]["boundary"] < answer["recorded"][2]


def test_a_stop_point_stops_at_its_very_step_even_if_that_is_left_out(make_session: Make) -> None:
    session = make_session(UNKNOWN_LOOP, as_json=True)
    session.answer("step 1")
    place = next(place for place in range(30, 60) if place.bit_count() % 2)
    step = 1 + WARM_UP + 1 + place
    session.answer(f"break when loss < {1 / (step - 0.5)}")
    answer = session.answer("overhead 100")
    assert answer["step"] == step
    assert answer["stop_points"][0]["number"] == 1
    assert answer["pairs"] == place // 2  # of whole pairs, and enough of them to tell
    assert session.answer("find step == " + str(step))["steps"] == [step]  # where training stopped is recorded
    session.answer("clear 1")
    session.answer(f"break {step + 20 + WARM_UP}")
    assert session.answer("overhead 100")["step"] == step + 20 + WARM_UP
    session.answer("step")
    session.answer("catch nan")
    session.answer("until 994")
    assert session.answer("overhead 30")["step"] == 1000


def test_a_crash_breaks_it_off_and_what_was_recorded_stays(make_session: Make) -> None:
    session = make_session(UNKNOWN_LOOP, as_json=True)
    session.answer("until 1880")
    answer = json.loads(session.type("overhead"))
    assert "as planned" in answer["data"]["error"]
    assert answer["data"]["pairs"] == (1899 - 1880 - WARM_UP) // 2
    assert "broken off after 7 pairs of steps: too few to tell, 10 are needed" in json.dumps(answer)
    assert session.controller.recorder.history.left_out().size > 0
    assert "training is over" in session.type("overhead")


def test_in_the_background_training_runs_on_afterwards(make_session: Make) -> None:
    session = make_session(UNKNOWN_LOOP.replace("2001", "10_000_000").replace("1900", "-1"), as_json=True)
    session.answer("step")
    session.answer("continue &")
    assert session.answer("overhead 50")["pairs"] == 25
    assert session.answer("state")["status"] == "running"
    session.answer("pause")


@pytest.mark.parametrize("line", ["overhead 19", "overhead x", "overhead 0"])
def test_too_few_steps_are_refused_before_anything_happens(make_session: Make, line: str) -> None:
    session = make_session(UNKNOWN_LOOP)
    session.type("step 3")
    assert "***" in session.type(line)
    assert session.controller.position.step == 3


def test_a_pause_comes_at_the_next_whole_step(controller: DebugController) -> None:
    controller.step(2)
    loop = Loop(controller, 100_000).start()
    controller.wait(PATIENCE)
    measured = Overhead(controller.position.tick, 90_000)
    controller.call(lambda: controller.measure(measured))
    controller.resume()
    loop.reach(200)
    controller.pause()
    assert controller.wait(PATIENCE) == "stopped"
    assert measured.over.is_set()
    assert controller.record.clock.step == controller.position.step
    assert "wait_if_paused" not in vars(controller._loop)  # nothing stays replaced
    controller.stop()
    loop.join()


def test_a_line_is_broken_where_steps_were_left_out() -> None:
    steps, values = np.array([1, 2, 5, 6, 9]), np.array([1.0, 2.0, 5.0, 6.0, 9.0])
    x, y = drawable(Curves({"loss": (steps, values)}, "loss", gaps=[0, 3, 4, 7, 11]))["loss"]
    assert x.tolist() == [1, 2, 3, 4, 5, 6, 7, 9]
    assert np.isnan(y).tolist() == [False, False, True, True, False, False, True, False]
