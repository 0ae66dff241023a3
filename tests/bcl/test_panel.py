"""The door to tdb: what the panel declares."""

import pytest
import torch

from bcl import BCLConfig, attach_bcl
from bcl.health import BCLHealthTracker
from bcl.panel import bcl_panel
from bcl.rules import RULES
from recipes.model import LinearAutoencoder


def stepped(name="m3-0.2"):
    torch.manual_seed(0)
    model = LinearAutoencoder()
    rule = attach_bcl(model, "encoder.0", BCLConfig(name, som_lr=0.001))
    images = torch.rand(16, 1, 28, 28)
    before = model.encoder[0].weight.detach().clone()
    torch.nn.functional.l1_loss(model(images), images).backward()
    return model, rule, before


def test_the_panel_shows_the_rule_s_metrics_targets_and_force():
    model, rule, before = stepped()
    panel = bcl_panel(rule)
    assert panel.layer == "encoder.0"
    assert panel.columns == (
        *("win_rate", "grad_magnitude", "som_magnitude", "feature_novelty", "effective_win"),
        *("gradient_weight", "contender_weight", "attraction_weight"),
    )
    metrics = panel.metrics()
    assert all(metrics[column].shape == (64,) for column in panel.columns)
    assert set(panel.scatter) <= set(metrics)
    assert {name: tuple(source().shape) for name, source in panel.sources.items()} == dict.fromkeys(
        ["som_targets", "local_target", "global_target", "som_delta"], (64, 784)
    )
    torch.testing.assert_close(model.encoder[0].weight, before + panel.forces["som"]())
    assert panel.status(metrics["win_rate"].numpy()) == [
        "dead" if rate < 0.01 else "winner" if rate > 0.05 else "contender" for rate in metrics["win_rate"].tolist()
    ]


OWN_COLUMNS = {
    "v1": (),
    "m3-0": ("bully_magnitude",),
    "m3-0.1": ("gradient_weight", "rotation_weight", "attraction_weight", "bully_magnitude"),
    "decoupled": ("feature_novelty", "som_rate"),
}


@pytest.mark.parametrize("name", OWN_COLUMNS)
def test_each_rule_has_its_own_columns_and_targets(name):
    model, rule, before = stepped(name)
    panel = bcl_panel(rule)
    assert panel.columns == ("win_rate", "grad_magnitude", "som_magnitude", *OWN_COLUMNS[name])
    metrics = panel.metrics()
    assert all(metrics[column].shape == (64,) for column in (*panel.columns, *panel.scatter))
    assert all(source().shape == (64, 784) for source in panel.sources.values())
    assert {"som_targets", "som_delta"} <= set(panel.sources)
    torch.testing.assert_close(model.encoder[0].weight, before + panel.forces["som"]())


@pytest.mark.parametrize("name", RULES)
def test_metrics_of_steps_that_are_computed_together_are_those_of_each_step(name):
    model, rule, _ = stepped(name)
    panel = bcl_panel(rule)
    expected, kept = [], []
    for _ in range(3):
        torch.nn.functional.l1_loss(model(torch.rand(16, 784)), torch.rand(16, 784)).backward()
        expected.append(torch.stack([panel.metrics()[column] for column in panel.columns]))
        kept.append(torch.stack(panel.recorded.parts()))
    together = panel.recorded.columns(torch.stack(kept))
    assert tuple(together) == tuple(panel.columns)
    assert torch.equal(torch.stack(tuple(together.values()), dim=1), torch.stack(expected))


def test_the_gate_alone_has_no_force_and_no_targets():
    model, rule, before = stepped("nbr-k8")
    panel = bcl_panel(rule)
    assert panel.columns == ("win_rate", "grad_magnitude")
    assert (panel.sources, panel.forces) == ({}, {})
    assert all(panel.metrics()[name].shape == (64,) for name in panel.scatter)
    assert torch.equal(model.encoder[0].weight, before)


@pytest.mark.parametrize("name", RULES)
def test_before_the_first_step_there_is_nothing_to_look_at(name):
    panel = bcl_panel(attach_bcl(LinearAutoencoder(), "encoder.0", BCLConfig(name)))
    assert panel.metrics() == {}
    for give in (*panel.sources.values(), *panel.forces.values()):
        with pytest.raises(LookupError, match="no step was taken yet"):
            give()


def test_the_panel_keeps_and_restores_the_rule_and_its_health():
    model, rule, _ = stepped()
    tracker = BCLHealthTracker()
    panel = bcl_panel(rule, tracker)
    tracker.record_bcl_step(rule.get_step_metrics())
    state = panel.state()
    with panel.inert():
        model(torch.rand(2, 1, 28, 28))
    assert rule.state()["forwards"] == 1
    model(torch.rand(2, 1, 28, 28))
    tracker.record_bcl_step(rule.get_step_metrics())
    panel.restore(state)
    assert (rule.state()["forwards"], tracker.steps_in_epoch) == (1, 1)


def test_without_a_tracker_the_panel_keeps_and_restores_the_rule_alone():
    model, rule, _ = stepped()
    panel = bcl_panel(rule)
    state = panel.state()
    model(torch.rand(2, 1, 28, 28))
    panel.restore(state)
    assert rule.state()["forwards"] == 1
