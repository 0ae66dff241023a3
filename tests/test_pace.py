"""The pace on the live line is that of the steps being taken, also after going back."""

from __future__ import annotations

import time

import pytest

from tdb.shell.live import Pace


def test_steps_a_second_over_the_last_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 1.0, 2.0, 6.5, 7.0, 8.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    pace = Pace()
    assert [pace.at(tick) for tick in (100, 110, 130, 220, 5, 25)] == [0.0, 10.0, 15.0, 20.0, 0.0, 20.0]
