"""The gate: pause, step, resume and stop as another thread sees them, and every way out of a wait."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from typing import Any

import pytest

from tdb.errors import StateError, TrainingStopped
from tdb.gate import Gate
from tdb.standing import CRASHED, ENDED, FINISHED, READY, RUNNING, STOPPED
from tests.conftest import PATIENCE, join


class Walk:
    """A loop of nothing but boundaries: each step is captured if the boundary before it says so."""

    def __init__(self, gate: Gate, steps: int = 10**9) -> None:
        self.gate = gate
        self.steps = 0
        self.whole: list[int] = []
        self.error: BaseException | None = None
        self._wanted = steps
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Walk:
        self.thread.start()
        return self

    def _run(self) -> None:
        whole = True
        try:
            while self.steps < self._wanted:
                self.steps += 1
                if whole:
                    self.whole.append(self.steps)
                whole = self.gate.arrive(whole)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.stop()
    gate.dismiss()


def stopped(gate: Gate) -> bool:
    return gate.wait(PATIENCE) == STOPPED


# ---- pause, step, resume ---------------------------------------------------------------------------------------------


def test_a_pause_in_the_middle_of_a_step_stops_at_the_end_of_the_next_whole_step(gate: Gate) -> None:
    assert gate.arrive(whole=True) is False  # running freely: the step ahead need not be captured
    gate.pause()  # in the middle of that step
    assert gate.arrive(whole=False) is True  # its boundary passes, and the step ahead is to be captured
    assert gate.stops == 0

    blocked = threading.Thread(target=gate.arrive, args=(True,), daemon=True)
    gate.launched(blocked)
    blocked.start()
    assert stopped(gate)
    assert (gate.reason, gate.stops) == ("pause", 1)
    gate.resume()
    join(blocked)


def test_a_session_of_pause_steps_and_resume(gate: Gate) -> None:
    gate.pause()
    walk = Walk(gate).start()
    assert stopped(gate)
    assert (walk.steps, gate.reason) == (1, "pause")

    assert gate.step() == 1
    assert stopped(gate)
    assert (walk.steps, gate.reason) == (2, "step")

    assert gate.step(5) == 5
    assert stopped(gate)
    assert walk.steps == 7
    assert walk.whole == [1, 2, 7], "of five steps only the one that stops is captured"

    gate.resume()
    assert (gate.wait(0), gate.is_paused) == (RUNNING, False)
    assert gate.step() == 0, "a loop that runs freely is granted nothing"

    gate.pause()
    assert (gate.is_paused, stopped(gate)) == (True, True)
    assert walk.whole[-1] == walk.steps > 7


def test_grants_add_up(gate: Gate) -> None:
    gate.pause()
    walk = Walk(gate).start()
    assert stopped(gate)
    assert sum(gate.step(count) for count in (1, 2, 3, 40)) == 46
    assert stopped(gate)
    assert walk.steps == 1 + 46


def test_steps_granted_before_the_loop_begins_include_its_first(gate: Gate) -> None:
    assert gate.step(3) == 3
    walk = Walk(gate).start()
    assert stopped(gate)
    assert walk.steps == 3


def test_steps_granted_after_a_pause_before_the_loop_begins_come_after_the_step_of_the_pause(gate: Gate) -> None:
    gate.pause()
    assert gate.step(2) == 2
    walk = Walk(gate).start()
    assert stopped(gate)
    assert walk.steps == 1 + 2


def test_steps_granted_after_a_pause_in_the_middle_of_a_step_come_after_the_step_of_the_pause(gate: Gate) -> None:
    gate.arrive(whole=True)
    gate.pause()
    assert gate.step(2) == 2
    assert gate.arrive(whole=False) is True
    walk = Walk(gate).start()
    assert stopped(gate)
    assert walk.steps == 1 + 2


def test_a_pause_cuts_what_was_granted_beyond_the_next_whole_step(gate: Gate) -> None:
    gate.pause()
    walk = Walk(gate).start()
    assert stopped(gate)
    gate.step(10**9)
    gate.pause()
    assert stopped(gate)
    assert walk.steps < 10**6
    assert walk.whole[-1] == walk.steps


def test_a_pause_right_after_a_resume_lets_one_whole_step_pass(gate: Gate) -> None:
    """Whether the blocked loop has woken up in between or not."""
    gate.pause()
    walk = Walk(gate).start()
    assert stopped(gate)
    with gate._lock:  # so that it cannot
        gate.resume()
        gate.pause()
    assert stopped(gate)
    assert (walk.steps, gate.stops) == (2, 2)
    with gate._lock:
        gate.step(5)
        gate.pause()
    assert stopped(gate)
    assert (walk.steps, gate.stops) == (3, 3)


def test_a_resume_makes_granted_steps_part_of_running_freely(gate: Gate) -> None:
    gate.pause()
    Walk(gate, steps=50).start()
    assert stopped(gate)
    gate.step(2)
    gate.resume()
    assert gate.wait(PATIENCE) == FINISHED


@pytest.mark.parametrize("count", [0, -1])
def test_a_step_takes_a_number_of_steps(gate: Gate, count: int) -> None:
    with pytest.raises(ValueError, match=f"from 1, not {count}"):
        gate.step(count)


def test_a_hit_stops_a_loop_that_runs_freely_and_cuts_grants(gate: Gate) -> None:
    def loop() -> None:
        gate.arrive(whole=True)
        gate.arrive(whole=False, hit="loss > 2")

    thread = threading.Thread(target=loop, daemon=True)
    gate.launched(thread)
    thread.start()
    assert stopped(gate)
    assert (gate.reason, gate.is_paused) == ("loss > 2", True)
    gate.resume()
    join(thread)


def test_an_armed_gate_is_looked_at_again_and_again(gate: Gate) -> None:
    gate.arm(True)
    gate.arrive(whole=True)
    assert gate.attention.is_set
    gate.arm(False)
    gate.arrive(whole=False)
    assert not gate.attention.is_set


# ---- before the first step -------------------------------------------------------------------------------------------


def begin_then_walk(gate: Gate, steps: list[int]) -> threading.Thread:
    def loop() -> None:
        gate.begin()
        whole = True
        for step in range(1, 10**6):
            steps.append(step)
            whole = gate.arrive(whole)

    thread = threading.Thread(target=loop, daemon=True)
    gate.launched(thread)
    thread.start()
    return thread


def test_a_loop_may_stop_before_its_first_step(gate: Gate) -> None:
    steps: list[int] = []
    gate.stop_at_begin()
    begin_then_walk(gate, steps)
    assert stopped(gate)
    assert (steps, gate.reason) == ([], "start")
    assert gate.step(2) == 2
    assert stopped(gate)
    assert steps == [1, 2]


def test_of_stop_at_begin_and_step_the_later_one_counts(gate: Gate) -> None:
    steps: list[int] = []
    gate.stop_at_begin()
    assert gate.step(3) == 3
    begin_then_walk(gate, steps)
    assert stopped(gate)
    assert steps == [1, 2, 3]

    other, steps = Gate(), []
    other.step(3)
    other.stop_at_begin()
    begin_then_walk(other, steps)
    assert stopped(other)
    assert steps == []
    other.stop()


def test_a_loop_that_never_says_that_it_begins_stops_after_its_first_whole_step(gate: Gate) -> None:
    gate.stop_at_begin()
    walk = Walk(gate).start()
    assert stopped(gate)
    assert (walk.steps, walk.whole, gate.reason) == (1, [1], "start")
    gate.resume()
    for _ in range(3):  # boundaries have passed since
        gate.at_boundary(lambda: None).result(PATIENCE)
    gate.stop_at_begin()  # again, in the middle of a run: what a stop shows is whole also then
    assert stopped(gate)
    assert walk.whole[-1] == walk.steps > 1


def test_a_pause_before_training_stops_after_the_first_step(gate: Gate) -> None:
    steps: list[int] = []
    gate.pause()
    begin_then_walk(gate, steps)
    assert stopped(gate)
    assert steps == [1]


# ---- the end ---------------------------------------------------------------------------------------------------------


def test_stop_overrides_pause(gate: Gate) -> None:
    gate.pause()
    walk = Walk(gate).start()
    assert stopped(gate)
    gate.step(3)
    gate.stop()
    assert gate.step() == 0, "nothing is granted to a loop that is about to end"
    assert gate.wait(PATIENCE) == ENDED
    join(walk.thread)
    assert isinstance(walk.error, TrainingStopped)
    assert (walk.steps <= 4, gate.is_paused, gate.reason) == (True, False, "stopped by the user")


def test_a_blocked_loop_that_is_told_to_stop_takes_no_further_step(gate: Gate) -> None:
    gate.pause()
    thread = threading.Thread(target=gate.arrive, args=(True,), daemon=True)  # bare: pytest would see a traceback
    gate.launched(thread)
    thread.start()
    assert stopped(gate)
    gate.stop()
    gate.pause()  # too late
    assert gate.wait(PATIENCE) == ENDED
    join(thread)


@pytest.mark.parametrize("say_begin", [True, False])
def test_stop_before_training_ends_it_at_its_first_chance(gate: Gate, say_begin: bool) -> None:
    gate.stop()
    with pytest.raises(TrainingStopped):
        gate.begin() if say_begin else gate.arrive(whole=True)
    assert gate.status == ENDED


def test_nothing_is_granted_to_a_loop_that_will_end_before_its_first_step(gate: Gate) -> None:
    gate.stop()
    assert gate.step(3) == 0


def test_what_is_asked_after_the_end_waits_for_no_answer(gate: Gate) -> None:
    walk = Walk(gate, steps=3).start()
    join(walk.thread)
    assert gate.status == FINISHED
    assert gate.attention.is_set, "should there be another run, its first boundary looks here"
    gate.stop()
    gate.resume()
    assert (gate.step(5), gate.wait(), gate.is_paused) == (0, FINISHED, False)
    assert gate.call(threading.current_thread) is threading.current_thread()
    with pytest.raises(StateError, match="training is over"):
        gate.at_boundary(lambda: None).result()


def test_a_wait_notices_a_loop_that_ends_without_a_word(gate: Gate) -> None:
    gate.pause()
    walk = Walk(gate, steps=2).start()
    assert stopped(gate)
    gate.step(100)
    assert gate.wait(PATIENCE) == FINISHED
    assert walk.steps == 2


def test_a_wait_for_a_thread_that_never_reaches_a_boundary_ends_with_the_thread(gate: Gate) -> None:
    loading = threading.Event()
    thread = threading.Thread(target=loading.wait, daemon=True)
    gate.launched(thread)
    assert gate.status == RUNNING, "launched, though not started yet"
    thread.start()
    assert gate.wait(0.01) == RUNNING
    loading.set()
    assert gate.wait(PATIENCE) == FINISHED


def test_a_thread_may_be_announced_after_it_has_stopped(gate: Gate) -> None:
    gate.pause()
    walk = Walk(gate).start()
    assert stopped(gate)
    gate.launched(walk.thread)
    assert (gate.status, gate.stops) == (STOPPED, 1)


def test_a_wait_has_a_time_out(gate: Gate) -> None:
    Walk(gate).start()
    gate.at_boundary(lambda: None).result(PATIENCE)
    assert gate.wait(0.05) == RUNNING


def test_a_wait_before_training_waits_only_for_a_stop_that_was_asked_for(gate: Gate) -> None:
    assert gate.wait() == READY
    gate.pause()
    assert gate.wait(0.01) == READY
    walk = Walk(gate).start()
    assert stopped(gate)
    assert walk.steps == 1


def test_the_training_thread_cannot_wait_for_itself(gate: Gate) -> None:
    gate.pause()
    Walk(gate).start()
    assert stopped(gate)

    def resume_and_wait() -> None:
        gate.resume()
        gate.wait()

    with pytest.raises(StateError, match="cannot wait for itself"):
        gate.call(resume_and_wait)
    gate.pause()
    assert stopped(gate)
    with pytest.raises(StateError, match="cannot wait for itself"):
        gate.call(lambda: gate.at_boundary(lambda: None).result())


# ---- functions for the training thread -------------------------------------------------------------------------------


def test_call_runs_in_the_training_thread_and_returns_or_raises_what_the_function_does(gate: Gate) -> None:
    gate.pause()
    walk = Walk(gate).start()
    assert stopped(gate)
    assert gate.call(threading.current_thread) is walk.thread
    with pytest.raises(ZeroDivisionError):
        gate.call(lambda: 1 // 0)
    with pytest.raises(SystemExit):
        gate.call(sys.exit)
    assert gate.call(lambda: gate.call(threading.current_thread)) is walk.thread
    assert (gate.status, walk.steps) == (STOPPED, 1), "none of that has moved training"


def test_a_function_that_is_called_may_drive_the_gate(gate: Gate) -> None:
    gate.pause()
    walk = Walk(gate).start()
    assert stopped(gate)
    assert gate.call(lambda: gate.step(2)) == 2
    assert stopped(gate)
    assert walk.steps == 3
    gate.call(gate.stop)
    assert gate.wait(PATIENCE) == ENDED


def test_call_is_refused_while_training_runs(gate: Gate) -> None:
    Walk(gate).start()
    gate.at_boundary(lambda: None).result(PATIENCE)
    with pytest.raises(StateError, match="training is running"):
        gate.call(lambda: None)


def test_call_before_training_runs_at_once(gate: Gate) -> None:
    assert gate.call(threading.current_thread) is threading.current_thread()


def test_call_is_refused_while_the_training_thread_unwinds(gate: Gate) -> None:
    unwinding, done = threading.Event(), threading.Event()

    def loop() -> None:
        try:
            gate.arrive(whole=True)
        finally:
            unwinding.set()
            done.wait(PATIENCE)  # saves a checkpoint, say

    gate.pause()
    thread = threading.Thread(target=loop, daemon=True)
    gate.launched(thread)
    thread.start()
    assert stopped(gate)
    gate.stop()
    assert unwinding.wait(PATIENCE)
    assert gate.wait(PATIENCE) == ENDED
    with pytest.raises(StateError, match="training is ending"):
        gate.call(lambda: None)
    done.set()
    join(thread)
    assert gate.call(threading.current_thread) is threading.current_thread()


def test_at_boundary_while_training_runs_and_while_it_is_stopped(gate: Gate) -> None:
    walk = Walk(gate).start()
    assert gate.at_boundary(threading.current_thread).result(PATIENCE) is walk.thread
    gate.pause()
    assert stopped(gate)
    assert gate.at_boundary(threading.current_thread).result(PATIENCE) is walk.thread
    with pytest.raises(ZeroDivisionError):
        gate.at_boundary(lambda: 1 // 0).result(PATIENCE)


def test_at_boundary_before_training_waits_for_the_first_step(gate: Gate) -> None:
    answer = gate.at_boundary(threading.current_thread)
    with pytest.raises(TimeoutError):
        answer.result(0.01)
    walk = Walk(gate, steps=1).start()
    assert answer.result(PATIENCE) is walk.thread


@pytest.mark.parametrize("word", ["stop", "no word"])
def test_what_is_queued_when_training_ends_is_answered(gate: Gate, word: str) -> None:
    """Also by a thread that dies without a word: whoever waits for the answer looks for that."""
    passed, go_on = threading.Event(), threading.Event()

    def loop() -> None:
        gate.arrive(whole=True)
        passed.set()
        go_on.wait(PATIENCE)
        if word == "stop":
            gate.arrive(whole=False)

    thread = threading.Thread(target=loop, daemon=True)
    gate.launched(thread)
    thread.start()
    assert passed.wait(PATIENCE)
    late = gate.at_boundary(threading.current_thread)
    if word == "stop":
        gate.stop()
    go_on.set()
    if word == "stop":
        assert late.result(PATIENCE) is thread, "what was asked for before the end is still done"
    else:
        with pytest.raises(StateError, match="training is over"):
            late.result(PATIENCE)
    assert gate.wait(PATIENCE) == (ENDED if word == "stop" else FINISHED)


def test_an_answer_that_nobody_waits_for_any_more_is_not_computed_and_disturbs_nobody(gate: Gate) -> None:
    computed = threading.Event()
    unwanted = gate.at_boundary(computed.set)
    assert unwanted.cancel()
    with pytest.raises(CancelledError):
        unwanted.result()
    walk = Walk(gate).start()
    gate.at_boundary(lambda: None).result(PATIENCE)
    assert not computed.is_set()

    gate.pause()
    assert stopped(gate)
    gate.stop()
    join(walk.thread)
    assert gate.wait(PATIENCE) == ENDED

    dead = Gate()
    given_up = dead.at_boundary(computed.set)
    given_up.cancel()
    thread = threading.Thread(target=lambda: None)
    dead.launched(thread)
    thread.start()
    join(thread)
    assert dead.status == FINISHED


def test_many_who_ask_at_every_boundary_do_not_hold_training_up(gate: Gate) -> None:
    walk = Walk(gate).start()
    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            gate.at_boundary(lambda: None).result(PATIENCE)

    askers = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
    for asker in askers:
        asker.start()
    gate.pause()
    assert stopped(gate)
    before = walk.steps
    assert gate.step(50) == 50
    assert stopped(gate)
    assert walk.steps == before + 50
    enough.set()
    join(*askers)


class Tensor:
    """Something large, of which a test wants to know when it goes."""


def soon(predicate: Callable[[], bool]) -> bool:
    """Wait for something that nothing announces: the other thread lets go of an answer after it was given."""
    until = time.monotonic() + PATIENCE
    while not predicate() and time.monotonic() < until:
        threading.Event().wait(0.001)
    return predicate()


@contextmanager
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_neither_values_nor_errors_of_calls_outlive_those_who_asked(gate: Gate) -> None:
    """While training is stopped, the gate holds on to nothing, and no cycle keeps an error's frames alive."""
    gate.pause()
    Walk(gate).start()
    assert stopped(gate)
    with no_collector():
        known = weakref.ref(gate.call(Tensor))
        assert soon(lambda: known() is None)

        def fail() -> None:
            nonlocal known
            local = Tensor()
            known = weakref.ref(local)
            raise ValueError(local.__class__.__name__)

        with pytest.raises(ValueError, match="Tensor") as caught:
            gate.call(fail)
        assert known() is not None, "as long as the error is there, so are its frames"
        del caught
        assert soon(lambda: known() is None)


# ---- launching and lingering -----------------------------------------------------------------------------------------


def lingering(gate: Gate, status: str = CRASHED) -> threading.Thread:
    thread = threading.Thread(target=gate.finish, args=(status, "the loss exploded", True), daemon=True)
    gate.launched(thread)
    thread.start()
    assert gate.wait(PATIENCE) == status
    return thread


def test_a_thread_may_linger_after_the_end_and_answer_until_it_is_dismissed(gate: Gate) -> None:
    thread = lingering(gate)
    assert gate.reason == "the loss exploded"
    assert gate.call(threading.current_thread) is thread
    known = weakref.ref(gate.call(Tensor))
    assert soon(lambda: known() is None)
    assert gate.at_boundary(threading.current_thread).result(PATIENCE) is thread
    with pytest.raises(ZeroDivisionError):
        gate.call(lambda: 1 // 0)
    gate.dismiss()
    join(thread)
    assert gate.call(threading.current_thread) is threading.current_thread()


def test_a_thread_that_is_dismissed_before_the_end_does_not_linger(gate: Gate) -> None:
    walking = threading.Event()

    def loop() -> None:
        walking.wait(PATIENCE)
        gate.finish(FINISHED, linger=True)

    thread = threading.Thread(target=loop, daemon=True)
    gate.launched(thread)
    thread.start()
    gate.dismiss()
    walking.set()
    join(thread)
    assert gate.status == FINISHED


def test_a_new_thread_takes_over_from_one_that_lingers(gate: Gate) -> None:
    old = lingering(gate)
    walk = Walk(gate)
    with gate._lock:  # so that the old thread learns of all of this at once
        gate.dismiss()
        gate.pause()
        gate.launched(walk.thread)
        answer = gate.at_boundary(threading.current_thread)
    join(old)
    walk.start()
    assert stopped(gate)
    assert answer.result(PATIENCE) is walk.thread, "what is meant for the new one is not done by the old one"
    assert gate.call(threading.current_thread) is walk.thread
    gate.stop()
    join(walk.thread)
    assert lingering(gate, FINISHED).is_alive(), "the dismissal was meant for the old thread"


# ---- signals and the interpreter's exit ------------------------------------------------------------------------------


def test_a_signal_handler_may_pause_whatever_it_interrupts(gate: Gate, elsewhere: Callable[..., Any]) -> None:
    """A handler runs between any two instructions of the main thread: also where that holds the gate's lock."""

    def interrupted_with_the_lock_held() -> None:
        with gate._lock:
            gate.pause()
            gate.resume()
            gate.step()
            gate.stop()

    elsewhere(interrupted_with_the_lock_held)


def test_a_loop_in_the_main_thread_is_paused_by_a_timer_signal_a_thousand_times(gate: Gate) -> None:
    enough, thousand, until = threading.Event(), 1000, time.monotonic() + PATIENCE
    alarms: list[int] = []

    def handle(*_: object) -> None:
        alarms.append(1)
        gate.pause()

    def let_go() -> None:
        while not enough.is_set():
            gate.wait(PATIENCE)
            gate.resume()

    before = signal.signal(signal.SIGALRM, handle)
    helper = threading.Thread(target=let_go, daemon=True)
    gate.launched(threading.main_thread())
    helper.start()
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        whole = True
        while len(alarms) < thousand or (gate.stops <= 10 and time.monotonic() < until):
            whole = gate.arrive(whole)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gate.resume()
        enough.set()
        gate.finish(FINISHED)
    join(helper)
    assert gate.stops > 10


def python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_an_interpreter_that_exits_while_the_loop_is_blocked_does_not_hang() -> None:
    done = python("""
        import threading
        from tdb.gate import Gate

        def train():
            try:
                gate.arrive(whole=True)
            finally:
                print("unwound", gate.status)

        gate = Gate()
        gate.pause()
        threading.Thread(target=train, daemon=False).start()
        print(gate.wait(), flush=True)
    """)
    assert (done.stdout, done.stderr, done.returncode) == ("stopped\nunwound ended\n", "", 0)


def test_an_interpreter_that_exits_while_a_thread_lingers_does_not_hang() -> None:
    done = python("""
        import threading
        from tdb.gate import Gate
        from tdb.standing import CRASHED

        gate = Gate()
        thread = threading.Thread(target=gate.finish, args=(CRASHED, "", True), daemon=False)
        gate.launched(thread)
        thread.start()
        print(gate.wait(), flush=True)
    """)
    assert (done.stdout, done.stderr, done.returncode) == ("crashed\n", "", 0)


def test_a_loop_in_the_main_thread_survives_ctrl_c_while_it_is_blocked() -> None:
    """Nobody serves calls once KeyboardInterrupt has taken the loop out of the gate: they are refused, not lost."""
    done = python("""
        import os, signal, threading
        from tdb.errors import StateError
        from tdb.gate import Gate

        def interrupt():
            print(gate.wait())
            os.kill(os.getpid(), signal.SIGINT)
            caught.wait()
            print(gate.status)
            try:
                gate.call(lambda: None)
            except StateError as error:
                print(error.message)
            refused.set()
            print(gate.wait(), gate.call(lambda: "served"), flush=True)
            gate.stop()

        gate, caught, refused = Gate(), threading.Event(), threading.Event()
        gate.pause()
        threading.Thread(target=interrupt).start()
        try:
            gate.arrive(whole=True)
        except KeyboardInterrupt:
            caught.set()
        refused.wait()
        try:
            gate.arrive(whole=True)
        except SystemExit:
            print(gate.status)
    """)
    said = ["stopped", "running", "training is running", "stopped served", "ended", ""]
    assert (done.stdout.split("\n"), done.stderr, done.returncode) == (said, "", 0)


# ---- more than one ---------------------------------------------------------------------------------------------------


def test_two_gates_know_nothing_of_each_other() -> None:
    one, other = Gate(), Gate()
    one.pause()
    walks = [Walk(one).start(), Walk(other).start()]
    assert stopped(one)
    assert other.at_boundary(threading.current_thread).result(PATIENCE) is walks[1].thread
    assert one.call(threading.current_thread) is walks[0].thread
    one.stop()
    assert one.wait(PATIENCE) == ENDED
    assert other.wait(0.01) == RUNNING
    other.stop()
    assert other.wait(PATIENCE) == ENDED


def test_answers_are_futures(gate: Gate) -> None:
    """They can be handed to whatever takes futures: callbacks, `concurrent.futures.wait`, asyncio."""
    seen: list[Future[Any]] = []
    answer = gate.at_boundary(lambda: 7)
    answer.add_done_callback(seen.append)
    Walk(gate, steps=1).start()
    assert answer.result(PATIENCE) == 7
    assert seen == [answer]
    assert seen[0].exception() is None
