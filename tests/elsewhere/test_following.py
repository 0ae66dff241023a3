"""What was followed in the first run is followed again where a fresh process, or a copy, takes its steps again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.elsewhere.scripts import LOADER
from tests.typing_session import TypingSession

Begin = Callable[..., TypingSession]
Tables = dict[str, Any]


def exported(session: TypingSession, *kinds: str) -> Tables:
    """Return what is exported, without the numbers of boundaries, which differ where training has gone back."""
    session.answer("export all.json")
    everything = json.loads(Path("all.json").read_text())
    tables = {f"{kind}/{name}": table for kind in kinds for name, table in everything.get(kind, {}).items()}
    return {
        name: {key: table[key] for key in table if key not in ("timeline", "tick")} for name, table in tables.items()
    }


def up_to(step: int, tables: Tables) -> Tables:
    """Return tables as they were after a step, those that had no row left out."""
    rows = {name: sum(each <= step for each in table["step"]) for name, table in tables.items()}
    return {name: {key: tables[name][key][:count] for key in tables[name]} for name, count in rows.items() if count}


@pytest.mark.parametrize("copies", [0, 8])
def test_what_was_watched_for_a_while_has_its_trajectory_after_going_back(begin: Begin, copies: int) -> None:
    session = begin(LOADER, "0")
    session.type(f"set checkpoints.forks {copies}")
    session.type("watch 0 5")
    for line in ("until 4", "watch 5 3", "until 8", "unwatch 5", "watch +5", "until 11", "unwatch 5", "continue"):
        session.type(line)
    first = exported(session, "trajectories", "pairs")
    assert set(first) == {f"trajectories/{feature}" for feature in (0, 3, 5)} | {"pairs/0-5", "pairs/3-5"}
    assert [len(first[f"trajectories/{feature}"]["step"]) for feature in (0, 3, 5)] == [4, 20, 11]
    for goal in (15, 9, 13):
        landing = session.answer(f"goto {goal}")
        assert (landing["route"], landing["differences"]) == ("fork" if copies else "re-run", [])
        assert up_to(goal, exported(session, "trajectories", "pairs")) == up_to(goal, first)
        assert session.answer("watch")["watched"] == [3]


def test_trajectories_that_were_forgotten_stay_so(begin: Begin) -> None:
    session = begin(LOADER, "0")
    for line in ("until 2", "watch 1 2", "until 6", "watch clear", "until 9", "unwatch 2", "until 12"):
        session.type(line)
    first = exported(session, "trajectories")
    assert session.answer("goto 11")["differences"] == []
    assert exported(session, "trajectories") == up_to(11, first)
    assert first["trajectories/1"]["step"][0] == 7
    assert first["trajectories/1"]["weight_cos_to_init"][0] < 1


def test_the_layer_in_focus_is_again_the_one_that_was(begin: Begin) -> None:
    session = begin(LOADER, "0")
    for line in ("until 3", "watch 4", "until 6", "focus 3", "watch 1", "until 9", "focus 0", "until 12", "focus 3"):
        session.type(line)
    first = exported(session, "metrics", "trajectories")
    landing = session.answer("goto 10")
    assert landing["differences"] == []
    assert session.answer("focus")["focus"] == "3"
    assert exported(session, "metrics", "trajectories") == up_to(10, first)
    session.type("focus 0")
    assert session.answer("watch")["trajectories"] == {"4": 4}


def test_what_lies_ahead_is_followed_as_it_was_when_going_there(begin: Begin) -> None:
    session = begin(LOADER, "0")
    for line in ("until 2", "watch 7", "until 9", "unwatch 7", "until 14"):
        session.type(line)
    first = exported(session, "trajectories")
    session.type("goto 5")
    assert session.answer("watch")["watched"] == []
    session.type("watch 3")
    session.type("step 2")
    session.type("goto 12")
    found = exported(session, "trajectories")
    assert found["trajectories/7"] == first["trajectories/7"]
    assert session.answer("watch")["watched"] == [3]
    assert found["trajectories/3"]["step"][:2] == [6, 7]


def test_a_feature_that_is_not_there_any_more_is_told(begin: Begin) -> None:
    session = begin(LOADER, "0")
    session.type("until 2")
    session.type("watch 15")
    session.type("until 4")
    script = Path("train.py")
    script.write_text(script.read_text().replace("(8, 16)", "(8, 12)").replace("(16, 2)", "(12, 2)"))
    landing = json.loads(session.type("restart").splitlines()[0])
    assert "not followed from here on: no feature 15. Features are 0..11" in str(landing)
