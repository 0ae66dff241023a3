"""The rule on a layer: what happens to gradients and weights, when, and how often."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from bcl import BCLConfig, attach_bcl
from bcl.competition import nearest_neighbours
from bcl.rules import RULES
from bcl.trace import IDS

CONFIG = BCLConfig(neighborhood_k=3, som_lr=0.01, recompute_every=4)
PULLING = [name for name, rule in RULES.items() if rule.pulls]


def first_layer_model(features=6):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, features), nn.ReLU(), nn.Linear(features, 10))


def second_layer_model(features=6):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 7), nn.Tanh(), nn.Linear(7, features), nn.ReLU(), nn.Linear(features, 10))


def images(seed=0, count=5):
    return torch.rand(count, 10, generator=torch.Generator().manual_seed(seed))


def loss_of(model, x):
    return nn.functional.l1_loss(model(x), x)


@pytest.fixture(params=["first layer", "second layer"])
def attached(request):
    model, name = (first_layer_model(), "0") if request.param == "first layer" else (second_layer_model(), "2")
    return model, model.get_submodule(name), attach_bcl(model, name, CONFIG)


def test_gradients_are_those_of_the_masked_output_gradient(attached):
    model, layer, bcl = attached
    twin = copy.deepcopy(model)
    bcl_free(twin)
    twin_layer = twin.get_submodule(bcl.name)
    seen = {}
    twin_layer.register_forward_hook(lambda _layer, args, output: seen.update(x=args[0], output=output))
    loss = loss_of(twin, images())
    (at_output,) = torch.autograd.grad(loss, seen["output"], retain_graph=True)
    loss_of(model, images()).backward()

    masked = at_output * bcl.step_tensor("grad_mask")
    assert_close(layer.weight.grad, masked.T @ seen["x"])
    assert_close(layer.bias.grad, masked.sum(0))
    parameters = [p for p in twin.parameters() if p is not twin_layer.weight and p is not twin_layer.bias]
    if seen["x"].requires_grad:
        (through,) = torch.autograd.grad(seen["output"], twin[0].weight, grad_outputs=masked, retain_graph=True)
        assert_close(model[0].weight.grad, through)
    last = torch.autograd.grad(loss, parameters[-2:])
    assert_close(model[-1].weight.grad, last[0])


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_masks_and_pulls_as_its_tensors_say(rule):
    model, x = second_layer_model(), images()
    layer, twin = model[2], copy.deepcopy(model)
    bcl = attach_bcl(model, "2", replace(CONFIG, rule=rule))
    hidden = torch.tanh(twin[0](x))
    output = twin[2](hidden)
    loss = nn.functional.l1_loss(twin[4](output.relu()), x)
    (at_output,) = torch.autograd.grad(loss, output)
    before = layer.weight.detach().clone()
    loss_of(model, x).backward()

    tensors = bcl.step_tensors()
    assert_close(layer.weight.grad, (at_output * tensors["grad_mask"]).T @ hidden)
    if rule == "nbr-k8":
        assert torch.equal(layer.weight, before)
        assert "som_delta" not in tensors
        return
    rate = 1 - tensors["feature_novelty"][:, None] if rule == "decoupled" else 1
    assert_close(layer.weight, before + CONFIG.som_lr * rate * (tensors["som_targets"] - before))
    assert_close(tensors["som_delta"], layer.weight.detach() - before, rtol=1e-3, atol=1e-7)
    assert tensors["som_delta"].abs().max() > 1e-4


def bcl_free(module):
    for part in module.modules():
        part._forward_hooks.clear()


def test_the_weight_is_pulled_once_after_its_gradient_and_before_the_optimizer(attached):
    model, layer, bcl = attached
    before = layer.weight.detach().clone()
    loss_of(model, images()).backward()
    tensors = bcl.step_tensors()
    assert_close(tensors["som_delta"], CONFIG.som_lr * (tensors["som_targets"] - before))
    assert tensors["som_delta"].abs().max() > 0
    assert_close(layer.weight, before + tensors["som_delta"])

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.step()
    assert_close(layer.weight, before + tensors["som_delta"] - 0.1 * layer.weight.grad)


def test_the_optimizer_s_own_part_is_what_remains(attached):
    model, layer, bcl = attached
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for seed in range(3):
        before = layer.weight.detach().clone()
        optimizer.zero_grad()
        loss_of(model, images(seed)).backward()
        after_backward = layer.weight.detach().clone()
        optimizer.step()
        optimizer_part = layer.weight.detach() - after_backward
        assert_close(layer.weight, before + bcl.step_tensor("som_delta") + optimizer_part)
        assert optimizer_part.abs().max() <= 1.01e-3 * 10**0.5


def test_the_bias_is_masked_but_never_pulled(attached):
    model, layer, _ = attached
    before = layer.bias.detach().clone()
    loss_of(model, images()).backward()
    assert torch.equal(layer.bias, before)


def test_two_forwards_before_one_backward_pull_once_with_the_newer_targets(attached):
    model, layer, bcl = attached
    before = layer.weight.detach().clone()
    first = loss_of(model, images(1))
    second = loss_of(model, images(2))
    targets = bcl.step_tensor("som_targets")
    (first + second).backward()
    assert_close(layer.weight, before + CONFIG.som_lr * (targets - before))


def test_each_forward_masks_its_own_gradient():
    model = first_layer_model()
    bcl = attach_bcl(model, "0", CONFIG)
    separate = []
    for seed in (1, 2):
        single = copy.deepcopy(model)
        bcl_free(single)
        loss_of(model, images(seed))
        mask = bcl.step_tensor("grad_mask")
        single[0].register_forward_hook(
            lambda _l, _a, output, mask=mask: output.register_hook(lambda g: g * mask) and None
        )
        loss_of(single, images(seed)).backward()
        separate.append(single[0].weight.grad)
    (loss_of(model, images(1)) + loss_of(model, images(2))).backward()
    assert_close(model[0].weight.grad, separate[0] + separate[1])


def test_a_second_backward_through_a_kept_graph_pulls_no_more(attached):
    model, layer, _ = attached
    loss = loss_of(model, images())
    loss.backward(retain_graph=True)
    once = layer.weight.detach().clone()
    loss.backward()
    assert torch.equal(layer.weight, once)


def test_two_kept_graphs_walked_twice_pull_once(attached):
    model, layer, _ = attached
    loss = loss_of(model, images(1)) + loss_of(model, images(2))
    loss.backward(retain_graph=True)
    once = layer.weight.detach().clone()
    loss.backward()
    assert torch.equal(layer.weight, once)


def test_a_forward_whose_backward_never_comes_leaves_no_pull_behind(attached):
    model, layer, bcl = attached
    before = layer.weight.detach().clone()
    loss_of(model, images(1))
    assert torch.equal(layer.weight, before)
    loss_of(model, images(2)).backward()
    targets = bcl.step_tensor("som_targets")
    assert_close(layer.weight, before + CONFIG.som_lr * (targets - before))


def test_an_older_forward_s_backward_uses_its_own_targets_and_is_what_is_shown(attached):
    model, layer, bcl = attached
    before = layer.weight.detach().clone()
    loss = loss_of(model, images(1))
    targets = bcl.step_tensor("som_targets")
    loss_of(model, images(2))
    loss.backward()
    assert_close(layer.weight, before + CONFIG.som_lr * (targets - before))
    assert torch.equal(bcl.step_tensor("som_targets"), targets)
    assert_close(bcl.step_tensor("som_delta"), layer.weight.detach() - before, rtol=1e-3, atol=1e-7)


def test_a_gradient_of_the_weight_from_elsewhere_pulls_nothing(attached):
    model, layer, _ = attached
    loss_of(model, images())
    before = layer.weight.detach().clone()
    layer.weight.square().sum().backward()
    assert torch.equal(layer.weight, before)


def test_a_gradient_that_never_reached_the_weight_pulls_nothing_later(attached):
    model, layer, bcl = attached
    before = layer.weight.detach().clone()
    torch.autograd.grad(loss_of(model, images(1)), layer.bias)
    loss_of(model, images(2)).backward()
    targets = bcl.step_tensor("som_targets")
    assert_close(layer.weight, before + CONFIG.som_lr * (targets - before))


def test_accumulated_gradients_pull_once_a_backward(attached):
    model, layer, bcl = attached
    before = layer.weight.detach().clone()
    loss_of(model, images(1)).backward()
    delta = bcl.step_tensor("som_delta")
    loss_of(model, images(2)).backward()
    assert_close(layer.weight, before + delta + bcl.step_tensor("som_delta"))


def test_a_forward_without_gradient_is_inert(attached):
    model, _, bcl = attached
    loss_of(model, images(1)).backward()
    state, shown = bcl.state(), bcl.step_tensors()
    with torch.no_grad():
        loss_of(model, images(2))
    with torch.inference_mode():
        loss_of(model, images(2))
    assert_same(bcl.state(), state)
    assert_same(bcl.step_tensors(), shown)


def test_inside_inert_even_forward_and_backward_change_nothing(attached):
    model, layer, bcl = attached
    loss_of(model, images(1)).backward()
    state, shown, weight = bcl.state(), bcl.step_tensors(), layer.weight.detach().clone()
    with bcl.inert():
        with bcl.inert():
            pass
        loss_of(model, images(2)).backward()
    assert_same(bcl.state(), state)
    assert_same(bcl.step_tensors(), shown)
    assert torch.equal(layer.weight, weight)
    loss_of(model, images(3)).backward()
    assert bcl.state()["forwards"] == state["forwards"] + 1


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(actual[name], value) if isinstance(value, torch.Tensor) else actual[name] == value


def train(model, optimizer, seeds):
    for seed in seeds:
        optimizer.zero_grad()
        loss_of(model, images(seed)).backward()
        optimizer.step()


def test_neighbours_are_found_anew_at_forwards_0_n_2n(attached):
    model, layer, bcl = attached
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    expected = None
    for number in range(9):
        if number % CONFIG.recompute_every == 0:
            expected = nearest_neighbours(layer.weight.detach(), CONFIG.neighborhood_k).index
        train(model, optimizer, [number])
        assert torch.equal(bcl.step_tensor("neighbours"), expected)
        shuffle(layer)


@pytest.mark.parametrize("every", [1, 2, 4])
def test_the_gate_s_neighbours_are_found_when_attached_and_at_forwards_n_1_2n_1(every):
    model = first_layer_model()
    expected = nearest_neighbours(model[0].weight.detach(), 3).index
    bcl = attach_bcl(model, "0", replace(CONFIG, rule="nbr-k8", recompute_every=every))
    for number in range(3 * every):
        shuffle(model[0])
        if number % every == every - 1:
            expected = nearest_neighbours(model[0].weight.detach(), 3).index
        loss_of(model, images(number)).backward()
        assert torch.equal(bcl.step_tensor("neighbours"), expected)


def shuffle(layer):
    with torch.no_grad():
        layer.weight.copy_(layer.weight.roll(1, 0))


@pytest.mark.parametrize("rule", RULES)
def test_state_and_restore_repeat_the_same_steps_bit_for_bit(rule):
    model = second_layer_model()
    layer, bcl = model[2], attach_bcl(model, "2", replace(CONFIG, rule=rule))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    train(model, optimizer, range(6))
    state, weights = bcl.state(), copy.deepcopy(model.state_dict())
    kept = state["neighbours"].clone()
    train(model, optimizer, range(6, 12))
    final = layer.weight.detach().clone()

    for _ in range(2):
        bcl.restore(state)
        model.load_state_dict(weights)
        assert_same(bcl.state(), state)
        train(model, optimizer, range(6, 12))
        assert torch.equal(layer.weight, final)
    assert torch.equal(state["neighbours"], kept)
    state["neighbours"].zero_()
    assert torch.equal(bcl.state()["neighbours"], bcl.step_tensor("neighbours"))


def test_a_state_from_before_the_first_step_can_be_restored(attached):
    model, _, bcl = attached
    state = bcl.state()
    assert state == {"forwards": 0, "neighbours": None}
    loss_of(model, images())
    bcl.restore(state)
    assert bcl.state() == state


def test_removed_the_model_trains_as_if_the_rule_had_never_been(attached):
    model, layer, bcl = attached
    twin = copy.deepcopy(model)
    bcl_free(twin)
    waiting = loss_of(model, images())
    bcl.remove()
    waiting.backward()
    loss_of(twin, images()).backward()
    assert torch.equal(layer.weight.grad, twin.get_submodule(bcl.name).weight.grad)
    for each in (model, twin):
        train(each, torch.optim.SGD(each.parameters(), lr=0.5), range(3))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_nothing_is_shown_before_the_first_step(attached):
    _, _, bcl = attached
    assert bcl.get_step_metrics() == {}
    assert bcl.step_tensors() == {}
    with pytest.raises(LookupError, match="no step was taken yet"):
        bcl.step_tensor("som_targets")


def test_an_unknown_tensor_names_the_known_ones(attached):
    model, _, bcl = attached
    loss_of(model, images())
    with pytest.raises(LookupError, match=r"no tensor 'rank' in this step: .*rank_score"):
        bcl.step_tensor("rank")
    with pytest.raises(LookupError, match="som_delta"):
        bcl.step_tensor("som_delta")


def test_later_steps_do_not_change_tensors_that_were_taken(attached):
    model, _, bcl = attached
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    train(model, optimizer, [1])
    taken = bcl.step_tensors() | bcl.get_step_metrics()
    copies = {name: tensor.clone() for name, tensor in taken.items()}
    train(model, optimizer, [2, 3])
    assert_same(taken, copies)


def test_only_the_metrics_asked_for_are_computed(attached):
    model, _, bcl = attached
    loss_of(model, images())
    everything = bcl.get_step_metrics()
    assert_same(
        bcl.get_step_metrics(["win_rate", "crowding_std", "unheard_of"]),
        {name: everything[name] for name in ("win_rate", "crowding_std")},
    )


def test_targets_are_missing_rather_than_wrong_once_the_batch_was_overwritten():
    model = first_layer_model()
    bcl = attach_bcl(model, "0", CONFIG)
    batch = images()
    loss_of(model, batch).backward()
    expected = bcl.step_tensor("som_targets").clone()
    batch.fill_(7)
    assert torch.equal(bcl.step_tensors()["som_targets"], expected)
    assert "local_target" not in bcl.step_tensors()
    with pytest.raises(LookupError):
        bcl.step_tensor("global_target")


@pytest.mark.parametrize("rule", RULES)
def test_the_hooks_never_wait_for_the_device(rule):
    """A tensor on "meta" has no values: reading one back, as `.item()` and `.cpu()` do, is an error there."""
    model = second_layer_model().to("meta")
    bcl = attach_bcl(model, "2", replace(CONFIG, rule=rule))
    for _ in range(2):
        loss_of(model, images().to("meta")).backward()
    assert bcl.step_tensor("som_delta" if RULES[rule].pulls else "grad_mask").device.type == "meta"


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_draws_no_random_number(rule):
    model = first_layer_model()
    bcl = attach_bcl(model, "0", replace(CONFIG, rule=rule))
    before = torch.get_rng_state()
    loss_of(model, images()).backward()
    bcl.step_tensors(), bcl.get_step_metrics()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("features", "count"), [(1, 1), (1, 16), (2, 1), (2, 2), (3, 16), (20, 1), (20, 16)])
def test_few_features_and_small_batches_stay_finite(rule, features, count):
    model = second_layer_model(features)
    bcl = attach_bcl(model, "2", BCLConfig(rule, som_lr=0.005))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for seed in range(20):
        optimizer.zero_grad()
        loss_of(model, images(seed, count)).backward()
        optimizer.step()
        everything = bcl.step_tensors() | bcl.get_step_metrics()
        assert all(tensor.isfinite().all() for tensor in everything.values())
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("rule", RULES)
def test_identical_features_and_empty_images_stay_finite(rule):
    model = first_layer_model()
    nn.init.constant_(model[0].weight, 0.1)
    nn.init.zeros_(model[0].bias)
    bcl = attach_bcl(model, "0", replace(CONFIG, rule=rule))
    for _ in range(3):
        loss_of(model, torch.zeros(4, 10)).backward()
        assert all(tensor.isfinite().all() for tensor in bcl.step_tensors().values())


@pytest.mark.parametrize("rule", PULLING)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_train(rule, dtype):
    model = second_layer_model().to(dtype)
    bcl = attach_bcl(model, "2", replace(CONFIG, rule=rule))
    loss_of(model, images().to(dtype)).backward()
    assert all(tensor.dtype == dtype for name, tensor in bcl.step_tensors().items() if name not in IDS)
    assert bcl.step_tensor("som_delta").abs().max() > 0


@pytest.mark.parametrize("rule", PULLING)
def test_mixed_precision_trains(rule):
    model = second_layer_model()
    layer, bcl = model[2], attach_bcl(model, "2", replace(CONFIG, rule=rule))
    before = layer.weight.detach().clone()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(model, images())
    loss.backward()
    assert bcl.step_tensor("som_delta").dtype == torch.float32
    assert not torch.equal(layer.weight, before)


def test_the_layer_must_be_there_be_linear_and_be_trained():
    model = first_layer_model()
    with pytest.raises(ValueError, match=r"no linear layer 'encoder\.0' in the model: linear layers are 0, 2"):
        attach_bcl(model, "encoder.0")
    with pytest.raises(ValueError, match="no linear layer '1'"):
        attach_bcl(model, "1")
    model[0].weight.requires_grad_(False)
    with pytest.raises(ValueError, match="not trained"):
        attach_bcl(model, "0")


def test_the_input_must_be_a_batch_of_vectors():
    model = first_layer_model()
    attach_bcl(model, "0")
    with pytest.raises(ValueError, match=r"batch of vectors \[B, F\] at '0', not \[2, 5, 10\]"):
        model(torch.rand(2, 5, 10))


@pytest.mark.parametrize(
    "wrong",
    [
        *({"neighborhood_k": 0}, {"recompute_every": 0}, {"rescue_k": 0}),
        *({"temperature": 0.0}, {"novelty_clamp": float("nan")}, {"som_lr": -0.1}, {"som_lr": 1.5}),
    ],
)
def test_the_configuration_says_what_it_cannot_be(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BCLConfig(**wrong)


def test_an_unknown_rule_names_the_known_ones():
    with pytest.raises(ValueError, match=r"no rule 'm3': rules are v1, m3-0, m3-0\.1, m3-0\.2, decoupled, nbr-k8"):
        BCLConfig("m3")
