"""`detect` names what made the first NaN or infinity, and training goes on as if nobody had looked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.sessions.test_phases import PLAIN, loop, nothing_stays_behind
from tests.typing_session import TypingSession

Make = Callable[..., TypingSession]

BODIES = {
    "a logarithm in forward": (
        PLAIN.replace("outputs = model(inputs)", "outputs = model(inputs).log() if step == 3 else model(inputs)"),
        ("NaN", "forward", "log", "", "outputs = model(inputs).log() if step == 3 else model(inputs)"),
    ),
    "the gradient of a square root": (
        PLAIN.replace(
            "optimizer.zero_grad()", "loss = loss + (outputs * 0).sum().sqrt() * 0 if step == 3 else loss"
        ).replace("loss.backward()", "optimizer.zero_grad()\n            loss.backward()"),
        ("NaN", "backward", "sqrt", "", "loss = loss + (outputs * 0).sum().sqrt() * 0 if step == 3 else loss"),
    ),
    "a weight that was NaN already": (
        PLAIN.replace("outputs = model(inputs)", "break_weight(step)\n            outputs = model(inputs)"),
        ("NaN", "forward", "linear", "2", "outputs = model(inputs)"),
    ),
    "an update that is too large": (
        PLAIN.replace("optimizer.step()", "huge(step)\n            optimizer.step()"),
        ("inf", "update", "", "", "optimizer.step()"),
    ),
}

HELP = """
    def break_weight(step):
        if step == 3:
            model[2].weight.data.view(-1)[0] = float("nan")


    def huge(step):
        if step == 3:
            model[2].weight.grad.mul_(1e20)
            optimizer.param_groups[0]["lr"] = 1e30


    def train("""


def script(body: str) -> str:
    return loop(body).replace("\n    def train(", HELP, 1)


@pytest.mark.parametrize("name", BODIES)
def test_what_made_the_first(make_session: Make, name: str) -> None:
    body, (what, when, operation, module, source) = BODIES[name]
    session = make_session(script(body), as_json=True)
    answer = session.answer("detect")
    assert (answer["step"], answer["anomalies"]) == (1, [])
    session.answer("step")
    found = session.answer("detect")["anomalies"]
    assert found
    first = next(each for each in found if (each["what"], each["when"]) == (what, when))
    assert operation in first["operation"]
    assert (first["module"], first["source"]) == (module, source)
    assert "train.py(" in first["place"]
    assert first["brought"] == (name == "a weight that was NaN already")
    assert nothing_stays_behind()
    assert not torch.is_anomaly_enabled()
    assert torch.overrides._get_current_function_mode_stack() == []
    session.answer("continue")
    assert session.session.status == "finished"


def test_detection_changes_nothing_and_says_so(make_session: Make) -> None:
    """Every step under detection, the last one too: bit for bit the weights of a plain run."""
    plain, session = make_session(loop(PLAIN)), make_session(loop(PLAIN))
    plain.type("continue")
    session.play("""
        (tdb) detect
        no anomaly: all that step 1 has computed is finite
        > step 1 ...
        (tdb) phase forward
        > step 2 at forward ...
        (tdb) detect
        *** this step is at forward: `step` completes it
        (tdb) step
        > step 2 ...
    """)
    for _ in range(7):
        assert "no anomaly" in session.type("detect")
    session.type("continue")
    assert weights_of(session) == weights_of(plain)


def weights_of(session: TypingSession) -> Any:
    return [weight.tolist() for weight in session.controller.target.model.parameters()]


def test_a_mask_of_infinities_is_meant(make_session: Make) -> None:
    masked = PLAIN.replace(
        "outputs = model(inputs)",
        'outputs = model(inputs).masked_fill(torch.eye(5, 3).bool(), float("-inf")).view(5, 3).softmax(1)',
    )
    assert "no anomaly" in make_session(loop(masked)).type("detect")


IN_A_MODE = loop(
    f"""
            with Own():{PLAIN.replace(chr(10), chr(10) + "    ")}
                controller.wait_if_paused()
            left.extend(map(type, torch.overrides._get_current_function_mode_stack()))
            continue"""
).replace(
    "\n    torch.manual_seed(0)",
    """

    class Own(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), words=None):
            return function(*arguments, **(words or {}))


    left = []
    torch.manual_seed(0)""",
)


def test_a_step_that_begins_and_ends_inside_a_mode_of_the_script(make_session: Make) -> None:
    """The script leaves its own mode, and not that of `detect` in its place."""
    plain, session = make_session(IN_A_MODE), make_session(IN_A_MODE)
    plain.type("continue")
    for line in ("detect", "step", "detect", "detect"):
        session.type(line)
    session.type("continue")
    assert session.session.status == "finished"
    assert session.session.run is not None
    assert [each.__name__ for each in vars(session.session.run.module)["left"]] == ["Watching"] * 2
    assert weights_of(session) == weights_of(plain)
