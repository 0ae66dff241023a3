"""How a loop stands, without a gate: every status comes from the one before it, and a thread that died is noticed."""

from __future__ import annotations

import threading

from tdb.standing import CRASHED, FINISHED, READY, RUNNING, STOPPED, Standing
from tests.conftest import join


def ended() -> threading.Thread:
    thread = threading.Thread(target=int)
    thread.start()
    join(thread)
    return thread


def test_a_run_from_its_first_step_to_its_end() -> None:
    standing, here = Standing(), threading.current_thread()
    assert (standing.status, standing.is_here) == (READY, False)
    standing.enter(here)
    assert (standing.status, standing.is_here, standing.server) == (RUNNING, True, None)
    standing.halt("pause")
    assert (standing.status, standing.reason, standing.stops, standing.server) == (STOPPED, "pause", 1, here)
    standing.go_on()
    assert (standing.status, standing.server) == (RUNNING, here), "its thread has yet to leave"
    standing.leave()
    assert standing.server is None
    standing.end(FINISHED, "")
    standing.go_on()
    assert (standing.status, standing.thread) == (FINISHED, here), "what is over does not go on"
    standing.expect()
    assert (standing.status, standing.thread, standing.stops) == (READY, None, 1)


def test_a_thread_that_has_yet_to_be_started_is_not_lost() -> None:
    standing = Standing()
    assert not standing.has_lost_thread, "there is none"
    standing.enter(threading.Thread())
    assert not standing.has_lost_thread
    assert not standing.has_ended_without_a_word()


def test_a_thread_that_died_ends_what_was_under_way_and_nothing_that_was_over() -> None:
    standing = Standing()
    standing.enter(ended())
    standing.halt("pause")
    assert standing.has_ended_without_a_word()
    assert standing.server is None, "nobody serves there any more"
    standing.end(CRASHED, "")
    assert not standing.has_ended_without_a_word()


def test_where_the_loop_had_a_thread_of_its_own_the_script_goes_on_in_its_own() -> None:
    standing, script = Standing(), threading.current_thread()
    standing.enter(script)
    standing.launched = script
    standing.enter(ended())
    assert not standing.has_ended_without_a_word()
    assert (standing.thread, standing.status) == (script, RUNNING)
