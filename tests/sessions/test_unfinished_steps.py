"""A step that a script leaves in the middle, by its end or by a crash: nothing is told of it that it had not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.typing_session import TypingSession

Make = Callable[..., TypingSession]

RUN = """
    import sys
    import torch
    from torch import nn

    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for step in range(21):
        last = step == 20
        {data}
        hidden = net[1](net[0](torch.randn(16, 6)))
        {forward}
        loss = (net[2](hidden) - torch.randn(16, 2)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        {backward}
        optimizer.step()
"""

CRASH, LEAVE = "assert not last, 'here'", "sys.exit() if last else None"


def run(place: str = "data", what: str = "pass") -> str:
    return RUN.format(**{"data": "pass", "forward": "pass", "backward": "pass", place: what})


def columns(session: TypingSession, command: str = "metrics") -> list[str]:
    shown = session.type(command)
    assert "***" not in shown, shown
    return shown.splitlines()[0].split()


@pytest.mark.parametrize("watch", ["watch 0 3", "unwatch"])
@pytest.mark.parametrize("place", ["data", "forward", "backward"])
def test_no_update_is_not_one_of_zero(make_session: Make, place: str, watch: str) -> None:
    session = make_session(run(place, LEAVE))
    session.type("start;; step;; " + watch)
    assert "Training finished after 20 steps" in session.type("continue")
    assert not {"update_norm", "update_ratio", "descent_cos"} & set(columns(session))
    assert "*** the weight before this step was not captured: `goto 20` takes it again" in session.type("force")
    assert "update" not in columns(session, "layers")


def test_the_end_of_a_run_whose_features_are_watched(make_session: Make) -> None:
    session = make_session(run())
    session.type("start;; watch 0 3;; continue")
    assert "update_norm" not in columns(session)
    assert "*** the weight before this step was not captured" in session.type("force")


def test_steps_that_ran_by_were_taken(make_session: Make) -> None:
    session = make_session(run("data", LEAVE))
    session.type("start;; continue")
    assert "weight_norm" in columns(session)
    assert "*** no batch of this step was kept: `goto 20` takes it again and captures it" in session.type("batch")


@pytest.mark.parametrize("watch", ["watch 0 3", "unwatch"])
def test_a_step_that_crashed_has_what_it_had_come_to(make_session: Make, watch: str) -> None:
    session = make_session(run("forward", CRASH))
    session.type("start;; step;; " + watch)
    assert "Training crashed after step 20" in session.type("step 20")
    assert {"mean_activation", "weight_norm"} <= set(columns(session))
    assert not {"grad_norm", "update_norm"} & set(columns(session))  # those of the step before would be there
    assert "*** no forces: this step has crashed before. What there is show `metrics` and `layers`" in session.type(
        "force"
    )
    assert not {"grad", "update"} & set(columns(session, "layers"))


def test_a_step_that_crashed_after_its_backward_has_gradients(make_session: Make) -> None:
    session = make_session(run("backward", CRASH))
    session.type("start;; step 2")
    assert "Training crashed after step 20" in session.type("step 20")
    assert "grad_norm" in columns(session)
    assert "update_norm" not in columns(session)
    assert "grad" in columns(session, "layers")
