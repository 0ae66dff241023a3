"""Inside a step: from phase to phase, gradients changed before they are used, and several passes a step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn.modules import module as torch_modules
from torch.optim import optimizer as torch_optimizers

from tdb.prompt_python import run_python
from tests.typing_session import TypingSession

Make = Callable[..., TypingSession]

LOOP = """
    import torch
    import tdb
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


    def train(controller):
        for step in range(1, 10):
            {body}
            controller.wait_if_paused()


    train(tdb.attach(model, optimizer))
"""

PLAIN = """
            inputs, labels = torch.randn(5, 6), torch.randint(0, 3, (5,))
            outputs = model(inputs)
            loss = nn.functional.cross_entropy(outputs, labels)
            optimizer.zero_grad()
            loss.backward()
            controller.capture_batch((inputs, labels), loss, step, epoch=1)
            controller.capture_step_data("outputs", outputs)
            optimizer.step()"""

ACCUMULATION = """
            optimizer.zero_grad()
            for part in range(2):
                outputs = model(torch.randn(5, 6))
                loss = outputs.square().mean() / 2
                loss.backward()
            optimizer.step()"""

CLOSURE = """
            inputs = torch.randn(5, 6)
            if step == 1:
                optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)
                controller.target.optimizers[:] = [optimizer]

            def closure():
                optimizer.zero_grad()
                loss = model(inputs).square().mean()
                loss.backward()
                return loss

            optimizer.step(closure)"""

TWO = """
            fake = model(torch.randn(5, 6))
            critic = model[2]
            (critic(torch.randn(5, 4)).mean() - fake.mean()).backward()
            first = torch.optim.SGD(critic.parameters(), lr=0.1)
            first.step()
            optimizer.step()"""


def loop(body: str) -> str:
    return LOOP.replace("            {body}", body.strip("\n"))


def nothing_stays_behind() -> bool:
    hooks = [
        torch_modules._global_forward_hooks,
        torch_modules._global_forward_pre_hooks,
        torch_optimizers._global_optimizer_pre_hooks,
        torch_optimizers._global_optimizer_post_hooks,
    ]
    return not any(map(len, hooks)) and torch.autograd.backward.__module__ == "torch.autograd"


def test_from_phase_to_phase(make_session: Make) -> None:
    """Every stop is at the loop's own line; what the step has not come to is said, not invented."""
    session = make_session(loop(PLAIN))
    session.play("""
        (tdb) phase
        > step 1 at batch        ...train.py(15) train
        -> outputs = model(inputs)
        (tdb) where
        ...train.py(25) <module>
        > step 1 at batch        ...train.py(15) train
        -> outputs = model(inputs)
        (tdb) batch
        step   1
        epoch  -
        loss   -
        tensor  shape  ...
        batch   5x6    ...
        1 tensor
        (tdb) grid grad
        *** no gradients yet: this step is at batch: `phase` goes on, `step` completes it
        (tdb) pystep
        *** this step is at batch: `step` completes it
        (tdb) metrics top 1
        feature_id  weight_norm  cos_to_init  status
        ...
        (tdb) ph
        > step 1 at forward        ...train.py(15) train
        -> outputs = model(inputs)
        (tdb) metrics top 1
        feature_id  weight_norm  mean_activation  activation_std  active_fraction  cos_to_init  status
        ...
        (tdb) data outputs
        *** nothing captured under 'outputs'. Captured: nothing
    """)
    session.play("""
        (tdb) phase
        > step 1 at loss  loss ...        ...train.py(18) train
        -> loss.backward()
        (tdb)
        > step 1 at backward  loss ...        ...train.py(18) train
        -> loss.backward()
        (tdb) force
        *** no forces yet: this step is at backward: `phase` goes on, `step` completes it
        (tdb) phase
        > step 1 at update  epoch 1  loss ...        ...train.py(21) train
        -> optimizer.step()
        (tdb) keys
        key  ...
        outputs  Tensor
        1 key
        (tdb) force
        grad_delta_norm ...
        (tdb) phase
        > step 1  epoch 1  loss ...        ...train.py(22) train
        -> controller.wait_if_paused()
    """)
    assert session.controller.get_state()["phase"] == "boundary"
    session.play("""
        (tdb) phase 3
        > step 2 at loss ...
        (tdb) step
        > step 2  epoch 1  loss ...
        (tdb) phase backward
        > step 3 at backward ...
        (tdb) step 2
        > step 4  epoch 1  loss ...
        (tdb) phase update
        > step 5 at update ...
        (tdb) phase batch
        > step 6 at batch ...
        (tdb) phase bakward
        *** phase takes a number of phases or the name of one, not 'bakward'. Did you mean: backward
        (tdb) break 8
        Breakpoint 1, step 8
        (tdb) continue
        Breakpoint 1 at step 8
        > step 8 ...
        (tdb) phase
        > step 9 at batch ...
        (tdb) phase backward
        > step 9 at backward ...
        (tdb) continue
        Training finished after 9 steps
    """)
    assert nothing_stays_behind()


def test_gradients_changed_at_backward_are_those_of_the_update(make_session: Make) -> None:
    session = make_session(loop(PLAIN), as_json=True)
    session.answer("step 2")
    session.answer("phase backward")
    weights = run_python(session.session, "model[0].weight.clone()")
    memory = run_python(session.session, "optimizer.state[model[0].weight]['momentum_buffer'].clone()")
    session.answer("! model[0].weight.grad.mul_(0).add_(2)")
    assert session.answer("grid grad all")["rows"][0] == [2] * 6
    assert session.answer("step")["phase"] == "boundary"
    after = run_python(session.session, "model[0].weight.clone()")
    torch.testing.assert_close(after, weights - 0.1 * (0.9 * memory + 2))
    answer = session.answer("phase forward")
    assert (answer["step"], answer["phase"], answer["loss"]) == (4, "forward", None)


@pytest.mark.parametrize(
    ("body", "phases"),
    [
        (
            ACCUMULATION,
            """batch, forward, loss, backward, batch 2, forward 2, loss 2, backward 2, update, boundary,
            batch 1 of 2, forward 1 of 2, loss 1 of 2, backward 1 of 2, batch 2 of 2, forward 2 of 2, loss 2 of 2,
            backward 2 of 2, update""",
        ),
        (
            CLOSURE,
            "batch, forward, loss, backward, batch 2, forward 2, loss 2, backward 2, update, boundary, batch 1 of 2",
        ),
        (
            TWO,
            """batch, forward, batch 2 (2), forward 2 (2), loss, backward, update, update 2, boundary,
            batch 1 of 2, forward 1 of 2, batch 2 of 2 (2), forward 2 of 2 (2), loss, backward,
            update 1 of 2 (SGD), update 2 of 2 (SGD), boundary""",
        ),
    ],
    ids=["accumulation", "closure", "two optimizers"],
)
def test_which_of_how_many(make_session: Make, body: str, phases: str) -> None:
    """How many there are is known from the step before."""
    session = make_session(loop(body), as_json=True)
    for phase in phases.split(","):
        assert session.answer("phase")["phase"] == phase.strip()


def test_quit_a_crash_and_a_breakpoint_from_inside(make_session: Make) -> None:
    session = make_session(loop(PLAIN))
    session.play("""
        (tdb) break 2
        Breakpoint 1, step 2
        (tdb) commands 1
        (tdb) p 6 * 7
        (tdb) end
        (tdb) continue
        Breakpoint 1 at step 2
        > step 2 ...
        -> controller.wait_if_paused()
        42
        (tdb) phase forward
        > step 3 at forward ...
        -> outputs = model(inputs)
        (tdb) display delta(loss)
        1: delta(loss) is known at the end of the step
        (tdb) display 1 * mean_activation
        2: 1 * mean_activation = ...
        (tdb) phase
        > step 3 at loss  loss ...
        -> loss.backward()
        1: delta(loss) is known at the end of the step
        2: 1 * mean_activation = ...
        (tdb) break while loss < 0
        Breakpoint 2, while loss < 0
        tried at the end of step 3
        (tdb) undisplay
    """)
    session.controller.stop()
    session.controller.gate.dismiss()
    session.session.run.thread.join(30)  # type: ignore[union-attr]
    assert (session.session.status, session.controller.position.step) == ("ended", 2)
    assert nothing_stays_behind()
    crashing = make_session(loop(PLAIN.replace("optimizer.zero_grad()", "1 / (step - 2)")))
    assert "ZeroDivisionError" in crashing.type("step;; phase;; phase;; phase")
    assert nothing_stays_behind()


def test_a_script_that_has_never_heard_of_tdb(make_session: Make) -> None:
    """Its boundary lies inside the optimizer's update, and its loss is shown without the gradient scaler's factor."""
    scaled = PLAIN.replace("loss.backward()", "scaler.scale(loss).backward()")
    scaled = scaled.replace("optimizer.step()", "scaler.step(optimizer)\n            scaler.update()")
    script = (
        loop(scaled)
        .replace("torch.set_num", "scaler = torch.amp.GradScaler('cpu')\n    torch.set_num")
        .replace("import tdb\n", "\n")
        .replace("controller.wait_if_paused()", "pass")
    )
    script = script.replace("train(tdb.attach(model, optimizer))", "train(None)")
    script = "\n".join(line for line in script.splitlines() if "controller.capture" not in line)
    session = make_session(script, as_json=True)
    session.answer("step 2")
    stops = [session.answer("phase") for _ in range(7)]
    phases = [stop["phase"] for stop in stops]
    assert phases == ["batch", "forward", "loss", "backward", "update", "boundary", "batch"]
    assert {stop["loss"] for stop in stops[2:6]} == {stops[5]["loss"]}
    told = "gradients are 65536 times as large as their loss makes them, until the scaler unscales them"
    assert told in session.type("phase backward")
    assert told not in session.type("phase")
    assert session.answer("step")["step"] == 4
    session.answer("continue")
    assert session.session.status == "finished"
    assert nothing_stays_behind()
