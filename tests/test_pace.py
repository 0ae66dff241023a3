"""The pace on the live line is that of the steps being taken, also after going back."""

from __future__ import annotations

import time

import pytest

from tdb.commands import all_commands
from tdb.controller import DebugController
from tdb.front import pauses
from tdb.session import Session
from tdb.shell.live import Pace


def test_steps_a_second_over_the_last_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 1.0, 2.0, 6.5, 7.0, 8.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    pace = Pace()
    assert [pace.at(tick) for tick in (100, 110, 130, 220, 5, 25)] == [0.0, 10.0, 15.0, 20.0, 0.0, 20.0]


def test_the_time_until_the_first_step_is_no_part_of_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 3.0, 3.5, 4.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    pace = Pace()
    assert [pace.at(tick) for tick in (0, 0, 30, 60)] == [0.0, 0.0, 0.0, 60.0]


def test_the_longer_nothing_is_wanted_the_more_rarely_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 0.0, 1.0, 2.0, 3.0, 100.0, 100.0, 100.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    session = Session(DebugController(), all_commands())
    quiet = pauses(session, None)
    assert [next(quiet) for _ in range(5)] == [0.05, 0.05, 0.1, 0.15, 0.2]
    session.main_thread.later(lambda: None)
    session.main_thread.attend()
    assert next(quiet) == 0.05
