"""Signals to tdb in a script, and of the script itself."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable

import pytest

from tdb.__main__ import main
from tdb.command_line import CommandLine
from tests.conftest import PATIENCE
from tests.scripts.conftest import Place

Begin = Callable[..., "subprocess.Popen[str]"]

# It says when it is on its way, and installs a handler when it is told to by a file.
SLOW = """
    import _signal, signal, sys, time
    from pathlib import Path
    import tdb

    controller = tdb.active_controller()
    while "waited-for" in sys.argv and _signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        time.sleep(0.01)  # until a SIGINT interrupts the shell's wait
    print("on its way", flush=True)
    for step in range(1, 10**9):
        time.sleep(0.01)
        if "hang" in sys.argv:
            while not controller.is_paused:
                time.sleep(0.01)
            print("asked to pause", flush=True)
            time.sleep(1000)
        if Path("install").exists():
            Path("install").unlink()
            signal.signal(signal.SIGUSR1, lambda number, frame: print("heard", flush=True))
            print("installed", flush=True)
        controller.capture_batch([step], 1.0, step)
        controller.wait_if_paused()
"""


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


@pytest.mark.parametrize("options", [[], ["--on-error", "continue"]])
def test_an_interrupt_pauses_training_and_ends_the_script(place: Place, begin: Begin, options: list[str]) -> None:
    process = begin(*options, "-c", "continue", "-c", "p 'not reached'", place.write("slow.py", SLOW), "waited-for")
    assert line_of(process) == "on its way\n"
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, "")
    assert error.startswith("*** interrupted: training is stopped at step ")
    assert error.count("\n") == 1


def test_a_second_interrupt_does_not_wait_for_the_step(place: Place, begin: Begin) -> None:
    process = begin("-c", "continue", place.write("slow.py", SLOW), "waited-for", "hang")
    assert line_of(process) == "on its way\n"
    process.send_signal(signal.SIGINT)
    assert line_of(process) == "asked to pause\n"
    assert process.poll() is None
    process.send_signal(signal.SIGINT)  # ends the script
    assert process.stderr is not None
    assert process.stderr.readline() == "waiting for the training step under way; Ctrl-C leaves at once\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=PATIENCE)
    assert (process.returncode, error) == (130, "*** training did not end; leaving it behind\n")


# Where its steps are taken again, in another process, it interrupts the first one.
AGAIN = """
    import os
    import signal
    import time
    from pathlib import Path

    import torch
    from torch import nn

    net = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    first = Path("first")
    again = first.exists()
    if not again:
        first.write_text(str(os.getpid()))
    for step in range(1, 1001):
        optimizer.zero_grad()
        net(torch.ones(4, 2)).square().mean().backward()
        optimizer.step()
        if again and step == 5:
            os.kill(int(first.read_text()), signal.SIGINT)
        time.sleep(0.01 if again else 0)
"""


def test_an_interrupt_on_the_way_back_says_where_training_stands(torch_place: Place) -> None:
    script = torch_place.write("again.py", AGAIN)
    ended = torch_place.tdb("--batch", "-c", "until 1000", "-c", "goto 900", script)
    stands = re.fullmatch(r"\*\*\* interrupted: training is stopped at step (\d+)\n", ended.error)
    assert stands, ended
    assert 5 <= int(stands[1]) < 900
    assert ended.status == 130


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_signals_that_end(place: Place, begin: Begin, number: int, status: int) -> None:
    script = place.write("slow.py", SLOW)
    for commands in (["-c", "continue"], ["-c", "continue &"]):
        process = begin(*commands, script)
        assert line_of(process) == "on its way\n"
        process.send_signal(number)
        _, error = process.communicate(timeout=PATIENCE)
        assert (process.returncode, "Traceback" in error) == (status, False), error


def test_a_script_that_is_driven_through_pipes_can_install_a_handler_at_any_time(place: Place, begin: Begin) -> None:
    process = begin(place.write("slow.py", SLOW))
    say(process, "continue &")
    assert line_of(process) == "on its way\n"
    place.write("install", "")
    assert line_of(process) == "installed\n"
    process.send_signal(signal.SIGUSR1)
    assert line_of(process) == "heard\n"
    say(process, "pause")
    assert line_of(process).startswith("> step ")
    out, _ = process.communicate("p 'the end'\n", timeout=PATIENCE)
    assert (process.returncode, out.splitlines()[-1]) == (0, "'the end'")


def test_a_forked_process_is_ended_by_signals_as_without_tdb(place: Place) -> None:
    script = place.write(
        "forks.py",
        """
        import os
        import signal

        process = os.fork()
        if process == 0:
            for number in (signal.SIGHUP, signal.SIGTERM):
                assert signal.getsignal(number) == signal.SIG_DFL, number
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
        """,
    )
    for ended in (place.python(script), place.tdb("-c", "continue", script)):
        assert (ended.status, ended.out.splitlines()[0]) == (0, "-15"), ended


def test_what_a_handler_raises_is_raised_in_the_script(place: Place) -> None:
    script = place.write(
        "late.py",
        """
        import signal
        import time
        import tdb

        class Late(Exception):
            def __init__(self, text, seconds):
                super().__init__(text)
                self.seconds = seconds

        def late(number, frame):
            raise Late("too late", 0.2)

        controller = tdb.active_controller()
        signal.signal(signal.SIGALRM, late)
        print(signal.getsignal(signal.SIGALRM) is late)
        for where in ("outside", "inside"):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.2)
                for step in range(1, 10**9):
                    time.sleep(0.01)
                    if where == "inside":
                        controller.capture_batch([step], 1.0, step)
                        controller.wait_if_paused()
            except Late as error:
                print(where, type(error).__name__, error, error.seconds)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        while True:
            time.sleep(0.01)
        """,
    )
    ended = place.tdb("-c", "continue", script)
    assert ended.out.splitlines()[:3] == ["True", "outside Late too late 0.2", "inside Late too late 0.2"], ended
    assert (ended.status, ended.out.splitlines()[-1].endswith(": Late: too late")) == (3, True), ended


def test_a_program_that_the_script_starts_hears_its_interrupt_and_a_worker_none(place: Place) -> None:
    place.write(
        "child.py",
        """
        import time

        try:
            print("up", flush=True)
            time.sleep(100)
        except KeyboardInterrupt:
            print("heard")
        """,
    )
    script = place.write(
        "starts.py",
        """
        import multiprocessing
        import signal
        import subprocess
        import sys

        def hears():
            return signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())

        if __name__ == "__main__":
            child = subprocess.Popen([sys.executable, "child.py"], stdout=subprocess.PIPE, text=True)
            child.stdout.readline()
            child.send_signal(signal.SIGINT)
            print(child.communicate()[0], end="")
            with multiprocessing.get_context("fork").Pool(1) as pool:
                print(pool.apply(hears))
        """,
    )
    ended = place.tdb("-c", "continue", script)
    assert (ended.status, ended.out.splitlines()[:2]) == (0, ["heard", "False"]), ended


def test_an_interrupt_before_the_script_has_begun_leaves_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(line: CommandLine) -> int:
        raise KeyboardInterrupt(line.target)

    monkeypatch.setattr("tdb.shell.start.debug", interrupted)
    assert main(["train.py"]) == 130
    assert capsys.readouterr() == ("", "")
