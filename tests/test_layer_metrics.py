"""The metrics of a plain layer, recorded at every step: in whatever loop, they are what the formulas say."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tdb.controller import DebugController
from tdb.generic_metrics import GENERIC_METRICS
from tdb.history import History
from tdb.layer_metrics import MOST_BYTES, Kind, StepBatch, steps_together
from tdb.stop_question import StopCheck
from tdb.weight_batch import SMALL, WeightBatch

STEPS = 40


def oracle(weight: Tensor, before: Tensor, grad: Tensor, output: Tensor, initial: Tensor) -> dict[str, Tensor]:
    """The metrics written straight down, in double precision."""
    weight, before, grad, output, initial = (
        tensor.double().flatten(1) for tensor in (weight, before, grad, output, initial)
    )
    change = weight - before
    return {
        "weight_norm": weight.norm(dim=1),
        "grad_norm": grad.norm(dim=1),
        "update_norm": change.norm(dim=1),
        "update_ratio": change.norm(dim=1) / weight.norm(dim=1),
        "descent_cos": torch.cosine_similarity(change, -grad, dim=1, eps=0).nan_to_num(0.0),  # a row without a gradient
        "mean_activation": output.mean(0),
        "activation_std": output.std(0, correction=0),
        "active_fraction": (output > 0).double().mean(0),
        "cos_to_init": torch.cosine_similarity(weight, initial, dim=1),
    }


def train(
    controller: DebugController,
    *,
    clear: str = "before",
    sizes: tuple[int, ...] = (8,),
    layer: tuple[int, int] = (6, 5),
    at_step: Callable[[int], object] = abs,
    inside: Callable[[str, int], object] = lambda *_: None,
) -> list[dict[str, Tensor]]:
    """Train one linear layer, and return what the metrics of every step are."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(*layer), nn.ReLU(inplace=True))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    weight = model[0].weight
    initial = weight.detach().clone()
    controller.begin(SimpleNamespace(model=model, optimizer=optimizer))
    expected = []
    for step in range(1, STEPS + 1):
        inputs = torch.randn(sizes[step % len(sizes)], layer[0])
        with torch.no_grad():
            output = nn.functional.linear(inputs, weight, model[0].bias)
        loss = (model(inputs) ** 2).mean()
        inside("forward", step)
        if clear == "before":
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        inside("backward", step)
        weight = model[0].weight
        before, grad = weight.detach().clone(), weight.grad.clone()
        controller.capture_batch(inputs, loss, step)
        optimizer.step()
        inside("update", step)
        if clear != "before":
            optimizer.zero_grad(set_to_none=clear == "to none")
        expected.append(oracle(model[0].weight.detach(), before, grad, output, initial))
        at_step(step)
        controller.wait_if_paused()
    controller.finish("finished")
    return expected


def compare(
    history: History, expected: list[dict[str, Tensor]], steps: list[int], names: Any = GENERIC_METRICS
) -> None:
    for name in names:
        found, values = history.metric(name)
        assert found.tolist() == steps, name
        wanted = torch.stack([expected[step - 1][name] for step in steps]).numpy()
        np.testing.assert_allclose(values, wanted, rtol=2e-4, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("clear", ["before", "to none", "in place"])
@pytest.mark.parametrize("sizes", [(8,), (8, 8, 8, 3), (4, 7)])
def test_every_step_is_recorded_as_the_formulas_say(
    controller: DebugController, clear: str, sizes: tuple[int, ...]
) -> None:
    controller.recorder.dense = True
    compare(controller.recorder.history, train(controller, clear=clear, sizes=sizes), list(range(1, STEPS + 1)))


@pytest.mark.parametrize("layer", [(6, 5), (SMALL // 4, 3)])
def test_a_free_run_records_now_and_then_what_needs_no_capture(
    controller: DebugController, layer: tuple[int, int]
) -> None:
    controller.recorder.every = 3
    expected = train(controller, layer=layer)
    steps = [1, *range(3, STEPS + 1, 3)]
    compare(controller.recorder.history, expected, steps, ("weight_norm", "grad_norm", "cos_to_init"))


@pytest.mark.parametrize("layer", [(6, 5), (SMALL // 4, 3)])
def test_a_step_without_a_gradient_is_recorded_without_its_norm(
    controller: DebugController, layer: tuple[int, int]
) -> None:
    controller.recorder.every = 1

    def freeze(step: int) -> None:
        if 10 <= step < 20:
            controller.target.model[0].weight.grad = None

    expected = train(controller, layer=layer, at_step=freeze)
    controller.recorder.flush()
    compare(controller.recorder.history, expected, list(range(1, STEPS + 1)), ("weight_norm", "cos_to_init"))
    _, norms = controller.recorder.history.metric("grad_norm")
    assert np.isnan(norms).all(1).nonzero()[0].tolist() == list(range(9, 19))


@pytest.mark.parametrize("every", [2, 10**6])
def test_watching_begins_and_ends_in_the_middle(controller: DebugController, every: int) -> None:
    controller.recorder.every = every

    def look(step: int) -> None:
        if step == 7:
            controller.add_watch(2)
        if step == 20:
            controller.remove_watch(2)
            controller.add_watch(4)

    expected = train(controller, at_step=look)
    history, watches = controller.recorder.history, controller.recorder.watches
    before = [step for step in range(1, 7) if step == 1 or step % every == 0]
    compare(history, expected, [*before, *range(7, STEPS + 1)], ("weight_norm", "cos_to_init"))
    compare_steps = {2: list(range(7, 20)), 4: list(range(20, STEPS + 1))}
    for feature, steps in compare_steps.items():
        trajectory = watches.trajectory(feature)
        assert trajectory["step"].tolist() == steps
        wanted = [expected[step - 1]["update_norm"][feature] for step in steps[1:]]
        np.testing.assert_allclose(trajectory["update_norm"][1:], wanted, rtol=1e-4)


def test_the_step_at_which_training_stops_is_whole_although_others_wait(controller: DebugController) -> None:
    """A stop that nobody foresaw shows this step's gradient and change, and history is complete there."""
    controller.recorder.dense = True
    seen: list[Any] = []

    class At(StopCheck):
        def reason(self, position: Any) -> str:
            seen.append((controller.layer.combined().norm(), controller.layer.grad().norm()))
            return "" if position.step != 23 else "now"

    def look(step: int) -> None:
        if step == 22:
            controller.gate.at_boundary(lambda: None)
        if step == 23:
            controller.at_boundary(lambda: recorded.append(controller.recorder.history.metric("weight_norm")[0]))
            controller.at_boundary(controller.resume)

    recorded: list[Any] = []
    controller.stop_when(At())
    expected = train(controller, at_step=look)
    assert recorded[0].tolist() == list(range(1, 24))
    compare(controller.recorder.history, expected, list(range(1, STEPS + 1)))
    np.testing.assert_allclose(
        [float(norm) for norm, _ in seen], [e["update_norm"].norm() for e in expected], rtol=1e-4
    )
    np.testing.assert_allclose([float(norm) for _, norm in seen], [e["grad_norm"].norm() for e in expected], rtol=1e-4)


@pytest.mark.parametrize("phase", ["forward", "backward", "update"])
@pytest.mark.parametrize("every", [1, 3, 16, 17])
def test_history_is_complete_whenever_it_is_asked_for_inside_a_step(
    controller: DebugController, phase: str, every: int
) -> None:
    controller.recorder.dense = True

    def look(now: str, step: int) -> None:
        if now == phase and step % every == 0 and step > 1:
            controller.recorder.flush()
            assert controller.recorder.history.metric("update_norm")[0].tolist() == list(range(1, step))

    expected = train(controller, inside=look)
    compare(controller.recorder.history, expected, list(range(1, STEPS + 1)))


@pytest.mark.parametrize("phase", ["forward", "backward", "update"])
def test_what_else_passes_through_the_layer_is_no_part_of_the_step(controller: DebugController, phase: str) -> None:
    """An evaluation, of as many inputs or of others, and a pass of a model that is not being trained."""
    controller.recorder.dense = True

    def evaluate(now: str, step: int) -> None:
        model = controller.target.model
        if now == phase and step % 2 == 0:
            with torch.no_grad():
                model(torch.randn(8 if step % 4 else 5, 6))
            model.eval()
            model(torch.randn(8, 6))
            model.train()

    compare(controller.recorder.history, train(controller, inside=evaluate), list(range(1, STEPS + 1)))


def test_a_weight_that_has_got_other_memory_or_is_another_parameter(controller: DebugController) -> None:
    controller.recorder.dense = True

    def exchange(now: str, step: int) -> None:
        layer, optimizer = controller.target.model[0], controller.target.optimizer
        if (now, step % 5) == ("update", 0):
            layer.weight.data = layer.weight.data.clone() * 2
        if (now, step) == ("update", 22):
            layer.weight = nn.Parameter(layer.weight.detach() + 1)
            optimizer.param_groups[0]["params"][0] = layer.weight

    expected = train(controller, inside=exchange, clear="to none")
    compare(controller.recorder.history, expected, list(range(1, STEPS + 1)), ("weight_norm", "cos_to_init"))
    compare(controller.recorder.history, expected, list(range(1, STEPS + 1)), ("update_norm",))


@pytest.mark.parametrize("layer", [(6, 5), (SMALL // 4, 3)])
@pytest.mark.parametrize("clear", ["before", "to none"])
def test_in_a_free_run_too(controller: DebugController, layer: tuple[int, int], clear: str) -> None:
    controller.recorder.every = 2

    def exchange(now: str, step: int) -> None:
        layer, optimizer = controller.target.model[0], controller.target.optimizer
        if (now, step) == ("update", 7):
            layer.weight.data = layer.weight.data.clone() * 2
        if (now, step) == ("update", 12):
            layer.weight.data.mul_(3)
        if (now, step) == ("update", 15):
            layer.weight = nn.Parameter(layer.weight.detach() + 1)
            layer.weight.grad = torch.ones_like(layer.weight)
            optimizer.param_groups[0]["params"][0] = layer.weight
        if (now, step) == ("update", 26):
            layer.weight.data = layer.weight.data.t().contiguous().t()
        if (now, step) == ("update", 33):
            layer.weight.data = layer.weight.data.contiguous()

    expected = train(controller, inside=exchange, clear=clear, layer=layer)
    steps = [1, *range(2, STEPS + 1, 2)]
    compare(controller.recorder.history, expected, steps, ("weight_norm", "cos_to_init"))


def test_a_square_weight_that_is_turned_where_it_is(controller: DebugController) -> None:
    controller.recorder.every = 2

    def turn(now: str, step: int) -> None:
        if (now, step) == ("update", 15):
            weight = controller.target.model[0].weight
            weight.data = weight.data.t()

    expected = train(controller, inside=turn, layer=(6, 6))
    steps = [1, *range(2, STEPS + 1, 2)]
    compare(controller.recorder.history, expected, steps, ("weight_norm", "cos_to_init"))


def test_features_that_are_pruned_where_they_are_are_others(controller: DebugController) -> None:
    controller.recorder.every = 2
    model = nn.Linear(6, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    controller.begin(SimpleNamespace(model=model, optimizer=optimizer))
    for step in range(1, STEPS + 1):
        if step == 21:  # the parameter is the same one, and its memory
            model.weight.data, model.bias.data = model.weight.data[:4], model.bias.data[:4]
        optimizer.zero_grad()
        loss = (model(torch.randn(8, 6)) ** 2).mean()
        loss.backward()
        optimizer.step()
        controller.capture_batch(None, loss, step)
        controller.wait_if_paused()
        del loss  # torch knows the old shape as long as a graph is there
    controller.finish("finished")
    steps, values = controller.recorder.history.metric("weight_norm")
    assert steps.tolist() == list(range(22, STEPS + 1, 2))
    assert values.shape == (10, 4)
    np.testing.assert_allclose(values[-1], model.weight.detach().norm(dim=1).numpy(), rtol=1e-5)


@pytest.mark.parametrize("dense", [False, True])
def test_a_sparse_weight_is_recorded_and_training_goes_on(controller: DebugController, dense: bool) -> None:
    controller.recorder.every, controller.recorder.dense = 2, dense
    model = nn.Linear(6, 5, bias=False)
    model.weight = nn.Parameter(model.weight.detach().to_sparse())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    controller.begin(SimpleNamespace(model=model, optimizer=optimizer))
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        loss = (torch.sparse.mm(model.weight, torch.randn(6, 8)) ** 2).mean()
        loss.backward()
        optimizer.step()
        controller.capture_batch(None, loss, step)
        controller.wait_if_paused()
    controller.finish("finished")
    assert not controller.recorder.failure
    steps, values = controller.recorder.history.metric("weight_norm")
    assert steps.tolist() == list(range(1, STEPS + 1) if dense else [1, *range(2, STEPS + 1, 2)])
    np.testing.assert_allclose(values[-1], model.weight.detach().to_dense().norm(dim=1).numpy(), rtol=1e-5)


def test_weights_that_are_no_numbers_are_recorded_and_training_goes_on(controller: DebugController) -> None:
    controller.recorder.dense = True

    def spoil(step: int) -> None:
        if step == 9:
            with torch.no_grad():
                controller.target.model[0].weight[3] = torch.inf

    train(controller, at_step=spoil)
    steps, values = controller.recorder.history.metric("weight_norm")
    assert steps.tolist() == list(range(1, STEPS + 1))
    assert not np.isfinite(values[8:, 3]).any()
    assert not controller.recorder.failure


@pytest.mark.parametrize("layer", [(1, 1), (1, 7), (7, 1)])
def test_one_feature_or_one_input(controller: DebugController, layer: tuple[int, int]) -> None:
    controller.recorder.dense = True
    compare(controller.recorder.history, train(controller, layer=layer), list(range(1, STEPS + 1)), ("weight_norm",))


def test_a_large_layer_takes_no_memory_for_steps_that_wait() -> None:
    assert steps_together(torch.empty(64, 784)) == 16
    large = torch.empty(100_000, 64)
    assert steps_together(large) < 2 < MOST_BYTES / large.nbytes * 1000


def test_a_step_has_the_same_bits_however_many_wait_with_it() -> None:
    """So a step that is taken again, alone, can be compared with what was recorded of it."""
    torch.manual_seed(0)
    initial = torch.randn(33, 101)
    together, alone = StepBatch(initial), StepBatch(initial)
    kind = Kind(grad=True, output=True)
    found = []
    for _ in range(7):
        before, after, grad, output = (torch.randn(*size) for size in [(33, 101)] * 3 + [(17, 33)])
        for batch in (together, alone):
            batch.part()
            batch.begin_step(before.clone)
            batch.keep_grad(grad)
            batch.keep_output(output)
            batch.end_step(after, kind)
        names, values, _ = alone.take(None)()
        found.append(values[0])
    assert names == tuple(GENERIC_METRICS)
    np.testing.assert_array_equal(together.take(None)()[1], np.stack(found))


@pytest.mark.parametrize("size", [(3, 7), (3, SMALL)])
def test_a_weight_has_the_same_bits_however_many_wait_with_it(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    initial = torch.randn(size)
    together, alone = WeightBatch(initial), WeightBatch(initial)
    found = []
    for _ in range(7):
        weight, grad = torch.randn(size), torch.randn(size)
        for batch in (together, alone):
            assert batch.put(weight.numpy(), grad.numpy())
        assert not together.put(weight.numpy(), None)  # it has other metrics
        found.append(alone.take(None)()[1][0])
    np.testing.assert_array_equal(together.take(None)()[1], np.stack(found))


class ForeseesAll(StopCheck):
    """Every step is captured whole, as if training were stepped, and none is stopped at."""

    def may_stop(self, step: int) -> bool:
        return step > 0


@pytest.mark.parametrize("sizes", [(8,), (8, 8, 8, 3)])
def test_a_stepped_run_records_the_bits_of_one_that_was_followed(sizes: tuple[int, ...]) -> None:
    recorded = []
    for stepped in (False, True):
        controller = DebugController()
        controller.recorder.dense = True
        if stepped:
            controller.stop_when(ForeseesAll())
        train(controller, sizes=sizes)
        recorded.append({name: controller.recorder.history.metric(name)[1] for name in GENERIC_METRICS})
    for name, values in recorded[0].items():
        np.testing.assert_array_equal(recorded[1][name], values, err_msg=name)
