"""What looks for a step in the past of a script whose locals nobody can put back, in other processes."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.elsewhere.conftest import run_tdb
from tests.elsewhere.scripts import LOADER, SPOILT, TRAINER, WITHOUT_TORCH
from tests.typing_session import TypingSession

Begin = Callable[..., TypingSession]

WITH_A_BEGINNING = WITHOUT_TORCH.replace("\nfor step", "\ncontroller.begin()\nfor step")
SET_UP = ["break changed loss > 30", "until 7", "until 20", "break when loss < 25", "break 15"]  # two see the past only
FIND = "find loss < 25 --replay"
WALK = ["rc", "rc", "continue", "rc", "rc"]


def seeded(script: str) -> str:
    """Return a script that draws the same numbers wherever it is run."""
    return "import numpy\nnumpy.random.seed(3)\n" + textwrap.dedent(script)


def losses_by_step() -> list[float]:
    """Return the losses of the steps as mathematics has them; there is no step 0."""
    chance, weights, losses = np.random.RandomState(3), np.zeros(6), [np.nan]
    for _ in range(20):
        batch = chance.randn(12, 6)
        error = batch @ weights - batch @ np.arange(6.0)
        weights -= 0.05 * batch.T @ error / 12
        losses.append((error**2).mean())
    return losses


def expected_walk() -> list[int]:
    """Return where WALK stops after SET_UP."""
    losses = losses_by_step()
    changes = [step for step in range(2, 21) if (losses[step] > 30) != (losses[step - 1] > 30)]
    begins = [step for step in range(1, 21) if losses[step] < 25 and not losses[step - 1] < 25]
    hits, here, found = {*changes, *begins, 15}, 20, []
    for line in WALK:
        here = min(step for step in hits if step > here) if line == "continue" else max(s for s in hits if s < here)
        found.append(here)
    return found


@pytest.mark.parametrize(("script", "route"), [(TRAINER, "in place"), (WITH_A_BEGINNING, "fork")])
def test_reverse_continue_goes_to_the_last_hit(begin: Begin, script: str, route: str) -> None:
    session = begin(seeded(script))
    session.type("set checkpoints.forks 8")
    for line in SET_UP:
        session.answer(line)
    walk = [session.answer(line) for line in WALK]
    assert [each["step"] for each in walk] == expected_walk()
    assert {each["route"] for each in walk if "route" in each} == {route}


def test_the_past_is_searched_by_fresh_processes(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(seeded(WITH_A_BEGINNING))
    (tmp_path / "lines").write_text(
        "\n".join([*SET_UP, *WALK[:3], FIND, "p len(seen)", "clear 1 2 3", "break when loss < 0", "rc"])
    )
    ended = run_tdb(tmp_path, "--json", "-x", "lines")
    lines = [json.loads(line) for line in ended.stdout.splitlines()][len(SET_UP) :]
    walk, (found, standing), last = lines[:3], lines[3:5], lines[7]
    assert [each["data"]["step"] for each in walk] == expected_walk()[:3]
    assert [each["data"].get("route") for each in walk] == ["re-run", "re-run", None]
    below = [step for step in range(1, 16) if losses_by_step()[step] < 25]
    assert (found["data"]["steps"], standing["data"]["value"]) == (below, 15)
    assert (last["data"]["step"], last["notes"]) == (0, ["no stop point would have stopped before"])


def test_the_culprit_is_named_by_a_copy(begin: Begin) -> None:
    session = begin(SPOILT)
    session.type("set checkpoints.forks 4")
    assert "every recorded loss is finite" in session.type("until 3 ;; culprit")
    session.type("until 16")
    for _ in range(2):  # the second time it is the copy that has to leave it to the first process
        answer = session.answer("culprit")
        assert (answer["first"], answer["step"], answer["route"]) == (13, 13, "fork")
        assert answer["anomalies"][0]["operation"] == "pow"
        assert session.answer("p step")["value"] == 13


def test_the_culprit_of_a_crash_is_in_the_step_that_crashed(begin: Begin) -> None:
    session = begin(
        SPOILT.replace("    optimizer.zero_grad()", "    assert torch.isfinite(loss), step\n    optimizer.zero_grad()")
    )
    session.type("set checkpoints.forks 4")
    assert '"status":"crashed"' in session.type("continue")
    answer = session.answer("culprit")
    assert (answer["first"], answer["route"], answer["anomalies"][0]["operation"]) == (13, "fork", "pow")
    assert session.answer("p [step, float(loss)]")["value"] == [13, "Infinity"]  # it has crashed there again


def test_past_steps_are_asked_by_a_process_of_its_own(begin: Begin) -> None:
    norms: list[float] = []
    watched = SPOILT.replace("    optimizer.step()", "    optimizer.step()\n    norms.append(largest())")
    names = {"norms": norms, "largest": lambda: names["model"][0].weight.grad.norm(dim=1).max().item()}
    exec(watched, names)
    session = begin(SPOILT)
    session.type("until 11")
    level = sorted(norms[:11])[6]
    look = "p [step, float(loss.detach()), int(torch.get_rng_state().sum())]"
    before = session.answer(look)
    answer = json.loads(session.type(f"find max(grad_norm) > {level} --replay"))
    assert answer["data"]["steps"] == [step for step in range(1, 12) if norms[step - 1] > level]
    assert "re-run: 11 steps from the start; 11 losses" in answer["notes"][0]
    assert session.answer(look) == before
    path = session.folder / "train.py"
    path.write_text(path.read_text() + "pass\n")
    assert "train.py has been changed since" in session.type("find loss > 1 --replay")


def test_the_culprit_is_looked_for_in_a_fresh_process(begin: Begin) -> None:
    session = begin(
        WITHOUT_TORCH.replace("    seen.append", "    loss *= float('inf') if step == 9 else 1\n    seen.append")
    )
    session.type("until 12")
    answer = session.answer("culprit")
    assert (answer["first"], answer["step"], answer["route"]) == (9, 9, "re-run")
    assert session.answer("p len(seen)")["value"] == 9
    session.type("detach")  # to the end
    session.type("break every 6")
    assert session.answer("rc")["step"] == 24  # training is past its last step


def test_features_that_were_watched_later_than_the_steps_that_are_taken_again_make_no_difference(begin: Begin) -> None:
    session = begin(LOADER, "0")
    for line in ("set record.every 1", "until 15", "watch 1", "step 2"):
        session.answer(line)
    answer = session.answer("back 1")
    assert (answer["route"], answer["differences"], answer["compared"]["losses"]) == ("re-run", [], 16)
