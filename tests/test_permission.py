"""What a loop may do, as one reads it: what was asked, step after step, and where it stops."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdb.permission import Permission


def stops(permission: Permission, boundaries: int, asked: dict[int, Callable[[], object]] | None = None) -> list[int]:
    """Take steps, each captured whole, as long as they are allowed; return those at which training stops.

    Args:
        permission: what is asked.
        boundaries: how many to pass at most.
        asked: what is asked while a step is under way, by the number of the step.
    """
    found = []
    for step in range(1, boundaries + 1):
        (asked or {}).get(step, lambda: None)()
        permission.arrives(True, "")
        if permission.wants_stop:
            found.append(step)
            return found
        permission.leaves()
    return found


@pytest.mark.parametrize("count", [1, 2, 7])
def test_steps_granted_before_the_first_one(count: int) -> None:
    permission = Permission()
    permission.grant_from_start(count)
    assert stops(permission, 10) == [count]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_grants_add_up(counts: list[int]) -> None:
    """Each granted step is taken once, whether it was granted before the first one or where training stands."""
    permission = Permission()
    permission.grant_from_start(counts[0])
    assert stops(permission, 100) == [counts[0]]
    for count in counts[1:]:
        permission.grant(count)
    if counts[1:]:
        permission.leaves()
        assert stops(permission, 100) == [sum(counts[1:])]


def test_a_pause_cuts_grants_down_to_the_step_ahead() -> None:
    permission = Permission()
    permission.grant_from_start(50)
    assert stops(permission, 100, {3: lambda: permission.pause(stopped=False)}) == [4]


def test_a_pause_of_a_free_run_stops_at_the_end_of_the_step_and_says_so() -> None:
    permission = Permission()
    permission.pause(stopped=False)
    assert permission.arrives(True, "") == "pause"
    assert permission.wants_stop
    permission.grant(1)
    assert permission.leaves()
    assert permission.arrives(True, "") == "step"


def test_a_step_that_was_not_captured_whole_lets_a_pause_wait() -> None:
    permission = Permission()
    permission.pause(stopped=False)
    assert permission.arrives(False, "") == "pause"
    assert permission.leaves()
    assert permission.arrives(True, "") == "pause"


def test_a_hit_takes_back_what_was_granted() -> None:
    permission = Permission()
    permission.grant_from_start(9)
    assert permission.arrives(True, "loss is NaN") == "loss is NaN"
    assert (permission.wants_stop, permission.granted) == (True, 0)


def test_the_end_overrides_a_pause_and_is_forgotten_with_the_loop() -> None:
    permission = Permission()
    permission.pause(stopped=False)
    permission.stop()
    assert (permission.wants_stop, permission.wants_boundary) == (False, True)
    permission.ends()
    assert not permission.wants_boundary


def test_a_loop_held_before_its_first_step() -> None:
    permission = Permission()
    permission.grant_from_start(4)
    permission.hold_first()
    assert permission.begins()
    assert permission.wants_stop
    permission.grant(2)
    permission.leaves()
    assert stops(permission, 9) == [2]
