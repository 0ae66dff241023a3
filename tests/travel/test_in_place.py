"""Wherever one goes, and however: the state at a step is that of a run which has never heard of tdb, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from recipes.conditions import CONDITIONS
from tdb.errors import StateError, UsageError
from tests.travel.training import STEPS, Prompt, undisturbed

Start = Callable[..., Prompt]


@pytest.fixture
def start() -> Iterator[Start]:
    begun: list[Prompt] = []

    def begin(*arguments: Any, **options: Any) -> Prompt:
        begun.append(Prompt(*arguments, **options))
        return begun[-1]

    yield begin
    for prompt in begun:
        prompt.close()


def wander(prompt: Prompt, chance: random.Random) -> Any:
    """Do one of the things that move training in time; the last step is not taken, because the loop ends there."""
    here, furthest = prompt.step, prompt.controller.travel.furthest
    move = chance.choice(["step", "step", "until", "back", "back", "goto", "goto"])
    if move == "step" and here < STEPS - 8:
        return prompt.do("step", chance.randint(1, 7))
    if move == "until" and here < STEPS - 2:
        return prompt.do("until", str(chance.randint(here + 1, STEPS - 1)))
    if move == "back" and here > 0:
        return prompt.do("back", chance.randint(1, min(here, 9)))
    return prompt.do("goto", chance.randint(0, furthest))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_random_walks_in_time(condition: str, start: Start) -> None:
    expected = undisturbed(condition)
    prompt = start(condition)
    chance = random.Random(condition)
    for _ in range(16):
        answer = wander(prompt, chance)
        assert answer.data.get("differences", []) == []
        assert prompt.digest() == expected[prompt.step], prompt.step
    prompt.controller.resume()
    assert prompt.controller.wait(30) == "finished"
    assert prompt.digest() == expected[STEPS]
    recorded = prompt.controller.recorder.history.range()
    assert recorded["step"].tolist() == list(range(1, STEPS + 1))  # each once, whatever was taken again
    assert torch.equal(torch.tensor(recorded["loss"]).float(), prompt.parts.trainer.losses)


def test_panels_show_what_they_showed(start: Start) -> None:
    prompt = start("bcl-med")
    prompt.do("watch", "0", "3")
    shown = {}
    for _ in range(12):
        prompt.do("step")
        shown[prompt.step] = everything_shown(prompt)
    prompt.do("until", "55")
    for step in (7, 12, 1, 11):
        prompt.do("goto", step)
        for name, value in everything_shown(prompt).items():
            assert value == shown[step][name], (step, name)


def everything_shown(prompt: Prompt) -> dict[str, str]:
    commands = {
        "metrics": (),
        "force": ("3",),
        "batch": (),
        "cosmat": ("weights", "som_targets"),
        "traj": ("win_rate",),
        "loss": (),
        "watch": (),
        "keys": (),
    }
    torch.set_printoptions(precision=10)
    return {name: repr(prompt.do(name, *words).data) for name, words in commands.items()}


def test_stop_points_neither_stop_nor_count_while_steps_are_taken_again(start: Start) -> None:
    prompt = start("control")
    prompt.do("until", "40")
    prompt.do("break", "every 5")
    point = next(iter(prompt.session.armed.points))
    prompt.do("goto", 33)
    assert (prompt.step, point.hits) == (33, 0)
    prompt.do("continue")
    assert (prompt.step, point.hits) == (35, 1)
    prompt.do("back", 4)
    prompt.do("continue")
    assert (prompt.step, point.hits) == (35, 2)


def test_reverse_continue_finds_the_last_hit(start: Start) -> None:
    prompt = start("control")
    losses: dict[int, float] = {}
    for step in range(1, 51):
        prompt.do("step")
        losses[step] = prompt.controller.get_state()["loss"]
    level = sorted(losses.values())[25]
    begins = [step for step in losses if losses[step] < level and (step == 1 or losses[step - 1] >= level)]
    prompt.do("break", f"when loss < {level}")
    found = []
    while True:
        prompt.do("reverse-continue")
        if prompt.step == 0:
            break
        found.append(prompt.step)
    assert found == [step for step in reversed(begins) if step < 50]


def test_a_step_that_comes_out_otherwise_is_told_with_its_size(start: Start) -> None:
    prompt = start("control")
    prompt.do("until", "30")
    weight = prompt.parts.trainer.model.encoder[0].weight
    prompt.parts.trainer.optimizer.register_step_post_hook(
        lambda *_: weight.data.add_(1e-3) if prompt.parts.trainer.step == 24 else None
    )
    answer = prompt.do("goto", 29)
    first = answer.data["differences"][0]
    assert first["step"] >= 26
    assert first["what"] == "loss"
    assert first["was"] != first["now"]
    assert "came out otherwise: step" in answer.parts[1].text


def test_what_cannot_be_reached_is_refused_and_changes_nothing(start: Start) -> None:
    prompt = start("control")
    prompt.do("step", 5)
    before = prompt.digest()
    with pytest.raises(StateError, match="step 9 has not been taken yet: `until 9` runs there"):
        prompt.do("goto", 9)
    with pytest.raises(UsageError, match="there are 5 steps to go back, not 6"):
        prompt.do("back", 6)
    assert prompt.digest() == before


def test_loader_processes_are_gone_back_with(start: Start) -> None:
    expected = undisturbed("control", 50, workers=2)
    prompt = start("control", 50, workers=2)
    prompt.do("until", "48")
    for step in (40, 47, 3, 46):
        prompt.do("goto", step)
        assert prompt.digest() == expected[step]
