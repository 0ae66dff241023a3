"""Wherever one goes in a script, by a copy set aside or by a fresh process: its state is that of an undisturbed run."""

from __future__ import annotations

import hashlib
import random
import runpy
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from tdb.script import Script
from tests.elsewhere.scripts import LOADER
from tests.typing_session import TypingSession

Begin = Callable[..., TypingSession]
ZOO = Path(__file__).parents[1] / "scripts" / "zoo"

SCRIPTS = {  # its models, its own count of steps, and how many updates make a step
    "gan": ("netD, netG", "8 * epoch + i + 1", 2),
    "char_transformer": ("model,", "iter_num + 1", 1),
    "sine_lbfgs": ("seq,", "i + 1", 1),
    "reinforce": ("policy,", "int(optimizer.state[policy.affine1.weight]['step'])", 1),
}
STEPS = 6  # of which nobody goes past: the shortest script ends there


def state_of(models: Iterable[torch.nn.Module]) -> str:
    """Return a digest of weights, buffers and generators, bit for bit."""
    found = hashlib.sha256()
    for model in models:
        for value in model.state_dict().values():
            found.update(value.numpy().tobytes())
    python, numpy = random.getstate(), np.random.get_state()
    found.update(repr((python, numpy[1].tobytes(), numpy[2:])).encode() + torch.get_rng_state().numpy().tobytes())
    return found.hexdigest()


def undisturbed(name: str, capsys: pytest.CaptureFixture[str]) -> dict[int, str]:
    """Return the state after every step of a plain run."""
    models, _, updates = SCRIPTS[name]
    states: list[str] = []

    def note(*_: object) -> None:
        frame = sys._getframe()
        while frame.f_back is not None and "optimizer" not in frame.f_globals and "optimizerG" not in frame.f_globals:
            frame = frame.f_back
        states.append(state_of(eval(f"({models})", frame.f_globals)))

    handle = register_optimizer_step_post_hook(note)
    try:
        runpy.run_path(str(ZOO / f"{name}.py"), run_name="__main__")
    finally:
        handle.remove()
    capsys.readouterr()
    return {1 + tick // updates: state for tick, state in enumerate(states) if (tick + 1) % updates == 0}


@pytest.mark.parametrize("name", SCRIPTS)
def test_walks_over_scripts_that_have_never_heard_of_tdb(
    begin: Begin, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    expected, chance = undisturbed(name, capsys), random.Random(name)
    models, count, _ = SCRIPTS[name]
    session = begin(Script(str(ZOO / f"{name}.py")))
    session.type("set checkpoints.forks 8")
    look = f"p [__import__('{__name__}', fromlist=['x']).state_of(({models})), {count}]"
    here = session.answer("step 4")["step"]
    for _ in range(8):
        here = move(session, here, chance, "fork")
        assert session.answer(look)["value"] == [expected[here], here]
    session.type("set checkpoints.forks 0")
    here = move(session, here, chance, "re-run")
    assert session.answer(look)["value"] == [expected[here], here]


def move(session: TypingSession, here: int, chance: random.Random, route: str) -> int:
    """Go back and perhaps on again, or to another branch; return the step where training stands then."""
    goal = chance.randint(2, here - 1) if here > 2 else here
    if chance.random() < 0.4:
        session.answer("fork")
    if (others := others_than_this(session)) and chance.random() < 0.5:
        name, last = chance.choice(others)
        landing = session.answer(f"switch {name}")
        assert (landing["route"], landing["step"], landing["differences"]) == (route, last, [])
        return last
    landing = session.answer(f"goto {goal}" if chance.random() < 0.5 or goal == here else f"back {here - goal}")
    assert (landing["route"], landing["step"], landing["differences"]) == (route, goal, [])
    ahead = chance.choice([f"step {chance.randint(1, 2)}", f"until {chance.randint(goal + 1, STEPS - 1)}"])
    return int(session.answer(ahead)["step"]) if goal < STEPS - 2 else goal


def others_than_this(session: TypingSession) -> list[tuple[str, int]]:
    """Return names and last steps of the branches that training is not on."""
    answer = session.answer("branches")
    rows = answer["table"]["rows"]
    return [(name, last) for name, _, _, last, _ in rows if name != answer["now"]]


@pytest.mark.parametrize(("workers", "route"), [("0", "fork"), ("2", "re-run")])
def test_walks_over_a_loader_and_its_workers(begin: Begin, workers: str, route: str) -> None:
    session, chance = begin(LOADER, workers), random.Random(route)
    session.type("set checkpoints.forks 8")
    known: dict[int, str] = {}
    for _ in range(14):
        here = session.answer("step")["step"]
        known[here] = session.answer("p digest()")["value"]
    for _ in range(4 if route == "fork" else 2):
        goal = chance.randint(2, min(here, 13))
        landing = session.answer(f"goto {goal}")
        assert (landing["route"], landing["differences"]) == (route, [])
        assert session.answer("p [digest(), len(seen)]")["value"] == [known[goal], goal]
        here = session.answer(f"until {chance.randint(goal + 1, 14)}")["step"]
        assert session.answer("p digest()")["value"] == known[here]
