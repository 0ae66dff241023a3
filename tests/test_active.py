"""Who drives the controller: the script by itself, or what finds its loop."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import tdb
from tdb import active
from tdb.controller import DebugController


@pytest.fixture(autouse=True)
def _nobody_afterwards() -> Iterator[None]:
    yield
    active.set_active_controller(None)


def test_a_plain_run_has_no_controller_and_asking_makes_nothing_explicit() -> None:
    assert tdb.active_controller() is None
    assert not active.is_explicit()


def test_a_script_that_asks_is_explicit_and_the_finder_is_told_once() -> None:
    told: list[str] = []
    controller = DebugController()
    active.set_active_controller(controller)
    active.when_explicit(lambda: told.append("first"))
    assert active.current_controller() is controller
    assert not active.is_explicit()

    assert tdb.active_controller() is controller
    assert tdb.active_controller() is controller
    active.when_explicit(lambda: told.append("late"))

    assert active.is_explicit()
    assert told == ["first", "late"]


def test_another_script_starts_over() -> None:
    active.set_active_controller(DebugController())
    tdb.active_controller()
    active.set_active_controller(DebugController())
    assert not active.is_explicit()


def test_a_forked_child_has_no_controller_unless_it_goes_on_as_the_script() -> None:
    controller = DebugController()
    active.set_active_controller(controller)
    child = os.fork()
    if child == 0:
        alone = tdb.active_controller() is None
        active.set_active_controller(controller)
        os._exit(0 if alone and tdb.active_controller() is controller else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_names_are_completed_before_they_are_used() -> None:
    assert set(tdb.__all__) <= set(dir(tdb))
