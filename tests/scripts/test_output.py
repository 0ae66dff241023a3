"""What is written where, without a terminal."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import PATIENCE
from tests.scripts.conftest import Ended, Place

ON_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="copies are made on Linux alone")

TYPED = "\ufeffstep\nstate\nset\nhelp\nstepp\n"


def test_answers_on_stdout_the_rest_on_stderr_and_nothing_but_text(place: Place) -> None:
    for environment in ({}, {"TERM": "xterm-256color", "FORCE_COLOR": ""}, {"TERM": "dumb"}, {"NO_COLOR": "1"}):
        ended = place.tdb("loop.py", "5", stdin=TYPED, **environment)
        assert ended.out.startswith("> step 1  loss 1.0000        loop.py(")
        assert "(tdb)" not in ended.out
        assert "ready, nothing has run" not in ended.out + ended.error
        assert "\x1b" not in ended.out + ended.error
        assert "\r" not in ended.out + ended.error
        assert ended.error.splitlines()[-1].startswith("<stdin>:5: *** unknown command 'stepp'")
        assert not any(line.startswith("***") for line in ended.out.splitlines())


@pytest.mark.parametrize(
    "environment", [{"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii"}]
)
def test_ascii_where_the_encoding_can_do_no_more(place: Place, environment: dict[str, str]) -> None:
    script = place.write("größe.py", (place.folder / "loop.py").read_text().replace("train(", "trainäre("))
    ended = place.tdb("-c", "step", "-c", "state", "-c", "p chr(0xe9) + chr(0x4e00)", script, "5", **environment)
    assert (ended.status, ended.error) == (0, "")
    assert ended.out.isascii()
    assert "loss       1" in ended.out
    assert "bug" not in place.tdb("-c", "p größe", script, "5", **environment).error


def test_training_and_answers_come_in_the_order_in_which_they_were_written(place: Place) -> None:
    script = place.write(
        "loud.py", (place.folder / "loop.py").read_text().replace("loss =", "print('at', step); loss =")
    )
    ended = place.tdb("-c", "step", "-c", "p 'one'", "-c", "step 2", "-c", "p 'three'", script, "50")
    assert [line for line in ended.out.splitlines() if not line.startswith(("> ", "-> "))] == [
        "at 1",
        "'one'",
        "at 2",
        "at 3",
        "'three'",
    ]


@pytest.mark.parametrize("copies", ["0", pytest.param("2", marks=ON_LINUX)])
def test_an_answer_begins_on_a_line_of_its_own_wherever_training_goes_on(place: Place, copies: str) -> None:
    printed = "print('at', step, end=''); print(end='half', file=sys.stderr); loss ="
    script = place.write("half.py", (place.folder / "loop.py").read_text().replace("loss =", printed))
    lines = [f"set checkpoints.forks {copies}", "step 2", "goto 1", "step 2", "p 1 / 0"]
    ended = place.tdb(*(word for line in lines for word in ("-c", line)), script, "9")
    kept = [line for line in ended.out.splitlines() if not line.startswith(("-> ", "re-run: ", "fork: "))]
    assert [line.partition("  ")[0] for line in kept] == [
        f"checkpoints.forks {copies}",
        "at 1at 2",
        "> step 2",
        "> step 1",
        "at 2at 3",
        "> step 3",
    ]
    assert "half\n*** ZeroDivisionError" in ended.error


def test_a_script_that_closes_stdout_has_no_answers_written(place: Place) -> None:
    place.write("closing.py", "import sys\nsys.stdout.close()\n" + (place.folder / "loop.py").read_text())
    ended = place.tdb("-c", "step", "-c", "step", "closing.py", "5")
    assert ended == Ended(1, "", "*** the answers cannot be written: the script has closed stdout\n")


def in_shell(place: Place, command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a line of a shell in which "$0" is Python."""
    return subprocess.run(
        ["sh", "-c", command, sys.executable],
        cwd=place.folder,
        env=place.environ,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("options", ["", "--json"])
def test_an_output_that_is_full_or_closed(place: Place, options: str) -> None:
    full = "*** the answers cannot be written: No space left on device\n"
    for to, status, error in ((">/dev/full", 1, full), (">&-", 0, "")):
        ended = in_shell(place, f'"$0" -m tdb --batch {options} -c step -c state loop.py 5 {to}')
        assert (ended.returncode, ended.stderr) == (status, error)


def test_a_reader_that_has_had_enough_is_no_error(place: Place) -> None:
    script = place.write("long.py", (place.folder / "loop.py").read_text())
    for options in ("", "--json"):
        ended = in_shell(place, f'"$0" -m tdb {options} {script} 50 | head -1', "step\n" + "help\n" * 200)
        assert ended.stdout.count("\n") == 1
        assert [line for line in ended.stderr.splitlines() if "COMMAND" not in line and "-o FILE" not in line] == []


def test_pipe(place: Place) -> None:
    ended = place.tdb("-c", "step", "-c", "pipe state | grep loss", "-c", "pipe state | grep nothing", "loop.py", "5")
    assert ended.status == 1
    assert ended.out.splitlines()[2:] == ["loss       1.0"]
    assert ended.error == "*** 'grep nothing' left with exit status 1\n"


def test_shell(place: Place) -> None:
    ended = place.tdb("-c", "step", "-c", "shell echo a b | tr ab xy", "-c", "shell exit 3", "loop.py", "5")
    assert ended.status == 1
    assert ended.out.splitlines()[2:] == ["x y"]
    assert ended.error == "*** 'exit 3' left with exit status 3\n"


def test_commands_beyond_ascii_mean_what_they_say_in_a_locale_that_has_ascii_alone(place: Place) -> None:
    narrow = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    script = place.write("größe.py", "import tdb\ngröße = '→ ×'\ntdb.set_trace()\nraise ValueError(größe)\n")
    lines = ["continue", "p größe", "p len('→ ü')", "display 'ü'", "l"]
    by_words = place.tdb(*[word for line in lines for word in ("-c", line)], script, **narrow)
    piped = place.tdb(script, stdin="".join(f"{line}\n" for line in lines), **narrow)
    beside = place.python(script, stdin="".join(f"{line}\n" for line in lines[1:]), **narrow)
    for ended in (by_words, piped, beside):
        assert "'\\u2192 x'\n3\n" in ended.out
        assert "UnicodeEncodeError" not in ended.out + ended.error
