"""Trying something else in a script whose locals nobody can put back, and going back to how it went before."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tdb.elsewhere.known_branches import KnownBranch
from tdb.travel.branches import parted_at
from tests.elsewhere.conftest import run_tdb
from tests.elsewhere.scripts import SPOILT, WITHOUT_TORCH
from tests.typing_session import TypingSession

Begin = Callable[..., TypingSession]

LOOK = "p [step, rate, seen[-1], digest()]"
LINES = f"""
set checkpoints.forks {{copies}}
until 12
goto 5
fork slower
! rate = 0.02
until 10
{LOOK}
switch main
{LOOK}
goto 3
! rate = 0.2
until 6
{LOOK}
fork deeper
step
switch slower
{LOOK}
goto 2
goto 9
{LOOK}
branches
compare main slower
"""


def trained(steps: int, rates: dict[int, float]) -> list[object]:
    """Return what LOOK shows after so many steps, if the rate was changed after those given."""
    chance, weights, rate, loss = np.random.RandomState(3), np.zeros(6), 0.05, 0.0
    for step in range(steps):
        rate = rates.get(step, rate)
        batch = chance.randn(12, 6)
        error = batch @ weights - batch @ np.arange(6.0)
        loss = float((error**2).mean())
        weights -= rate * batch.T @ error / 12
    return [steps, rate, loss, hashlib.sha256(weights.tobytes()).hexdigest()[:16]]


@pytest.mark.parametrize(("copies", "route"), [(8, "fork"), (0, "re-run")])
def test_a_branch_is_the_run_that_was_changed_there(tmp_path: Path, copies: int, route: str) -> None:
    (tmp_path / "train.py").write_text(f"import numpy\nnumpy.random.seed(3)\n{WITHOUT_TORCH}")
    (tmp_path / "lines").write_text(LINES.format(copies=copies))
    ended = run_tdb(tmp_path, "--json", "-x", "lines")
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    assert all(each["ok"] for each in answers), ended.stderr
    slower, other = {5: 0.02}, {3: 0.2}
    looks = [each["data"]["value"] for each in answers if each["cmd"] == "p"]
    assert looks == [trained(10, slower), trained(12, {}), trained(6, other), trained(10, slower), trained(9, slower)]
    landings = [each["data"] for each in answers if each["cmd"] in ("goto", "switch")]
    assert {each["route"] for each in landings} == {route}
    assert all(each["compared"]["losses"] == each["step"] and each["differences"] == [] for each in landings)
    listed, compared = (each["data"] for each in answers[-2:])
    assert listed["table"]["rows"] == [
        ["main", "", "", 12, ""],
        ["fork-1", "", "main at step 3", 6, "! rate = 0.2 (step 3)"],
        ["slower", "*", "main at step 5", 10, "! rate = 0.02 (step 5)"],
        ["deeper", "", "fork-1 at step 6", 7, ""],
    ]
    assert compared["loss"]["first_difference"] == 7  # of step 6 the weights differ, of step 7 the loss


def test_branches_parted_where_their_steps_differ() -> None:
    chance, fresh = random.Random(5), itertools.count()
    known, paths = [KnownBranch("main")], {"main": list(itertools.islice(fresh, 9))}
    for number in range(12):
        parent = chance.choice(known)
        at = chance.randint(0, len(paths[parent.name]))
        known.append(KnownBranch(str(number), parent.name, at))
        paths[str(number)] = [*paths[parent.name][:at], *itertools.islice(fresh, 5)]
    for one, other in itertools.permutations(known, 2):
        same = [a == b for a, b in zip(paths[one.name], paths[other.name], strict=False)]
        assert parted_at(known, one, other) == (same.index(False) if False in same else len(same))


def test_going_on_without_a_change_leaves_it_on_its_branch(begin: Begin) -> None:
    session = begin(f"import numpy\nnumpy.random.seed(3)\n{WITHOUT_TORCH}")
    session.type("set checkpoints.forks 8")
    session.type("until 6")
    session.type("! rate = 0.02")
    session.type("until 10")
    assert session.answer("p [step, rate, loss, digest()]")["value"] == trained(10, {6: 0.02})
    session.answer("goto 4")
    assert session.answer("branches")["now"] == "main"
    shown = session.type("step 5")
    assert "what was changed at step 6 stays on branch main (! rate = 0.02); this is branch fork-1 now" in shown
    assert session.answer("p [step, rate, loss, digest()]")["value"] == trained(9, {})
    rows = session.answer("branches")["table"]["rows"]
    assert rows == [["main", "", "", 10, "! rate = 0.02 (step 6)"], ["fork-1", "*", "main at step 6", 9, ""]]
    session.answer("switch main")
    assert session.answer("p [step, rate, loss, digest()]")["value"] == trained(10, {6: 0.02})
    assert json.loads(session.type("step"))["state"] == {"status": "stopped", "step": 11, "epoch": None}
    session.answer("switch fork-1")
    assert session.answer("p [step, rate, loss, digest()]")["value"] == trained(9, {})


def test_the_weights_at_the_end_of_a_branch_are_kept(begin: Begin) -> None:
    session, weights = begin(SPOILT), {}
    session.type("set checkpoints.forks 8")
    session.type("until 10")
    weights["main"] = np.array(session.answer("p model[0].weight.tolist()")["value"])
    landing = session.answer("goto 4")
    assert (landing["compared"]["metrics"] > 0, landing["differences"]) == (True, [])
    assert "this is branch fork-1 now" in session.type("set optimizer.lr 0.02")
    session.type("until 9")
    weights["fork-1"] = np.array(session.answer("p model[0].weight.tolist()")["value"])
    found = session.answer("diff weights main fork-1")["table"]
    for line in ("compare main main", "diff weights main main", "cosmat weights --branch main main"):
        assert "main is compared with itself: two branches are wanted" in session.type(line)
    rows = {row[0]: row[3] for row in found["rows"]}
    expected = np.linalg.norm(weights["fork-1"] - weights["main"], axis=1)
    assert [rows[feature] for feature in range(8)] == pytest.approx(expected, rel=1e-5)
    assert found["note"].startswith("main at step 10, fork-1 at step 9")
    one, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in weights.values())
    (cosines,) = session.answer("cosmat weights --branch main fork-1")["matrices"].values()
    assert np.allclose(cosines, one @ other.T, atol=1e-6)
    assert session.answer("compare main fork-1")["loss"]["first_difference"] == 6  # the first with other weights
    assert "no branch 'mian'" in session.type("switch mian")
    assert "training is on branch fork-1 already" in session.type("switch fork-1")
    assert "there is a branch 'main' already" in session.type("fork main")
