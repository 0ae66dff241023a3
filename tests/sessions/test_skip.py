"""A step without its update, compared with a plain loop that leaves out that update itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tdb.script import Script
from tdb.target import optimizers_of
from tests.sessions.test_phases import CLOSURE, PLAIN, loop
from tests.typing_session import TypingSession

Make = Callable[..., TypingSession]

ADAM = PLAIN.replace(
    "inputs, labels = torch",
    """if step == 1:
                optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
                scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
                controller.target.optimizers[:] = [optimizer]
                controller.target.schedulers[:] = [scheduler]
            inputs, labels = torch""",
).replace("optimizer.step()", "optimizer.step()\n            scheduler.step()")


def outcome(session: TypingSession) -> dict[str, Any]:
    """Return the weights and the optimizer's state as the session has left them."""
    target = session.controller.target
    moments = copy.deepcopy(optimizers_of(target)[0].state_dict())
    return {"weights": [weight.detach().clone() for weight in target.model.parameters()], "optimizer": moments}


def without(body: str, left_out: tuple[int, ...], keyword: str = "optimizer.step()") -> str:
    """Return a loop that makes no update in some steps."""
    return loop(body.replace(keyword, f"({left_out}.count(step) or {keyword})"))


@pytest.mark.parametrize("body", [PLAIN, ADAM], ids=["SGD with momentum", "AdamW and a scheduler"])
def test_a_skipped_update_was_never_made(make_session: Make, body: str) -> None:
    """At a boundary, at phases, in the very first step, and while training runs freely; and taken back."""
    plain = make_session(without(body, (1, 3, 4, 6)))
    plain.type("continue")
    session = make_session(loop(body))
    session.type("phase backward")
    assert "step 1 leaves out its update" in session.type("skip")
    session.type("step 2")
    session.type("skip;; step")
    for line in ("phase batch", "skip", "phase update", "step", "skip", "skip off", "step"):
        assert "***" not in session.type(line), line
    session.type("skip")
    session.type("continue")
    assert [step for step, word in session.session.marks().items() if word == "update left out"] == [1, 3, 4, 6]
    assert "by skip  step 1, step 3, step 4, step 6" in session.type("optim")
    one, other = outcome(plain), outcome(session)
    torch.testing.assert_close(one["weights"], other["weights"], rtol=0, atol=0)
    torch.testing.assert_close(one["optimizer"], other["optimizer"], rtol=0, atol=0)


def test_what_is_said_and_refused(make_session: Make) -> None:
    session = make_session(loop(ADAM))
    session.play("""
        (tdb) skip
        *** training has not started: `start`, `step` or `continue` begins it
        (tdb) step 2
        > step 2 ...
        (tdb) skip
        step 3 leaves out its update
        the scheduler counts the step as ever
        (tdb) phase update
        > step 3 at update ...
        (tdb) skip
        *** this step has made its update: `step` completes it, then `skip` leaves out the next one
        (tdb) step
        > step 3 ...
        (tdb) optim
        optimizer ...  none ...
        ...
        updates left out by skip  step 3
    """)
    force = session.type("force")
    assert float(force.split()[1]) == 0


def test_an_optimizer_that_calls_the_loops_closure(make_session: Make) -> None:
    session = make_session(loop(CLOSURE))
    session.type("step 3")
    before = outcome(session)
    session.type("skip;; step")
    after = outcome(session)
    torch.testing.assert_close(before["weights"], after["weights"], rtol=0, atol=0)
    torch.testing.assert_close(before["optimizer"], after["optimizer"], rtol=0, atol=0)
    session.type("phase backward")
    assert "*** the optimizer is in the middle of its update" in session.type("skip")
    session.type("step")
    assert not torch.equal(outcome(session)["weights"][0], before["weights"][0])


@pytest.mark.parametrize("asking", [("skip", "checkpoint asked"), ("phase backward", "skip")], ids=["before", "in it"])
def test_time_travel_leaves_the_update_out_again(make_session: Make, asking: tuple[str, ...]) -> None:
    recipe = Script("recipes.gradient_gating_l0", ("--condition", "control", "--steps", "60"), is_module=True)
    session = make_session(recipe)
    for line in ("step 5", *asking, "step"):
        session.type(line)
    first = outcome(session)
    session.type("step 2")
    before = outcome(session)
    assert "bit for bit" in session.type("back 4")
    assert "bit for bit" in session.type("goto 8")
    again = outcome(session)
    torch.testing.assert_close(before, again, rtol=0, atol=0)
    assert {float(state["step"]) for state in again["optimizer"]["state"].values()} == {7.0}
    assert "by skip  step 6\n" in session.type("optim")
    session.type("back 3")
    assert "by skip" not in session.type("optim")
    session.type("goto 6")  # from the checkpoint of the very boundary where it was asked for
    torch.testing.assert_close(first, outcome(session), rtol=0, atol=0)


def test_optim_inside_a_step_counts_the_updates_of_that_step(make_session: Make) -> None:
    session = make_session(loop(PLAIN))
    session.type("step;; skip;; step;; phase update")
    assert "1 update" in session.type("optim")
    session.type("step;; skip;; phase update")
    assert "  none  " in session.type("optim")
    session.type("step;; phase batch")
    assert "this step" not in session.type("optim")
