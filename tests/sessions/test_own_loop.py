"""A script that says itself what is trained: `tdb.attach` and `controller.steps`, with tdb and in a plain run."""

from __future__ import annotations

import itertools
import runpy
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tdb
from tdb import active
from tdb.errors import TrainingStopped
from tdb.standing import READY, STOPPED
from tests.conftest import PATIENCE, join
from tests.typing_session import TypingSession

SCRIPT = """
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset
    import tdb

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.2), nn.Linear(6, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    data = TensorDataset(torch.randn(24, 4), torch.randint(3, (24,)))
    loader = DataLoader(data, batch_size=4, shuffle=True)


    def evaluate():
        model.eval()
        with torch.no_grad():
            loss = sum(nn.functional.cross_entropy(model(x), y).item() for x, y in loader)
        model.train()
        return loss


    def train():
        controller = tdb.attach(model, optimizer, focus="2")
        for epoch in range(3):
            for step, (x, y) in enumerate(controller.steps(loader)):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                if epoch == 1 and step == 3:
                    break
            evaluate()


    train()
    torch.save(model.state_dict(), "weights.pt")
"""


def plain_weights(folder: Path) -> dict[str, torch.Tensor]:
    runpy.run_path(str(folder / "train.py"))
    weights: dict[str, torch.Tensor] = torch.load(folder / "weights.pt")
    return weights


def test_a_loop_over_steps_is_debugged_and_ends_with_the_weights_of_a_plain_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    session = TypingSession(tmp_path, SCRIPT)
    session.play("""
        (tdb) start
        > step 0        train.py(...) train
        -> controller = tdb.attach(model, optimizer, focus="2")
        (tdb) step
        > step 1  epoch 1  loss ...        train.py(...) train
        -> for step, (x, y) in enumerate(controller.steps(loader)):
        (tdb) p x.shape
        torch.Size([4, 4])
        (tdb) !torch.randn(5); None
        (tdb) focus
        layer  kind    features  row  focus
        0      Linear         6  4
        2      Linear         3  6    <-
        2 layers with features
        (tdb) data losses
        entry  shape   dtype ...
        loss   scalar  float64 ...
        1 entry
        (tdb) until 7
        > step 7  epoch 2  loss ...        train.py(...) train
        -> for step, (x, y) in enumerate(controller.steps(loader)):
        (tdb) until 10
        > step 10  epoch 2  loss ...        train.py(...) train
        -> break
        (tdb) step
        > step 11  epoch 3  loss ...        train.py(...) train
        -> for step, (x, y) in enumerate(controller.steps(loader)):
        (tdb) continue
        Training finished after 16 steps
    """)
    session.close()
    assert torch.autograd.backward.__module__ == "torch.autograd"
    debugged = torch.load(tmp_path / "weights.pt")
    for name, weight in plain_weights(tmp_path).items():
        assert torch.equal(weight, debugged[name]), name


def test_a_run_that_is_ended_in_the_past_has_not_left_its_batches(tmp_path: Path) -> None:
    session = TypingSession(tmp_path, SCRIPT.replace("    torch.save", "    # torch.save"))
    session.type("step 4")
    assert session.type("back 2").startswith("> step 2 ")
    session.type("phase")
    session.close()
    assert session.controller.take_notices() == []


@pytest.fixture
def controller() -> Iterator[tdb.DebugController]:
    active._plain = None
    made = tdb.attach()
    yield made
    made.stop()
    made.gate.dismiss()
    active._plain = None


def a_step(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(0.1)


def test_in_a_plain_run_nothing_stops_and_every_iteration_is_a_step(controller: tdb.DebugController) -> None:
    for _ in controller.steps(range(5)):
        assert not controller.is_paused
    assert controller.position.step == 5
    assert list(controller.steps("ab", epoch=7)) == ["a", "b"]
    assert controller.position[1:3] == (7, 7)
    assert len(controller.steps("abc")) == 3


def test_a_broken_iteration_counts_if_it_has_updated_a_parameter(controller: tdb.DebugController) -> None:
    model = nn.Linear(2, 2)
    assert tdb.attach(model) is controller
    for step in controller.steps(range(5)):
        if step == 2:
            break
        a_step(model)
    assert controller.position.step == 2

    def crash() -> None:
        for step in controller.steps(range(5)):
            a_step(model)
            _ = step // 0

    with pytest.raises(ZeroDivisionError):
        crash()
    assert controller.position.step == 3


def test_training_that_is_ended_at_the_boundary_of_a_break_ends_right_there(controller: tdb.DebugController) -> None:
    model = nn.Linear(2, 2)
    tdb.attach(model)
    after = []

    def train() -> None:
        for _ in controller.steps(range(5)):
            controller.stop()
            a_step(model)
            break
        after.append("the script goes on")

    with pytest.raises(TrainingStopped):
        train()
    assert not after
    assert sys.gettrace() is None
    assert controller.gate.status == "ended"


def test_attaching_again_goes_on_counting_unless_the_script_says_where_it_is(controller: tdb.DebugController) -> None:
    list(controller.steps(range(3)))
    assert tdb.attach().position.step == 3
    assert tdb.attach(step=100).position.step == 100
    list(controller.steps(range(2)))
    assert controller.position.step == 102


def test_cells_of_a_notebook_control_a_loop_in_a_thread(
    controller: tdb.DebugController, elsewhere: Callable[..., object]
) -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def train() -> None:
        for x in controller.steps(itertools.repeat(torch.ones(1, 2), 10**6)):
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()

    assert tdb.attach(model, optimizer) is controller
    controller.pause()
    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    assert controller.wait(PATIENCE) == STOPPED
    assert controller.position.step == 1
    assert controller.step(3) == 3
    assert controller.wait(PATIENCE) == STOPPED
    assert controller.get_state()["step"] == 4
    batch = controller.get_batch()
    assert batch is not None
    assert batch["batch"].shape == (1, 2)
    another = elsewhere(tdb.attach)
    assert another is not controller  # the loop of the first one still runs
    controller.stop()
    join(thread)


def test_two_threads_that_attach_before_either_trains_have_a_controller_each(controller: tdb.DebugController) -> None:
    attached = [tdb.attach()]
    both = threading.Barrier(2)

    def train() -> None:
        attached.append(tdb.attach())
        both.wait(PATIENCE)
        attached.append(tdb.attach())
        both.wait(PATIENCE)

    threads = [threading.Thread(target=train) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        join(thread)
    assert attached[0] is controller  # what the main thread has attached, a thread trains
    assert len(set(attached[1:3])) == 2
    assert controller in attached[1:3]


def test_a_loop_that_has_ended_is_whole_in_history_and_the_next_one_is_waited_for(
    controller: tdb.DebugController,
) -> None:
    model = nn.Linear(2, 2)

    def train() -> None:
        for _ in controller.steps(range(5)):
            a_step(model)

    for taken in (5, 10):
        assert tdb.attach(model) is controller
        controller.pause()
        thread = threading.Thread(target=train)
        thread.start()
        assert controller.wait(PATIENCE) == STOPPED  # not "finished", as the one before
        assert controller.position.step == taken - 4
        controller.resume()
        join(thread)
        assert list(controller.recorder.history.last(99)["step"]) == list(range(1, taken + 1))
    train()  # in the calling thread, without a word before
    assert controller.gate.thread is threading.current_thread()
    tdb.attach(model)
    assert controller.wait(0) == READY


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda model, optimizer: tdb.attach(optimizer, model), "begins with the model, and a SGD is none"),
        (lambda model, _: tdb.attach(model, model), "takes an optimizer, and a Linear is none"),
        (lambda model, _: tdb.attach(model, "sgd"), "takes an optimizer, and a str is none"),
        (lambda model, _: tdb.attach([model, model]), r"one model: torch.nn.ModuleList\(\[...\]\) holds several"),
        (lambda model, _: tdb.attach(model, focus=model), "focus is the name of a layer, .* not a Sequential"),
        (lambda model, _: tdb.attach(model, step="last"), "the number of a step is a whole one, not 'last'"),
        (lambda model, _: tdb.attach(model, last_step="last"), "the number of a step is a whole one, not 'last'"),
        (lambda model, optimizer: tdb.attach(model, optimizer, schedulers=3), "schedulers .* and a int is none"),
        (lambda model, optimizer: tdb.attach(model, schedulers=optimizer), "schedulers .* and a SGD is none"),
        (lambda model, optimizer: tdb.attach(model, optimizer, scaler=2.0), "scaler .* and a float is none"),
        (lambda model, _: tdb.attach(model, image_shape=28), r"image_shape is whole numbers, .*\(28, 28\), not 28"),
        (lambda model, _: tdb.attach(model, focus="0", image_shape="ab"), "image_shape is whole numbers, .* not 'ab'"),
        (lambda model, _: tdb.attach(model).capture_batch([1], 0.5, 1.5), "a whole one, not 1.5"),
    ],
)
@pytest.mark.usefixtures("controller")
def test_what_is_mistaken_for_another_is_named(
    given: Callable[..., object], message: str, controller: tdb.DebugController
) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(TypeError, match=message):
        given(model, torch.optim.SGD(model.parameters()))
    assert controller.image_shape is None


def test_several_optimizers_may_have_names_and_a_step_any_kind_of_whole_number(controller: tdb.DebugController) -> None:
    model = nn.Linear(2, 2)
    optimizers = {"slow": torch.optim.SGD(model.parameters()), "fast": torch.optim.Adam(model.parameters())}
    assert tdb.attach(model, optimizers).target.optimizers == list(optimizers.values())
    for step in (7, np.int64(8), torch.tensor(9)):
        controller.capture_batch([1], 0.5, step)  # type: ignore[arg-type]
        controller.wait_if_paused()
    assert repr(controller.position.step) == "9"


def test_a_closure_that_is_called_several_times_in_an_update_has_the_loss_of_its_first_call(tmp_path: Path) -> None:
    script = (
        SCRIPT[: SCRIPT.index("    def evaluate")]
        + """
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
    first = []
    for x, y in tdb.attach(model, optimizer).steps(loader):

        def closure():
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            return loss

        first.append(optimizer.step(closure).item())
    """
    )
    session = TypingSession(tmp_path, script)
    session.type("step 3")
    assert session.type("p first[-1]") == f"{session.controller.position.loss}\n"
    session.close()


TWO_MODELS = """
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset
    import tdb

    torch.manual_seed(0)
    model, other = nn.Linear(4, 3), nn.Linear(4, 3)
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (model, other)]
    data = TensorDataset(torch.randn(24, 4), torch.randint(3, (24,)))
    loader = DataLoader(data, batch_size=4, shuffle=True)
    controller = tdb.attach(nn.ModuleList([model, other]), optimizers)


    def train(which, x, y):
        loss = nn.functional.cross_entropy([model, other][which](x), y)
        optimizers[which].zero_grad()
        loss.backward()
        optimizers[which].step()


    LOOPS
    torch.save({**model.state_dict(), "other": other.weight}, "weights.pt")
"""


@pytest.mark.parametrize(
    ("loops", "steps", "why"),
    [
        (
            """
    for x, y in controller.steps(loader):
        for z, labels in controller.steps(loader):
            train(1, z, labels)
        train(0, x, y)
""",
            42,
            "the loop goes over two kinds of batches at a time, and only those of one could be given again",
        ),
        (
            """
    for (x, y), (z, labels) in zip(controller.steps(loader), controller.steps(loader)):
        train(0, x, y)
        train(1, z, labels)
""",
            12,
            "the loop goes over two kinds of batches at a time, and only those of one could be given again",
        ),
        (
            """
    for step, (x, y) in enumerate(controller.steps(loader), 1):
        train(0, x, y)
        controller.capture_batch(x, 0.5, step)
        controller.wait_if_paused()
""",
            6,
            "the loop ends its steps itself: `controller.steps` does that without a call of `wait_if_paused`",
        ),
    ],
    ids=["nested", "side by side", "by hand"],
)
def test_loops_in_one_another_take_the_steps_of_a_plain_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loops: str, steps: int, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    script = TWO_MODELS.replace("    LOOPS\n", loops)
    session = TypingSession(tmp_path, script)
    session.type("step 3")
    assert why in session.type("checkpoints")
    assert f"after {steps} steps" in session.type("continue")
    session.close()
    debugged = torch.load(tmp_path / "weights.pt")
    for name, weight in plain_weights(tmp_path).items():
        assert torch.equal(weight, debugged[name]), name


def test_what_a_loop_has_done_is_not_told_of_the_model_that_follows(controller: tdb.DebugController) -> None:
    model = nn.Linear(2, 2)

    def train() -> None:
        for _ in controller.steps(range(5)):
            a_step(model)

    tdb.attach(model)
    controller.pause()
    thread = threading.Thread(target=train)
    thread.start()
    assert controller.wait(PATIENCE) == STOPPED
    assert controller.model_capture.captured
    controller.stop()
    join(thread)
    assert controller.model_capture.captured  # the last step can still be looked at
    tdb.attach(nn.Linear(2, 2))
    assert not controller.model_capture.captured


def test_a_loop_that_says_of_no_step_where_it_is_learns_how(tmp_path: Path) -> None:
    session = TypingSession(
        tmp_path,
        """
        import tdb
        controller = tdb.attach()
        for step in range(3):
            controller.capture_batch([step], 0.5, step)
    """,
    )
    session.play("""
        (tdb) step
        Training finished without a step: the script has the controller, and never said where a step is: `for batch in controller.steps(loader)`, or `controller.wait_if_paused()` at its end
    """)  # noqa: E501
    session.close()


def test_what_is_registered_must_be_functions_and_a_loss_without_a_value_is_none(
    controller: tdb.DebugController,
) -> None:
    with pytest.raises(TypeError, match="takes a function that returns the state, and one that takes it"):
        controller.register_state("count", 5, 7)  # type: ignore[arg-type]
    controller.capture_batch([1], torch.zeros((), device="meta"))
    controller.wait_if_paused()
    controller.finish("finished")
    assert np.isnan(controller.recorder.history.last(1)["loss"]).all()


def test_a_loop_by_hand_says_why_it_does_not_go_back_whatever_was_trained_before(
    controller: tdb.DebugController,
) -> None:
    controller.pause()

    def train() -> None:
        for _ in controller.steps(range(3)):
            a_step(model)

    model = nn.Linear(2, 2)
    tdb.attach(model)
    thread = threading.Thread(target=train)
    thread.start()
    assert controller.wait(PATIENCE) == STOPPED
    assert controller.travel.why_not == ""
    controller.resume()
    join(thread)
    tdb.attach(nn.Linear(2, 2))
    controller.capture_batch([1], 0.5)
    controller.wait_if_paused()
    assert controller.travel.why_not.startswith("only a loop over `controller.steps(loader)`")


def test_a_loop_that_nobody_looked_at_when_it_began_says_so(controller: tdb.DebugController) -> None:
    model = nn.Linear(2, 2)
    tdb.attach(model)
    for _ in controller.steps(range(3)):
        a_step(model)
        controller.pause()  # somebody looks, too late; without a stop, for this is the thread that would be stopped
        controller.resume()
    assert controller.travel.why_not.startswith(
        "nobody looked yet when the loop began: with `controller.pause()` before"
    )
