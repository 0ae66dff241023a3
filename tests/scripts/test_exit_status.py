"""How tdb leaves, in a script."""

from __future__ import annotations

import pytest

from tests.scripts.conftest import Place


@pytest.mark.parametrize(
    ("commands", "status", "error"),
    [
        (["step", "p step"], 0, ""),
        (["continue"], 0, ""),
        (["wait 1"], 1, "*** training has not started"),
        (["start", "p 1 / 0"], 1, "*** ZeroDivisionError: division by zero"),
        (["continue &", "step"], 1, "*** training is "),
        (["step x"], 2, "*** step takes a number of steps, not 'x'. Example: step 5"),
        (["metrcs"], 2, "*** unknown command 'metrcs' (nor Python). Did you mean: metrics"),
        (["source nosuch"], 2, "*** cannot read nosuch"),
        (["step", "quit 9"], 9, ""),
        (["quit 256"], 2, "*** quit takes an exit status from 0 to 255"),
        (["quit"], 0, ""),
    ],
)
def test_of_commands(place: Place, commands: list[str], status: int, error: str) -> None:
    options = [word for command in commands for word in ("-c", command)]
    ended = place.tdb(*options, "loop.py", "50")
    assert ended.status == status
    assert error in ended.error if error else not ended.error


@pytest.mark.parametrize(
    ("ending", "commands", "status"),
    [
        ("sys.exit(7)", ["continue"], 7),
        ("sys.exit(7)", ["continue", "quit"], 7),
        ("sys.exit(7)", ["continue", "quit 0"], 0),
        ("sys.exit(7)", ["step"], 0),  # it never comes that far
        ("sys.exit('no more')", ["continue"], 1),
        ("sys.exit()", ["continue"], 0),
        ("sys.exit(-1)", ["continue"], 255),
        ("sys.exit(2**70)", ["continue"], 255),
        ("1 / 0", ["continue"], 3),
        ("1 / 0", ["continue", "stepp"], 3),
        ("1 / 0", ["continue", "p $_exception", "quit 5"], 5),
    ],
)
def test_of_the_training_script(place: Place, ending: str, commands: list[str], status: int) -> None:
    script = place.write("ending.py", (place.folder / "loop.py").read_text() + ending)
    options = [word for command in commands for word in ("-c", command)]
    ended = place.tdb(*options, script, "5")
    assert ended.status == status
    assert ("no more" in ended.error) == ("no more" in ending)
    assert ("ZeroDivisionError: division by zero" in ended.out) == (status in (3, 5))
    # As in a plain run, the traceback is on stderr: what is piped has the answers alone.
    assert ("\nZeroDivisionError: division by zero\n" in ended.error) == (status in (3, 5))
    assert "Traceback" not in ended.out


def test_a_crash_is_the_shells_to_show_and_not_the_scripts_own_excepthook(place: Place) -> None:
    """As in pdb, where a crash is not the end of the script either."""
    own = "\nsys.excepthook = lambda *_: print('reported')\n1 / 0\n"
    script = place.write("reporting.py", (place.folder / "loop.py").read_text() + own)
    ended = place.tdb("-c", "continue", script, "5")
    assert ended.status == 3
    assert "ZeroDivisionError: division by zero" in ended.out
    assert "reported" not in ended.out


def test_nothing_to_run(place: Place) -> None:
    for arguments, error in [
        (["nosuch.py"], "*** no such script: nosuch.py"),
        (["-m", "nosuch"], "*** no module named 'nosuch'"),
        (["-x", "nosuch.tdb", "loop.py", "5"], "*** no such file: nosuch.tdb"),
        ([], "a SCRIPT or -m MODULE is needed"),
        (["-m"], "a SCRIPT or -m MODULE is needed"),
        (["--nonsense", "loop.py"], "unrecognized arguments: --nonsense"),
        (["."], "*** there is no __main__.py in ."),
    ]:
        ended = place.tdb(*arguments)
        assert (ended.status, ended.out) == (2, "")
        assert error in ended.error
        assert "Traceback" not in ended.error


def test_help_and_version(place: Place) -> None:
    status, out, error = place.tdb("--help")
    assert (status, error) == (0, "")
    assert all(option in str(out) for option in ("-c", "CMD", "-x", "FILE", "--json", "--batch", "--on-error", "--nx"))
    status, out, error = place.tdb("--version")
    assert (status, error) == (0, "")
    assert str(out).startswith("tdb 0.")


def test_help_says_why_docstrings_are_missing(place: Place) -> None:
    for line in ("help step", "help"):
        ended = place.python("-OO", "-m", "tdb", "--batch", "-c", line, "loop.py", "5")
        assert ended.status == 0
        assert "`python -OO` leaves those out" in f"{ended.out}{ended.error}"
        assert "`python -OO`" not in place.tdb("--batch", "-c", line, "loop.py", "5").out


def test_a_syntax_error_in_the_script_is_a_crash_of_it(place: Place) -> None:
    ended = place.tdb("-c", "start", place.write("broken.py", "def train(:\n"))
    assert ended.status == 3
    assert "SyntaxError: invalid syntax" in ended.out


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&-", "2>&-"])
def test_a_run_is_taken_back_whatever_streams_are_closed(place: Place, closed: str) -> None:
    command = f'exec "$0" -m tdb --batch -c "step 3" -c "goto 2" loop.py 5 {closed}'
    ended = place.python("-c", "import os, sys; os.execvp('sh', ['sh', '-c', sys.argv[1], sys.executable])", command)
    assert ended.status == 0


def test_stdin_may_be_closed(place: Place) -> None:
    command = 'exec "$0" -m tdb -c step loop.py 5 <&-'
    ended = place.python("-c", "import os, sys; os.execvp('sh', ['sh', '-c', sys.argv[1], sys.executable])", command)
    assert (ended.status, ended.error) == (0, "")
    assert ended.out.startswith("> step 1  loss 1.0000        loop.py(")


@pytest.mark.parametrize("unfinished", [["-c", "step"], ["-c", "continue &"]])
def test_the_end_of_a_script_ends_training(place: Place, unfinished: list[str]) -> None:
    script = place.write(
        "long.py",
        """
        import time
        import tdb

        controller = tdb.active_controller()
        try:
            for step in range(1, 10**9):
                controller.capture_batch([step], 1.0, step)
                controller.wait_if_paused()
        finally:
            print("unwound")
        """,
    )
    ended = place.tdb(*unfinished, script)
    assert ended.status == 0
    assert ended.out.endswith("unwound\n")


def test_a_step_that_never_ends_is_left_behind(place: Place) -> None:
    script = place.write(
        "stuck.py",
        """
        import time
        import tdb

        controller = tdb.active_controller()
        controller.capture_batch([1], 1.0, 1)
        controller.wait_if_paused()
        time.sleep(1000)
        """,
    )
    impatient = "from tdb.shell import start; start.END_SECONDS = 1.5; from tdb.__main__ import main; main()"
    status, _, error = place.python("-c", impatient, "-c", "step", "-c", "continue &", "-c", "wait 0.2", script)
    assert status == 1
    assert str(error).splitlines() == [
        "training runs in the background: `pause` stops it, `wait` waits",
        "*** training still runs after 0.2 s: `pause` stops it",
        "waiting for the training step under way; Ctrl-C leaves at once",
        "*** training did not end; leaving it behind",
    ]
