"""The loop: its order, its counting, its end, and what a debugger is told."""

import copy
from multiprocessing import active_children

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from recipes.trainer import Trainer


class Batches:
    """Three batches an epoch, the same ones each time."""

    def __init__(self):
        self.batches = [
            (torch.rand(2, 4, generator=torch.Generator().manual_seed(i)), torch.tensor([i, i])) for i in range(3)
        ]

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


def trainer():
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    return Trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), Batches())


class Recorder:
    """Notes what a debugger is told, and in which order things happen."""

    def __init__(self):
        self.events = []

    def begin(self, target):
        self.events.append(("begin", target))

    def capture_batch(self, batch, loss, step=None, *, labels=None, epoch=None):
        self.events.append(("capture", batch, loss.item(), step, labels, epoch))

    def wait_if_paused(self):
        self.events.append(("wait",))

    def named(self, name):
        def event(*_arguments, **_options):
            self.events.append((name,))

        return event


def test_the_order_of_a_step():
    training, seen = trainer(), Recorder()
    training.model.register_forward_hook(seen.named("forward"))
    training.model.weight.register_post_accumulate_grad_hook(seen.named("backward"))
    training.optimizer.register_step_pre_hook(seen.named("update"))
    zero_grad = training.optimizer.zero_grad
    training.optimizer.zero_grad = lambda: (seen.events.append(("zero_grad",)), zero_grad())
    training.train(2, seen.named("on_step"), seen.named("metrics"), seen)
    names = [event[0] for event in seen.events]
    step = ["forward", "zero_grad", "backward", "capture", "metrics", "update", "on_step", "wait"]
    assert names == ["begin", *step, *step]


def test_a_debugger_is_told_batch_loss_step_labels_and_epoch():
    training, seen = trainer(), Recorder()
    training.train(4, debug_controller=seen)
    assert seen.events[0] == ("begin", training)
    captures = [event for event in seen.events if event[0] == "capture"]
    assert [event[3] for event in captures] == [1, 2, 3, 4]
    assert [event[5] for event in captures] == [1, 1, 1, 2]
    for number, (_, batch, loss, step, labels, _) in enumerate(captures):
        assert torch.equal(batch, training.loader.batches[number % 3][0])
        assert labels.tolist() == [number % 3] * 2
        assert loss == training.losses[step - 1].item()


def test_callbacks_get_the_number_of_the_step():
    training, steps, metrics = trainer(), [], []
    training.train(2, on_step=steps.append, training_metrics_fn=metrics.append)
    training.train(2, on_step=steps.append, training_metrics_fn=metrics.append)
    assert steps == metrics == [1, 2, 3, 4]


def test_each_step_is_a_step_of_gradient_descent_on_the_mean_absolute_error():
    training = trainer()
    expected = copy.deepcopy(training.model)
    losses = []
    for batch, _ in training.loader.batches * 2:
        loss = (expected(batch) - batch).abs().mean()
        gradients = torch.autograd.grad(loss, list(expected.parameters()))
        losses.append(loss.detach())
        with torch.no_grad():
            for parameter, gradient in zip(expected.parameters(), gradients, strict=True):
                parameter.sub_(0.1 * gradient)
    training.train(6)
    torch.testing.assert_close(training.model.weight, expected.weight)
    torch.testing.assert_close(training.losses, torch.stack(losses))


def test_two_calls_go_on_where_one_would_be():
    once, twice = trainer(), trainer()
    once.train(5)
    twice.train(2)
    twice.train(3)
    assert torch.equal(once.model.weight, twice.model.weight)
    assert torch.equal(once.losses, twice.losses)
    assert (once.step, once.epoch) == (twice.step, twice.epoch) == (5, 2)


def test_closed_training_can_go_on_with_a_new_epoch():
    training, seen = trainer(), Recorder()
    training.train(2)
    training.close()
    training.train(1, debug_controller=seen)
    assert torch.equal(seen.events[1][1], training.loader.batches[0][0])
    assert (training.step, training.epoch) == (3, 2)


def test_closing_ends_the_loader_s_processes_at_once():
    model = nn.Linear(4, 4)
    loader = DataLoader(TensorDataset(torch.rand(8, 4), torch.arange(8)), batch_size=2, num_workers=2)
    training = Trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), loader)
    training.train(1)
    assert len(active_children()) == 2
    training.close()
    assert active_children() == []


def test_stop_ends_after_the_step_and_training_can_go_on():
    training = trainer()
    training.train(100, on_step=lambda step: training.stop() if step == 2 else None)
    assert (training.step, len(training.losses)) == (2, 2)
    training.train(1)
    assert (training.step, len(training.losses)) == (3, 3)


def test_watching_changes_no_bit():
    alone, watched = trainer(), trainer()
    alone.train(7)
    watched.train(7, debug_controller=Recorder())
    assert torch.equal(alone.model.weight, watched.model.weight)
    assert torch.equal(alone.losses, watched.losses)


def test_a_loader_without_batches_is_refused():
    model = nn.Linear(4, 4)
    with pytest.raises(ValueError, match="no batches"):
        Trainer(model, torch.optim.SGD(model.parameters()), [])
