"""Wherever one goes, and however: the state at a step is that of a run which has never heard of tdb, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from recipes.conditions import CONDITIONS
from tdb.arrival import arrive
from tdb.counted import size_in_words
from tdb.errors import StateError, TdbError, UsageError
from tdb.prompt_python import run_python
from tdb.travel.edits import INSIDE, note_python
from tdb.travel.in_place import InPlace
from tests.conftest import PATIENCE
from tests.travel.training import STEPS, Parts, Prompt, undisturbed

Start = Callable[..., Prompt]


def wander(prompt: Prompt, chance: random.Random) -> Any:
    """Do one of the things that move training in time; the last step is not taken, because the loop ends there."""
    here, furthest = prompt.step, prompt.controller.travel.furthest
    move = chance.choice(["step", "step", "until", "back", "back", "goto", "goto", "fork", "switch"])
    others = [each for each in prompt.controller.travel.branches if each is not prompt.controller.travel.branches.now]
    if move == "fork":
        return prompt.do("fork")
    if move == "switch" and others:
        return prompt.do("switch", chance.choice(others).name)
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
    assert prompt.controller.wait(PATIENCE) == "finished"
    assert prompt.digest() == expected[STEPS]
    recorded = prompt.controller.recorder.history.range()
    assert recorded["step"].tolist() == list(range(1, STEPS + 1))  # each once, whatever was taken again
    assert torch.equal(torch.tensor(recorded["loss"]).float(), prompt.parts.trainer.losses)


def test_what_a_condition_remembers_goes_on_where_a_branch_does(start: Start) -> None:
    prompt = start("control")
    prompt.do("break", "while loss < ema(loss, 5)")
    prompt.do("ignore", "1", 1000)  # its hits are counted, and stop nothing
    (point,) = prompt.session.armed.points
    hits = []
    for name, where in (
        ("until", "40"),
        ("goto", 20),
        ("fork", None),
        ("until", "30"),
        ("switch", "main"),
        ("until", "50"),
    ):
        prompt.do(name, *([where] if where else []))
        hits.append(point.hits)
    averages, held = [], []
    for loss in prompt.controller.recorder.history.loss()[1].tolist():
        averages.append(averages[-1] + (loss - averages[-1]) / 3 if averages else loss)
        held.append(loss < averages[-1])
    before, forked, after = sum(held[:40]), sum(held[20:30]), sum(held[40:50])
    assert hits == [before, before, before, before + forked, before + forked, before + forked + after]


@pytest.mark.parametrize(("name", "value"), [("optimizer.lr", 3e-4), ("bcl.som_lr", 1e-4), ("bcl.temperature", 2.0)])
def test_a_branch_is_the_run_that_was_changed_there(name: str, value: float, start: Start) -> None:
    def change(parts: Parts) -> None:
        if name == "optimizer.lr":
            parts.trainer.optimizer.param_groups[0]["lr"] = value
        else:
            assert parts.bcl is not None
            parts.bcl.config = replace(parts.bcl.config, **{name.partition(".")[2]: value})

    plain, changed = undisturbed("bcl-med"), undisturbed("bcl-med", act=change, at=20)
    prompt = start("bcl-med")
    prompt.do("until", "45")
    prompt.do("goto", 20)
    assert prompt.do("set", name, str(value)).notes  # what was taken afterwards stays on its branch
    prompt.do("until", "50")
    assert prompt.digest() == changed[50] != plain[50]
    for step in (33, 21, 49, 12, 40):  # past the change, too: it is made again
        prompt.do("goto", step)
        assert prompt.digest() == changed[step], step
    prompt.do("switch", "main")
    assert (prompt.step, prompt.digest()) == (45, plain[45])
    prompt.do("until", "55")
    assert prompt.digest() == plain[55]
    prompt.do("switch", "fork-1")
    assert (prompt.step, prompt.digest()) == (50, changed[50])
    found = prompt.do("compare", "main", "fork-1").data["loss"]
    assert 20 < found["first_difference"] <= 23  # step 21 is the first with another constant; its loss is of before
    assert found["table"].columns["difference"][0] == 0 != found["table"].columns["difference"][-1]
    answer = prompt.do("cosmat", "weights", branch="main fork-1")
    (matrix,) = answer.data["matrices"].values()
    here = [weights_at(prompt, name) for name in ("main", "fork-1")]
    expected = torch.nn.functional.cosine_similarity(here[0][:, None], here[1][None], dim=2)
    assert torch.allclose(torch.tensor(matrix), expected, atol=1e-6)
    assert answer.parts[1].title == "cosine of weights of main x fork-1"
    with pytest.raises(UsageError, match="no branch 'mian'"):
        prompt.do("cosmat", "weights", branch="mian fork-1")
    with pytest.raises(UsageError, match="--branch compares the weights of two branches"):
        prompt.do("cosmat", "weights", branch="main")


def weights_at(prompt: Prompt, branch: str) -> torch.Tensor:
    """Go to the end of a branch and return the weights there."""
    if prompt.controller.travel.branches.now.name != branch:
        prompt.do("switch", branch)
    return prompt.controller.gate.call(lambda: prompt.parts.trainer.model.encoder[0].weight.detach().clone())


def test_what_was_typed_is_done_again_when_its_step_is_passed_again(start: Start) -> None:
    def change(parts: Parts) -> None:
        with torch.no_grad():
            parts.trainer.model.encoder[0].weight[3] = 0

    changed = undisturbed("control", act=change, at=20)
    prompt = start("control")
    prompt.do("until", "20")
    text = "import torch\nwith torch.no_grad(): self.model.encoder[0].weight[3] = 0"
    run_python(prompt.session, text)
    note_python(prompt.session, text)
    prompt.do("until", "40")
    assert prompt.digest() == changed[40]
    prompt.do("goto", 10)
    prompt.do("step", 12)
    assert prompt.digest() == changed[22]
    prompt.do("goto", 39)
    assert prompt.digest() == changed[39]


def test_a_checkpoint_taken_on_the_way_over_a_change_leads_to_what_the_change_has_made(start: Start) -> None:
    def change(parts: Parts) -> None:
        parts.trainer.optimizer.param_groups[0]["lr"] = 0.03

    changed = undisturbed("control", act=change, at=20)
    prompt = start("control")
    prompt.do("until", "20")
    prompt.do("set", "optimizer.lr", "0.03")
    prompt.controller.travel.copies.resize(1)  # all but the first checkpoints go
    prompt.do("until", "45")
    prompt.controller.travel.copies.resize(2**30)
    prompt.do("goto", 22)  # however slow the machine is, a checkpoint is taken two steps before
    taken = [each.position.step for each in prompt.controller.travel.checkpoints]
    assert 20 in taken, taken
    for step in (21, 22, 30):
        prompt.do("goto", step)
        assert prompt.digest() == changed[step], step


def test_weights_of_a_branch_are_those_that_it_was_left_with(start: Start) -> None:
    prompt = start("control")
    prompt.do("until", "30")  # everything is copied where training stops
    prompt.controller.gate.call(prompt.parts.trainer.model.encoder[0].weight.data.zero_)
    prompt.do("fork")
    prompt.do("step")
    assert not prompt.controller.travel.end_of("main")[0].any()


def test_an_update_is_left_out_of_the_step_that_it_was_asked_for(start: Start) -> None:
    plain = undisturbed("bcl-med")
    prompt = start("bcl-med")
    prompt.do("until", "10")
    prompt.do("skip")
    prompt.do("goto", 4)
    prompt.do("until", "9")
    assert prompt.digest() == plain[9]
    prompt.do("step", 2)  # past the boundary at which it was asked for
    weights = prompt.parts.trainer.model.encoder[0].weight.detach().clone()
    assert prompt.digest() != plain[11]
    prompt.do("goto", 3)
    prompt.do("goto", 11)
    assert torch.equal(prompt.parts.trainer.model.encoder[0].weight, weights)
    prompt.do("phase", "loss")
    assert note_python(prompt.session, "model.zero_grad()") == [INSIDE]
    prompt.do("step")


def test_a_change_at_the_last_boundary_is_there_when_one_comes_back(start: Start) -> None:
    prompt = start("control")
    prompt.do("until", "20")
    prompt.do("set", "optimizer.lr", "0.5")
    left = prompt.digest()
    prompt.do("back", 5)
    assert prompt.parts.trainer.optimizer.param_groups[0]["lr"] == 1e-3
    prompt.do("goto", 20)
    assert prompt.digest() == left


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
        "pairs": (),
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
    answer = arrive(prompt.session, InPlace().goto(prompt.session, 29, before=20))
    first = answer.data["differences"][0]
    assert first["step"] >= 26
    assert first["what"] == "loss"
    assert first["was"] != first["now"]
    assert "came out otherwise: step" in answer.parts[1].text


def test_the_culprit_of_a_nan_is_named(start: Start) -> None:
    prompt = start("control")
    prompt.do("until", "20")

    def spoil(step: int) -> None:
        if step == 33:
            prompt.parts.trainer.optimizer.param_groups[0]["lr"] = float("inf")

    trainer = prompt.parts.trainer
    trainer.optimizer.register_step_pre_hook(lambda *_: spoil(trainer.step + 1))
    with pytest.raises(StateError, match="every recorded loss is finite"):
        prompt.do("culprit")
    prompt.do("until", "45")
    answer = prompt.do("culprit")
    assert answer.data["first"] == 34
    assert answer.data["anomalies"]
    assert prompt.step == 33


def test_a_checkpoint_with_a_name_is_kept(start: Start) -> None:
    prompt = start("control")
    prompt.do("step", 9)
    prompt.do("checkpoint", "nine")
    with pytest.raises(UsageError, match="there is a checkpoint 'nine' already"):
        prompt.do("checkpoint", "nine")
    prompt.do("until", "40")
    prompt.controller.gate.call(lambda: prompt.controller.travel.copies.resize(2**18))
    answer = prompt.do("checkpoints").data
    assert answer["ways"]["in place"] == ""
    said = " KiB, for the 256 KiB of checkpoints.budget do not hold those that stay in any case"
    assert answer["table"].note.endswith(said)
    kept = {each.position.step: each.nbytes for each in prompt.controller.travel.checkpoints}
    assert answer["table"].columns["size"] == [size_in_words(kept[step]) for step in answer["table"].columns["step"]]
    assert answer["table"].exact.columns["bytes"] == [kept[step] for step in answer["table"].columns["step"]]
    names = list(answer["table"].columns["name"])
    assert "nine" in names
    assert prompt.do("goto", 10).data["checkpoint"] == 9


@pytest.mark.usefixtures("checkpoint_at_each_stop")
def test_a_boundary_that_is_kept_for_the_way_back_is_listed_once(start: Start) -> None:
    prompt = start("control")
    prompt.do("step", 10)
    prompt.do("back", 2)
    prompt.do("goto", 3)
    assert len([each for each in prompt.controller.travel.checkpoints if each.tick == 10]) == 2
    table = prompt.do("checkpoints").data["table"]
    assert len(set(table.columns["step"])) == len(table.columns["step"])
    assert table.note.startswith(f"{len(table.columns['step'])} checkpoints, ")


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


def test_a_condition_that_was_not_recorded_is_asked_of_past_steps(start: Start) -> None:
    recorded = start("bcl-med")
    recorded.do("set", "record.every", "1")
    for _ in range(30):
        recorded.do("step")
    levels = {
        name: float(np.median(recorded.controller.recorder.history.metric(name)[1].max(1)))
        for name in ("som_magnitude", "win_rate")
    }
    prompt = start("bcl-med")
    prompt.do("watch", "3", "5")
    prompt.do("break", "when loss < 0")
    prompt.do("until", "30")
    shown, state = everything_shown(prompt), prompt.digest()
    stops, reason = prompt.controller.gate.stops, prompt.controller.gate.reason
    for name, level in levels.items():
        condition = f"max({name}) > {level}"
        answer = prompt.do("find", f"{condition} --replay")
        assert answer.data["steps"].tolist() == recorded.do("find", condition).data["steps"].tolist() != []
        assert "as before, bit for bit" in answer.notes[0]
        assert prompt.do("find", f"{condition} first --replay").data["table"].columns["first"] == [answer.data["first"]]
    assert (everything_shown(prompt), prompt.digest()) == (shown, state)
    assert (prompt.controller.gate.stops, prompt.controller.gate.reason) == (stops, reason)
    with pytest.raises(TdbError, match="nope"):
        prompt.do("find", "nope > 1 --replay")
    assert prompt.digest() == state
