"""Stop points: every kind against a plain loop over the same steps, and what they say."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tdb.errors import TdbError, UsageError
from tdb.expressions import compile_expression
from tdb.stops import Hit, Moment, Stop, StopPoints, parse_catch, parse_stop

pytestmark = pytest.mark.filterwarnings("error")  # no stop point may put a warning on the user's terminal

STEPS = 2000
Run = list[Moment]
Oracle = Callable[[Run, int], bool]


def check(points: StopPoints, moment: Moment) -> list[Hit]:
    return points.check(moment.namespace, moment.step, moment.epoch, moment.tensors, moment.boundary)


def hit_steps(stop: Stop, run: Run) -> list[int]:
    points = StopPoints()
    points.add(stop)
    return [hit.step for moment in run for hit in check(points, moment)]


def expected_steps(oracle: Oracle, run: Run) -> list[int]:
    return [run[t].step for t in range(len(run)) if oracle(run, t)]


def begins(holds: Oracle) -> Oracle:
    return lambda run, t: holds(run, t) and not (t > 0 and holds(run, t - 1))


# ---- numbers: steps, epochs, conditions ------------------------------------------------------------------------------


def numbers(seed: int = 0) -> Run:
    """Two thousand steps of a loss that wanders and is NaN now and then, and of eight win rates."""
    random = np.random.default_rng(seed)
    loss, rates, run = 1.0, np.full(8, 0.2, dtype=np.float32), []
    for step in range(1, STEPS + 1):
        loss = abs(loss + random.normal(0, 0.2) - 0.05 * (loss - 1.2))
        rates = np.clip(rates + random.normal(0, 0.03, 8), 0, 1).astype(np.float32)
        epoch = (step - 1) // 300 + 1
        namespace = {
            "step": step,
            "epoch": epoch,
            "loss": math.nan if random.random() < 0.02 else round(loss, 1),
            "win_rate": rates,
        }
        run.append(Moment(namespace, step, epoch, {}))
    return run


NUMBERS = numbers()


def loss_at(run: Run, t: int) -> float:
    return float(run[t].namespace["loss"])


def rate_at(run: Run, t: int, feature: int) -> float:
    return float(run[t].namespace["win_rate"][feature])


def steps_since_high_loss(run: Run, t: int) -> float:
    return next((float(t - past) for past in range(t, -1, -1) if loss_at(run, past) > 1.5), math.nan)


def smoothed_loss(run: Run, t: int) -> float:
    average = math.nan
    for past in range(t + 1):
        loss = loss_at(run, past)
        if math.isfinite(loss):
            average = loss if math.isnan(average) else average * (1 - 2 / 21) + loss * 2 / 21
    return average


def differs(a: float, b: float) -> bool:
    return a != b and not (math.isnan(a) and math.isnan(b))


STOPS: dict[str, Oracle] = {
    "500": lambda run, t: run[t].step == 500,
    "+7": lambda run, t: run[t].step == 107,
    "every 37": lambda run, t: run[t].step % 37 == 0,
    "epoch 3": lambda run, t: run[t].epoch == 3 and run[t - 1].epoch == 2,
    "epoch 1": lambda _run, t: t == 0,
    "when loss > 1.5": begins(lambda run, t: loss_at(run, t) > 1.5),
    "when win_rate[3] < 0.1": begins(lambda run, t: rate_at(run, t, 3) < 0.1),
    "when step > 0": lambda _run, t: t == 0,  # true at the first look counts
    "when not loss < 1.5": begins(lambda run, t: not loss_at(run, t) < 1.5),
    "when any(win_rate < 0.01) and loss > 1": begins(
        lambda run, t: any(rate_at(run, t, feature) < 0.01 for feature in range(8)) and loss_at(run, t) > 1
    ),
    "when since(loss > 1.5) > 40": begins(lambda run, t: steps_since_high_loss(run, t) > 40),
    "when crosses(loss, 1)": begins(
        lambda run, t: (
            t > 0 and (loss_at(run, t - 1) < 1 <= loss_at(run, t) or loss_at(run, t - 1) > 1 >= loss_at(run, t))
        )
    ),
    "while loss > 1.8": lambda run, t: loss_at(run, t) > 1.8,
    "while loss < prev(loss, 3)": lambda run, t: t >= 3 and loss_at(run, t) < loss_at(run, t - 3),
    "changed epoch": lambda run, t: t > 0 and run[t].epoch != run[t - 1].epoch,
    "changed loss": lambda run, t: t > 0 and differs(loss_at(run, t), loss_at(run, t - 1)),
    "changed win_rate < 0.1": lambda run, t: (
        t > 0 and any((rate_at(run, t, feature) < 0.1) != (rate_at(run, t - 1, feature) < 0.1) for feature in range(8))
    ),
    "every 10, loss > 1.5": lambda run, t: run[t].step % 10 == 0 and loss_at(run, t) > 1.5,
    "when loss > 1.5, ema(loss, 20) < 1.3": lambda run, t: (
        STOPS["when loss > 1.5"](run, t) and smoothed_loss(run, t) < 1.3
    ),
}


@pytest.mark.parametrize("text", STOPS)
def test_a_stop_point_stops_where_a_check_in_the_loop_would(text: str) -> None:
    expected = expected_steps(STOPS[text], NUMBERS)
    assert hit_steps(parse_stop(text, step=100), NUMBERS) == expected
    assert expected


@pytest.mark.parametrize("seed", range(5))
def test_switching_ignoring_and_conditions_against_plain_variables(seed: int) -> None:
    random = np.random.default_rng(seed)
    points = StopPoints()
    point = points.add(parse_stop("when win_rate[3] > 0.2"))
    enabled, ignored, hits, condition, looked_at, held = True, 0, 0, False, -1, False
    stopped = []
    for t, moment in enumerate(NUMBERS):
        match random.integers(40):
            case 0:
                enabled = False
                points.disable(point.number)
            case 1 | 2 | 3:
                enabled = True
                points.enable(point.number)
            case 4:
                ignored = int(random.integers(4))
                points.ignore(point.number, ignored)
            case 5:
                condition = not condition
                points.set_condition(point.number, compile_expression("loss > 1") if condition else None)
        expect = False
        if enabled:
            holds = rate_at(NUMBERS, t, 3) > 0.2
            if holds and not (held and looked_at == t - 1) and (not condition or loss_at(NUMBERS, t) > 1):
                hits += 1
                expect, ignored = ignored == 0, max(ignored - 1, 0)
            looked_at, held = t, holds
        assert bool(check(points, moment)) == expect, moment.step
        assert (point.hits, point.ignored) == (hits, ignored)
        stopped += [t] if expect else []
    assert len(stopped) > 5


def test_steps_that_the_loop_skips_are_stopped_at_late_but_not_missed() -> None:
    run = [Moment({"step": step}, step, None, {}, boundary) for boundary, step in enumerate(range(64, 2000, 64), 1)]
    assert hit_steps(parse_stop("500"), run) == [512]
    assert hit_steps(parse_stop("every 100"), run)[:3] == [128, 256, 320]
    assert hit_steps(parse_stop("when step > 200"), run) == [256]
    assert hit_steps(parse_stop("changed step > 200"), run) == [256]


def test_after_going_back_the_first_look_counts_again() -> None:
    forward = [Moment({"loss": 3.0, "step": step}, step, 1, {}) for step in (1, 2, 3)]
    assert hit_steps(parse_stop("when loss > 2"), forward) == [1]
    assert hit_steps(parse_stop("when loss > 2"), [*forward, *forward[1:]]) == [1, 2]
    counted = [moment._replace(boundary=boundary) for boundary, moment in enumerate([*forward, *forward[1:]], 1)]
    assert hit_steps(parse_stop("when loss > 2"), counted) == [1, 2]


def test_a_new_stop_point_can_be_tried_where_training_stands() -> None:
    points = StopPoints()
    point, rising = points.add(parse_stop("when loss > 1")), points.add(parse_stop("when delta(loss) > 0.5"))
    epoch, fails = points.add(parse_stop("epoch 2")), points.add(parse_stop("when loss[3] > 1"))
    moment = Moment({"loss": 1.25, "step": 7}, 7, 2, {})
    tried = {each.number: points.preview(each.number, moment.namespace, 7, 2) for each in points}
    assert tried[point.number] == Hit(1, "Breakpoint 1 at step 7: loss = 1.25 > 1", 7)
    assert tried[rising.number] is None
    assert [point.hits for point in points] == [0, 0, 0, 0]
    failed = tried[fails.number]
    assert failed is not None
    assert failed.failed

    points.remove(fails.number)
    hits = points.check({"loss": 2.0, "step": 8}, 8, 2)
    assert [hit.message for hit in hits] == [
        "Breakpoint 1 at step 8: loss = 2 > 1",  # trying was no first look
        "Breakpoint 2 at step 8: delta(loss) = 0.75 > 0.5",  # but it was remembered
    ]
    assert epoch.hits == 0  # the epoch had begun before


# ---- events ----------------------------------------------------------------------------------------------------------


def tensors_run(seed: int = 1) -> Run:
    """Two thousand steps of small tensors in which everything that can be caught happens, for a while at a time."""
    random = np.random.default_rng(seed)
    run: Run = []
    loss, trouble, until = 1.0, "", 0
    for step in range(1, STEPS + 1):
        if step >= until:
            kinds = ["", "nan", "inf", "small", "large", "still", "dead", "level", "high"]
            trouble, until = str(random.choice(kinds)), step + int(random.integers(1, 12))
        weights = {
            "a.weight": random.normal(0, 1, (3, 4)),
            "a.bias": random.normal(0, 1, 3),
            "b.weight": np.zeros((2, 3)),
        }
        scale = {"small": 1e-8, "large": 0.5, "still": 0.0}.get(trouble, 1e-2)
        updates = {name: scale * random.normal(0, 1, weight.shape) for name, weight in weights.items()}
        if trouble == "still" and random.random() < 0.8:
            updates["a.weight"] += 0.01
        weights["b.weight"] = updates["b.weight"]  # was all zeros before the step
        groups: dict[str, Any] = {
            name: {"a": random.normal(0, 1, (2, 3)).astype(np.float32), "n": np.arange(3)}
            for name in ("grads", "activations")
        }
        loss = loss if trouble == "level" else abs(loss + random.normal(0, 0.1) - 0.1 * (loss - 1))
        shown = loss * 4 if trouble == "high" else loss
        if trouble in ("nan", "inf"):
            place = random.choice(["grads", "activations", "weights", "loss"])
            if place == "loss":
                shown = math.nan if trouble == "nan" else -math.inf
            else:
                array = weights["a.weight"] if place == "weights" else groups[place]["a"]
                array[tuple(random.integers(array.shape))] = math.nan if trouble == "nan" else math.inf
        is_dead = random.random(8) < (0.8 if trouble == "dead" else 0.2)
        namespace = {"step": step, "loss": shown, "dead": is_dead}
        run.append(Moment(namespace, step, 1, {**groups, "weights": weights, "updates": updates}))
    return run


TENSORS = tensors_run()


def has(test: Callable[[float], bool], *groups: str) -> Oracle:
    def holds(run: Run, t: int) -> bool:
        entries = [loss_at(run, t)] if "loss" in groups else []
        for group in set(groups) - {"loss"}:
            for array in run[t].tensors[group].values():
                entries += [float(entry) for entry in array.ravel()]
        return any(test(entry) for entry in entries)

    return holds


def length(entries: list[float]) -> float:
    return math.sqrt(math.fsum(entry * entry for entry in entries))


def ratios(run: Run, t: int) -> list[float]:
    found = []
    for name, update in run[t].tensors["updates"].items():
        change, after = update.ravel().tolist(), run[t].tensors["weights"][name].ravel().tolist()
        before = length([w - c for w, c in zip(after, change, strict=True)])
        if update.ndim > 1 and before:
            found.append(length(change) / before)
    return found


def spikes(run: Run, t: int, factor: float) -> bool:
    past = [loss_at(run, s) for s in range(t) if math.isfinite(loss_at(run, s))][-20:]
    return len(past) >= 5 and math.isfinite(loss_at(run, t)) and loss_at(run, t) > factor * statistics.median(past)


def has_plateau(run: Run, t: int, steps: int) -> bool:
    """No value of the last `steps` is a record, low or high, among all finite ones before it."""
    records: list[int] = []
    kept: list[float] = []
    for past in range(t + 1):
        loss = loss_at(run, past)
        if not math.isfinite(loss):
            continue
        is_low = all(loss < other - 1e-4 * abs(other) for other in kept)
        is_high = all(loss > other + 1e-4 * abs(other) for other in kept)
        if not kept or is_low or is_high:
            records.append(past)
            kept.append(loss)
    return t - (records[-1] if records else 0) >= steps


EVENTS: dict[str, Oracle] = {
    "nan": has(math.isnan, "loss", "grads", "weights", "activations"),
    "inf": has(math.isinf, "loss", "grads", "weights", "activations"),
    "nan grads": has(math.isnan, "grads"),
    "inf loss": has(math.isinf, "loss"),
    "nan loss weights": has(math.isnan, "loss", "weights"),
    "spike loss": lambda run, t: spikes(run, t, 3),
    "spike loss x2.5": lambda run, t: spikes(run, t, 2.5),
    "plateau loss 8": lambda run, t: has_plateau(run, t, 8),
    "vanishing": lambda run, t: any(0 < ratio < 1e-6 for ratio in ratios(run, t)),
    "exploding": lambda run, t: any(not ratio <= 0.1 for ratio in ratios(run, t)),
    "exploding 0.6": lambda run, t: any(not ratio <= 0.6 for ratio in ratios(run, t)),
    "frozen": lambda run, t: any(not any(u.ravel().tolist()) for u in run[t].tensors["updates"].values()),
    "frozen 4": lambda run, t: any(
        t >= 3 and not any(any(run[t - past].tensors["updates"][name].ravel().tolist()) for past in range(4))
        for name in ("a.weight", "a.bias", "b.weight")
    ),
    "dead": lambda run, t: run[t].namespace["dead"].tolist().count(True) / 8 >= 0.5,
    "dead 80%": lambda run, t: run[t].namespace["dead"].tolist().count(True) / 8 >= 0.8,
}


@pytest.mark.parametrize("text", EVENTS)
def test_an_event_stops_where_a_check_in_the_loop_would(text: str) -> None:
    run = TENSORS[:500] if "plateau" in text else TENSORS
    expected = expected_steps(begins(EVENTS[text]), run)
    assert hit_steps(parse_catch(text), run) == expected
    assert expected


def caught(text: str, run: list[dict[str, Any]]) -> str:
    """Return what the event says at the last step of a run of namespaces, where the key tensors holds the tensors."""
    points = StopPoints()
    points.add(parse_catch(text))
    for step, values in enumerate(run, 1):
        hits = points.check({"step": step, **values}, step, 1, values.get("tensors"))
    return hits[0].message if hits else ""


def named(**arrays: Any) -> dict[str, Any]:
    return {name.replace("_", "."): np.array(array, dtype=np.float64) for name, array in arrays.items()}


BAD = {"grads": named(a_weight=[[0, 1], [math.nan, math.nan]], a_bias=[math.nan]), "weights": {}, "activations": {}}
BURST = {"updates": named(a=[[math.inf, 0]]), "weights": named(a=[[math.inf, 1]])}
MOVED = {"updates": named(a=[[0.3, 0.4]], b=[[0, 0]], c=[0]), "weights": named(a=[[3.3, 4.4]], b=[[1, 1]], c=[1])}


@pytest.mark.parametrize(
    ("text", "run", "message"),
    [
        ("nan loss", [{"loss": math.nan}], "nan in loss"),
        ("inf loss", [{"loss": np.array([1, math.inf, -math.inf])}], "inf in loss: 2 of 3 entries"),
        (
            "nan",
            [{"loss": math.nan, "tensors": BAD}],
            "nan in loss; also in grads of a.weight, grads of a.bias",
        ),
        (
            "nan grads",
            [{"tensors": BAD}],
            "nan in grads of a.weight: 2 of 4 entries, first at [1, 0]; also in grads of a.bias",
        ),
        (
            "spike loss x3",
            [*[{"loss": loss} for loss in (1.0, 1.2, 1.1, 0.9, 1.0)], {"loss": 4.0}],
            "loss = 4, median of the 5 steps before 1: more than x3",
        ),
        (
            "plateau loss 3",
            [{"loss": loss} for loss in (2.0, 1.0, 1.5, math.nan, 1.0)],
            "loss = 1, no new lowest or highest value for 3 steps (lowest 1, highest 2)",
        ),
        (
            "exploding 0.05",
            [{"tensors": MOVED}],
            "1 of 2 weight matrices changed by more than 0.05: a by 0.1 of its norm",
        ),
        (
            "vanishing 0.2",
            [{"tensors": MOVED}],
            "1 of 2 weight matrices changed by less than 0.2: a by 0.1 of its norm",
        ),
        ("exploding", [{"tensors": BURST}], "1 of 1 weight matrices changed by more than 0.1: a is not finite"),
        ("frozen", [{"tensors": MOVED}], "2 of 3 weights not changed in this step: b, c"),
        ("frozen 2", [{"tensors": MOVED}] * 2, "2 of 3 weights not changed for 2 steps: b, c"),
        (
            "dead 50%",
            [{"dead": np.array([1, 1, 0, 1, 1, 0, 0, 1], dtype=bool)}],
            "5 of 8 features are dead, at least a share of 0.5: 0, 1, 3 and 2 more",
        ),
    ],
)
def test_an_event_says_which_tensor_which_entries_how_many(text: str, run: list[dict[str, Any]], message: str) -> None:
    assert caught(text, run) == f"Catchpoint 1 at step {len(run)}: {message}"


def test_metrics_that_are_no_numbers_and_tensors_that_are_not_there() -> None:
    assert "win_rate is an array of shape [2], not one number a step. Use one entry" in caught(
        "spike win_rate", [{"win_rate": np.ones(2)}]
    )
    points = StopPoints()
    points.add(parse_catch("frozen"))
    assert points.check({}, 1, 1) == []
    assert points.take_notes() == ["Catchpoint 1: waits for 'updates', which has no value yet: see keys and sources"]


def test_what_cannot_be_seen_to_vanish_is_said_once() -> None:
    points, notes = StopPoints(), []
    points.add(parse_catch("vanishing"))
    for step in range(1, 4):
        assert points.check({"step": step}, step, 1, BURST) == []
        notes += points.take_notes()
    assert notes == [
        "Catchpoint 1: a cannot be seen to vanish while a value in it is not finite: see catch nan",
    ]


# ---- what a hit says -------------------------------------------------------------------------------------------------


def test_a_hit_names_the_stop_point_the_expression_and_the_values() -> None:
    points = StopPoints()
    for text in (
        "341",
        "when win_rate[31] < 0.01",
        "while loss > 2, step > 300",
        "epoch 3",
        "every 11",
        "changed loss",
        "changed win_rate",
    ):
        points.add(parse_stop(text))
    rates = np.linspace(0.0167, 0.5, 64)[::-1].copy()
    points.check({"step": 340, "loss": 2.5, "win_rate": rates, "epoch": 2}, 340, 2)
    lower = rates.copy()
    lower[[31, 40]] = 0.0098, math.nan
    hits = points.check({"step": 341, "loss": 2.25, "win_rate": lower, "epoch": 3}, 341, 3)
    assert [hit.message for hit in hits] == [
        "Breakpoint 1 at step 341",
        "Breakpoint 2 at step 341: win_rate[31] = 0.0098 < 0.01",
        "Breakpoint 3 at step 341: loss = 2.25 > 2 and step = 341 > 300 (hit 2)",
        "Breakpoint 4 at step 341: epoch 3",
        "Breakpoint 5 at step 341: every 11",
        "Breakpoint 6 at step 341: loss = 2.25, was 2.5",
        "Breakpoint 7 at step 341: win_rate differs in 2 of 64 entries, first at [31] = 0.0098, was 0.2622",
    ]
    shorter = points.check({"step": 342, "loss": 2.25, "win_rate": lower[:3], "epoch": 3}, 342, 3)
    assert [hit.message for hit in shorter if hit.number in (2, 7)] == [
        (
            "Breakpoint 2 at step 342: win_rate[31] < 0.01 cannot be computed: "
            "index 31 is out of bounds for axis 0 with size 3. `disable 2` passes over it"
        ),
        "Breakpoint 7 at step 342: win_rate has shape [3], was [64] (hit 2)",
    ]


def test_an_expression_that_fails_stops_every_time_and_never_raises() -> None:
    class Explosive(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            raise RuntimeError("CUDA error\nsecond line")

    points = StopPoints()
    points.add(parse_stop("while loss > 1"), temporary=True)
    points.ignore(1, 5)
    for step in (1, 2):
        (hit,) = points.check(Explosive(), step, 1)
        assert hit.message == (
            f"Breakpoint 1 at step {step}: loss > 1 cannot be computed: CUDA error. `disable 1` passes over it"
        )
        assert hit.failed
    assert len(points) == 1  # a temporary stop point that failed stays, as in pdb
    assert points.get(1).hits == 0

    points = StopPoints()
    points.add(parse_stop("while win_rate > 1"))
    points.add(parse_stop("1, nothing > 3"))
    first, second = points.check({"win_rate": np.ones(3), "step": 1}, 1, 1)
    assert "win_rate > 1 gives an array of shape [3], not one truth value. Use any(...)" in first.message
    assert "no metric, key or variable 'nothing' in this step" in second.message


def test_nan_and_a_name_without_a_value_are_said_once_and_stop_nothing() -> None:
    points = StopPoints()
    points.add(parse_stop("when loss < 0.1"))
    points.add(parse_stop("when grad_norm > 3"))
    points.add(parse_stop("every 1, loss < 0.1"))
    notes = []
    for step, loss in enumerate([1.0, math.nan, math.nan, 1.0, math.nan], 1):
        assert points.check({"loss": loss, "step": step}, step, 1) == []
        notes.append(points.take_notes())
    assert notes == [
        ["Breakpoint 2: waits for 'grad_norm', which has no value yet: see keys and sources"],
        [
            f"Breakpoint {number}: loss < 0.1 can never become true while a value in it is NaN: see catch nan"
            for number in (1, 3)
        ],
        [],
        [],
        [],
    ]
    assert points.get(2).waiting_for == "grad_norm"
    (hit,) = points.check({"loss": 1.0, "grad_norm": 5.0, "step": 6}, 6, 1)
    assert hit.message == "Breakpoint 2 at step 6: grad_norm = 5 > 3"
    assert points.get(2).waiting_for == ""


# ---- the collection --------------------------------------------------------------------------------------------------


def test_numbers_are_never_used_again_and_temporary_ones_go() -> None:
    points = StopPoints()
    assert points.last_number == 0
    points.add(parse_stop("5"), temporary=True)
    points.add(parse_catch("nan loss"))
    points.set_commands(1, ["silent", "metrics"])
    (hit,) = points.check({"loss": 1.0}, 5, 1)
    assert hit == Hit(1, "Breakpoint 1 at step 5", 5, ("silent", "metrics"), temporary=True)
    assert [point.number for point in points] == [2]
    points.remove(2)
    assert points.add(parse_stop("6")).number == points.last_number == 3


def test_a_caught_event_is_marked_as_one() -> None:
    points = StopPoints()
    points.add(parse_catch("nan loss"))
    points.add(parse_stop("1"))
    assert [hit.is_catch for hit in points.check({"loss": math.nan}, 1, 1)] == [True, False]


def test_a_wrong_number_changes_nothing() -> None:
    points = StopPoints()
    with pytest.raises(TdbError, match=r"no stop point 1\. None is set"):
        points.disable(1)
    points.add(parse_stop("5"))
    points.add(parse_stop("6"))
    for change in (points.remove, points.disable, points.enable):
        with pytest.raises(TdbError, match=r"no stop point 7\. Set: 1, 2"):
            change(1, 7)
    assert [point.enabled for point in points] == [True, True]


def test_only_what_enabled_stop_points_name_is_asked_for() -> None:
    points = StopPoints()
    points.add(parse_stop("when win_rate[3] < 0.1, loss > 2"))
    points.add(parse_catch("nan loss grads"))
    points.add(parse_stop("500"))
    assert points.names == {"win_rate", "loss"}
    assert points.groups == {"grads"}
    points.disable(1, 2)
    assert points.names == points.groups == frozenset()
    points.set_condition(3, compile_expression("epoch > 1"))
    assert points.names == {"epoch"}


def test_the_table_has_all_that_is_known() -> None:
    points = StopPoints()
    points.add(parse_stop("when loss > 2, step > 3"))
    points.add(parse_catch("dead"), temporary=True)
    points.disable(2)
    points.ignore(1, 4)
    points.set_commands(1, ["silent", "metrics"])
    points.check({"loss": 3.0, "step": 9}, 9, 1)
    assert {name: list(column) for name, column in points.table().columns.items()} == {
        "number": [1, 2],
        "type": ["break", "catch"],
        "keep": ["yes", "no"],
        "enabled": ["yes", "no"],
        "hits": [1, 0],
        "ignore": [3, 0],
        "stop": ["when loss > 2, step > 3", "dead 0.5"],
        "commands": ["silent; metrics", ""],
        "waits for": ["", ""],
    }
    assert StopPoints().table().note == "no stop points"


# ---- what is typed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*STOPS, *EVENTS])
def test_the_text_of_a_stop_reads_back_as_the_same_stop(text: str) -> None:
    parse = parse_catch if text in EVENTS else parse_stop
    stop = parse(text)
    assert parse(stop.text).text == stop.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a stop point is missing. It is STEP, +N, epoch N, every N, when EXPR, while EXPR or changed EXPR"),
        ("12.5", "a step is a whole number from 1 on, not 12.5. Examples: break 500, break +10"),
        ("-3", "a step is a whole number from 1 on, not -3. Examples: break 500, break +10"),
        ("0", "a stop point takes a whole number from 1 on, not '0'. Examples: break 500, break +10"),
        ("epoch", "epoch takes a whole number from 0 on. Example: break epoch 2"),
        ("epoch two", "epoch takes a whole number from 0 on, not 'two'. Example: break epoch 2"),
        ("every 0", "every takes a whole number from 1 on, not '0'. Example: break every 100"),
        ("when", "when takes an expression. Example: break when loss > 2"),
        ("changed ", "changed takes an expression. Example: break changed epoch"),
        ("loss > 2", "a condition begins with when, not 'loss > 2'. Did you mean: break when loss > 2"),
        ("epcoh 3", "no stop point 'epcoh 3'. Did you mean: epoch"),
        ("5 if loss > 2", "`if` has no place in a stop point: '5 if loss > 2'. Did you mean: break 5, loss > 2"),
        ("if loss > 2", "`if` has no place in a stop point: 'if loss > 2'. Did you mean: break when loss > 2"),
        (
            "my train.py:88",
            (
                "tdb stops after whole steps, not at the line my train.py:88. "
                "A step is the unit here: b 500, b when loss < 0.1, b every 100"
            ),
        ),
        (
            "train.py:88",
            (
                "tdb stops after whole steps, not at the line train.py:88. "
                "A step is the unit here: b 500, b when loss < 0.1, b every 100"
            ),
        ),
        ("when loss<", "b when loss<\n            ^ the expression ends too early"),
        ("when  wen(3) < 1", "b when  wen(3) < 1\n        ^ no function 'wen'. Did you mean: len"),
        ("500, loss<", "b 500, loss<\n            ^ the expression ends too early"),
        ("500,", "b 500,\n      ^ an expression is missing"),
    ],
)
def test_a_wrong_stop_point_is_told_what_would_be_right(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_stop(text, before="b ")
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "an event is missing. Events: nan, inf, spike, plateau, vanishing, exploding, frozen, dead, exception, oom",
        ),
        ("excepton", "no event 'excepton'. Did you mean: exception"),
        ("spkie loss", "no event 'spkie'. Did you mean: spike"),
        ("nan gards", "nan cannot be caught in 'gards'. Did you mean: grads"),
        ("inf x", "inf cannot be caught in 'x'. It is caught in loss, grads, weights, activations"),
        ("spike", "spike takes a metric. Example: catch spike loss x3"),
        ("spike loss x1", "a spike is more than x1, not x1. Example: catch spike loss x3"),
        ("spike los( x3", "catch spike los(\n               ^ '(' was never closed"),
        ("plateau loss", "plateau takes a metric and a number of steps. Example: catch plateau loss 200"),
        ("plateau loss ten", "plateau takes a whole number from 1 on, not 'ten'. Example: catch plateau loss 200"),
        ("dead 150%", "a share is at most 1, not 150%. Examples: catch dead 0.5, catch dead 50%"),
        ("exploding -1", "exploding takes a number above 0, not '-1'. Example: catch exploding 0.5"),
        ("frozen 0", "frozen takes a whole number from 1 on, not '0'. Example: catch frozen 10"),
    ],
)
def test_a_wrong_event_is_told_what_would_be_right(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_catch(text, before="catch ")
    assert str(error.value) == message


# fmt: off
pieces = st.sampled_from([
    "500", "+3", "+", "-1", "12.5", "1e5", "epoch", "every", "when", "while", "changed", "loss", ">", "<", ",", "(",
    ")", "[31]", "nan", "inf", "spike", "plateau", "dead", "frozen", "vanishing", "grads", "x3", "x", "50%", "%",
    "a.py:3", "9" * 40, "x" + "9" * 400, "\t", "\n", "'", "é", "\x00", "0", "1",
])
# fmt: on


@settings(max_examples=2000, deadline=2000, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(pieces, max_size=6).map(" ".join), st.sampled_from([parse_stop, parse_catch]))
def test_any_line_is_a_stop_or_a_usage_error(text: str, parse: Callable[[str], Stop]) -> None:
    try:
        stop = parse(text)
    except UsageError:
        return
    points = StopPoints()
    points.add(stop)
    namespace: Mapping[str, Any] = {"loss": 1.0, "step": 1, "dead": np.ones(3, dtype=bool)}
    for hit in points.check(namespace, 1, 1, {"updates": {}, "weights": {}, "grads": {}, "activations": {}}):
        assert hit.message.startswith(("Breakpoint 1 at step 1", "Catchpoint 1 at step 1"))
