"""Who is dead, who wins, who has stopped to change: against slow definitions, epoch by epoch, run by run."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bcl import BCLConfig, attach_bcl
from bcl.health import METRICS, BCLHealthTracker, health_report
from bcl.vital_signs import dead_diversity, gini, stale, statuses, top5_share, unreachable
from recipes.model import LinearAutoencoder

rates = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12).map(np.array)


def step(*win_rate, grad=1.0, som=1.0):
    return {
        "win_rate": torch.tensor(win_rate),
        "grad_magnitude": torch.full((len(win_rate),), grad),
        "som_magnitude": torch.full((len(win_rate),), som),
    }


def test_a_feature_is_dead_below_1_percent_and_wins_above_5():
    found = statuses(np.array([0.0, 0.0099, 0.01, 0.05, 0.0501, 1.0, math.nan]))
    assert found == ["dead", "dead", "contender", "contender", "winner", "winner", "unknown"]


@settings(max_examples=100, deadline=None)
@given(rates)
def test_gini_is_half_the_mean_difference_of_all_pairs_over_the_mean(win_rate):
    if win_rate.sum() == 0:
        assert math.isnan(gini(win_rate))
        return
    differences = [abs(p - q) for p in win_rate for q in win_rate]
    assert gini(win_rate) == pytest.approx(np.mean(differences) / (2 * win_rate.mean()), abs=1e-9)


def test_gini_of_nobody_equal_and_one_who_takes_all():
    assert math.isnan(gini(np.zeros(4)))
    assert gini(np.full(4, 0.3)) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 0.2])) == pytest.approx(3 / 4)


@settings(max_examples=60, deadline=None)
@given(rates)
def test_the_top_five_share_is_that_of_the_five_highest(win_rate):
    if win_rate.sum() == 0:
        assert math.isnan(top5_share(win_rate))
        return
    assert top5_share(win_rate) == pytest.approx(sum(sorted(win_rate)[-5:]) / sum(win_rate))


def test_stale_needs_five_epochs_in_a_row_that_hardly_differ():
    steady, late = np.full(7, 0.03), np.array([0.5, 0.5, 0.03, 0.03, 0.03, 0.03, 0.03])
    wobbling = 0.03 + np.array([1, -1, 1, -1, 1, -1, 1]) * 0.0009
    barely = 0.03 + np.array([1, -1, 1, -1, 1, -1, 1]) * 0.00092
    epochs = list(np.stack([steady, late, wobbling, barely], axis=1))
    assert np.var(wobbling[-5:], ddof=1) < 1e-6 < np.var(barely[-5:], ddof=1)
    assert stale(epochs[:4]).tolist() == [False] * 4
    assert stale(epochs[:5]).tolist() == [True, False, True, False]
    assert stale(epochs).tolist() == [True, True, True, False]


def test_unreachable_is_who_neither_force_moves():
    grad, som = np.array([0.09, 0.09, 0.1, 5.0]), np.array([0.09, 0.1, 0.0, 5.0])
    assert unreachable(grad, som).tolist() == [True, False, False, False]


def test_the_diversity_of_the_dead_is_the_mean_cosine_of_the_twenty_that_win_least():
    weights = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    win_rate = np.random.default_rng(0).permutation(30) / 30
    lowest = sorted(range(30), key=lambda d: win_rate[d])[:20]
    unit = weights.double().numpy() / np.linalg.norm(weights.double().numpy(), axis=1, keepdims=True)
    expected = np.mean([unit[i] @ unit[j] for i in lowest for j in lowest if i != j])
    assert dead_diversity(win_rate, weights) == pytest.approx(expected, abs=1e-6)
    assert dead_diversity(win_rate, None) is None


def test_an_epoch_is_judged_by_the_mean_of_its_batches():
    tracker = BCLHealthTracker()
    for metrics in (step(0.0, 0.0, 0.2), step(0.01, 0.04, 0.0, grad=0.0, som=0.0), step(0.0, 0.05, 0.1)):
        tracker.record_bcl_step(metrics)
    assert tracker.steps_in_epoch == 3
    epoch = tracker.end_epoch()
    (run,) = tracker.runs
    assert run.features.win_rate == pytest.approx([0.01 / 3, 0.03, 0.1])
    assert run.features.status == ["dead", "contender", "winner"]
    assert run.features.grad_magnitude == pytest.approx([2 / 3] * 3)
    assert (epoch.epoch, epoch.steps, epoch.dead, epoch.contender, epoch.winner) == (1, 3, 1, 1, 1)
    assert (epoch.unreachable, epoch.stale, epoch.dead_diversity, epoch.velocity) == (0, 0, None, None)
    assert epoch.gini == pytest.approx(gini(np.array([0.01 / 3, 0.03, 0.1])), rel=1e-5)
    assert epoch.top5_share == pytest.approx(1)

    tracker.record_bcl_step(step(0.5, 0.5, 0.5))
    assert tracker.end_epoch().winner == 3
    assert [epoch.epoch for epoch in tracker.runs[0].epochs] == [1, 2]


def test_who_stays_as_it_is_for_five_epochs_is_stale():
    tracker = BCLHealthTracker()
    counts = []
    for epoch in range(6):
        tracker.record_bcl_step(step(0.02, 0.02 if epoch else 0.5))
        counts.append(tracker.end_epoch().stale)
    assert counts == [0, 0, 0, 0, 1, 2]
    assert tracker.runs[0].features.stale == [True, True]


def test_velocity_is_the_length_of_each_row_s_way_between_epochs():
    tracker, weights = BCLHealthTracker(), torch.zeros(2, 3)
    velocities = []
    for move in (torch.zeros(2, 3), torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]]), torch.zeros(2, 3)):
        weights += move  # the same memory, as an optimizer has it
        tracker.record_bcl_step(step(0.1, 0.1))
        velocities.append((tracker.end_epoch(weights).velocity, tracker.runs[0].features.velocity))
    assert velocities == [(None, []), (3.0, [5.0, 1.0]), (0.0, [0.0, 0.0])]


def test_a_rule_that_does_not_pull_has_no_som_magnitude():
    tracker = BCLHealthTracker()
    metrics = step(0.1, 0.1, grad=0.05)
    del metrics["som_magnitude"]
    tracker.record_bcl_step(metrics)
    assert tracker.end_epoch().unreachable == 2


def test_win_rates_are_logged_every_so_many_steps_and_not_changed_later():
    tracker, metrics = BCLHealthTracker(log_every=2), step(0.0, 0.0)
    for _ in range(5):
        metrics["win_rate"] += 0.125
        tracker.record_bcl_step(metrics)
    assert health_report(tracker)["runs"][0]["win_rate_log"] == [
        {"step": 2, "win_rate": [0.25, 0.25]},
        {"step": 4, "win_rate": [0.5, 0.5]},
    ]
    assert tracker.end_epoch() is not None
    assert tracker.runs[0].features.win_rate == pytest.approx([0.375, 0.375])


def test_an_epoch_without_a_step_cannot_end():
    tracker = BCLHealthTracker()
    with pytest.raises(LookupError, match="no step was recorded"):
        tracker.end_epoch()
    tracker.record_bcl_step(step(0.1))
    tracker.end_epoch()
    with pytest.raises(LookupError, match="no step was recorded"):
        tracker.end_epoch()


def test_a_new_run_starts_afresh_and_the_earlier_ones_stay():
    tracker = BCLHealthTracker(log_every=1)
    for name, rate in (("v1", 0.2), ("m3-0", 0.0), ("v1", 0.02)):
        tracker.begin_run(name)
        for _ in range(2):
            tracker.record_bcl_step(step(rate, rate))
            tracker.end_epoch(torch.ones(2, 3) * rate)
        tracker.record_bcl_step(step(0.9, 0.9))  # of an epoch that never ends
    report = health_report(tracker)
    assert [run["name"] for run in report["runs"]] == ["m3-0", "v1"]
    assert [run["features"]["status"] for run in report["runs"]] == [["dead"] * 2, ["contender"] * 2]
    assert [[epoch["steps"] for epoch in run["epochs"]] for run in report["runs"]] == [[1, 1], [1, 1]]
    assert [run["epochs"][0]["velocity"] for run in report["runs"]] == [None, None]
    assert [entry["step"] for entry in report["runs"][0]["win_rate_log"]] == [1, 2, 3]


def random_steps(tracker, seeds):
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        tracker.record_bcl_step({name: torch.rand(6, generator=generator) / 20 for name in METRICS})
        if seed % 3 == 2:
            tracker.end_epoch(torch.rand(6, 4, generator=generator))


def test_a_report_survives_json_and_is_taken_in_again():
    tracker, other = BCLHealthTracker(log_every=4), BCLHealthTracker()
    for name in ("one", "two"):
        tracker.begin_run(name)
        random_steps(tracker, range(20))
    report = health_report(tracker)
    for run in json.loads(json.dumps(report, allow_nan=False))["runs"]:
        other.adopt_run(run)
    assert health_report(other) == report


def test_state_and_restore_repeat_the_same_epochs_bit_for_bit():
    tracker = BCLHealthTracker(log_every=4)
    tracker.begin_run("run")
    random_steps(tracker, range(10))
    state, before = tracker.state(), health_report(tracker)
    random_steps(tracker, range(10, 20))
    after = health_report(tracker)
    for _ in range(2):
        tracker.restore(state)
        assert (health_report(tracker), tracker.steps_in_epoch) == (before, 1)
        random_steps(tracker, range(10, 20))
        assert health_report(tracker) == after


def test_recording_never_waits_for_the_device_and_draws_no_random_number():
    tracker, random_state = BCLHealthTracker(log_every=2), torch.get_rng_state()
    for _ in range(5):
        tracker.record_bcl_step({name: torch.empty(3, device="meta") for name in METRICS})
    assert tracker.steps_in_epoch == 5
    assert torch.equal(torch.get_rng_state(), random_state)


def test_a_rule_in_training_is_followed_and_not_disturbed():
    torch.manual_seed(0)
    model = LinearAutoencoder(8)
    twin = copy.deepcopy(model)
    weights, recorded, tracker = {}, [], BCLHealthTracker()
    for name, net in (("followed", model), ("alone", twin)):
        bcl, optimizer = attach_bcl(net, "encoder.0", BCLConfig(som_lr=0.001)), torch.optim.Adam(net.parameters())
        for seed in range(6):
            images = torch.rand(16, 784, generator=torch.Generator().manual_seed(seed))
            optimizer.zero_grad()
            torch.nn.functional.l1_loss(net(images), images).backward()
            if name == "followed":
                tracker.record_bcl_step(bcl.get_step_metrics(METRICS))
                recorded.append(bcl.step_tensor("rank_score").double().mean(0))
            optimizer.step()
        weights[name] = net.encoder[0].weight.detach()
    tracker.end_epoch(model.encoder[0].weight)
    assert torch.equal(weights["followed"], weights["alone"])
    assert tracker.runs[0].features.win_rate == pytest.approx(torch.stack(recorded).mean(0).tolist(), rel=1e-5)
