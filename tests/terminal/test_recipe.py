"""The recipe in a terminal, as a user debugs it."""

from __future__ import annotations

import os
import re
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sessions.test_stops import USERS_LINE, steps_by_hand
from tests.terminal.conftest import ROOT
from tests.terminal.terminal import Terminal

Open = Callable[..., Terminal]

STOP = r"> step (\d+)  epoch (\d+)  gradient_gating_l0  (\S+)  loss (\d\.\d{4})"
RECIPE = ("-m", "recipes.gradient_gating_l0")
# More steps than any machine takes before somebody at the prompt stops it.
MANY = 1_000_000


def images(terminal: Terminal) -> str:
    """Return what `batch` says of this step's images."""
    shown = terminal.line("batch")
    assert "128x1x28x28" in shown
    assert "128 images of 28x28" in shown
    return shown


def let_end(terminal: Terminal, step: int) -> int:
    """Let training, which is stopped at a step, end soon after it; return its last step."""
    assert not terminal.line(f"self.last_step = {step + 50}")
    return step + 50


def stop(shown: str) -> tuple[int, str]:
    """Return the step and the loss at which training is said to have stopped."""
    found = re.search(STOP, shown)
    assert found is not None, shown
    return int(found[1]), found[4]


@pytest.mark.parametrize(
    ("condition", "how"),
    [
        ("bcl-slow", {"columns": 110}),
        ("control", {"columns": 90, "NO_COLOR": "1"}),
        ("bcl-slow", {"columns": 80, "TERM": "dumb"}),
    ],
)
def test_what_tdb_must_show(open_with_torch: Open, condition: str, how: dict[str, str]) -> None:
    terminal = open_with_torch(*RECIPE, "--condition", condition, "--steps", str(MANY), folder=ROOT, **how)
    terminal.until_prompt()
    assert "nothing has run" in "".join(terminal.lines)

    shown = terminal.line("step").replace("\n", "")
    assert condition in shown
    assert stop(shown)[0] == 1
    first_images, first_loss = images(terminal), stop(shown)[1]

    step, loss = stop(terminal.line("step 5").replace("\n", ""))
    assert step == 6
    assert loss != first_loss
    assert images(terminal) != first_images

    assert "in the background" in terminal.line("continue &").replace("\n", " ")
    paused, _ = stop(terminal.line("pause").replace("\n", ""))
    assert paused > 6
    states = [terminal.line("state"), terminal.line("state")]
    assert states[0] == states[1]
    assert re.search(rf"^step +{paused}$", states[0], re.MULTILINE)

    last = let_end(terminal, paused)
    shown = terminal.line("continue")
    assert f"{condition}: {last:,} steps, loss " in shown
    assert shown.endswith(f"Training finished after {last} steps")
    terminal.type("quit\r")
    assert terminal.until_end() == 0

    escapes = set(re.findall(rb"\x1b\[[0-9;]*m", terminal.written))
    if "TERM" in how:
        # prompt-toolkit shows the cursor once, before it looks what the terminal can do.
        assert b"\x1b" not in terminal.written.replace(b"\x1b[?12l\x1b[?25h", b"", 1)
    if "NO_COLOR" in how:
        assert not [each for each in escapes if re.search(rb"[\[;](3[0-8]|4[0-8]|9[0-7])[;m]", each)]


@pytest.mark.parametrize("condition", ["bcl-slow", "bcl-med"])
def test_the_users_line_stops_where_a_check_in_the_loop_does(open_with_torch: Open, condition: str) -> None:
    by_hand = steps_by_hand(condition, 31)
    assert by_hand, "the test needs a feature that dies"
    terminal = open_with_torch(*RECIPE, "--condition", condition, "--steps", "50", folder=ROOT, columns=110)
    terminal.until_prompt()
    assert terminal.line(USERS_LINE).split("\n")[0] == "Breakpoint 1, when win_rate[31]<0.01"
    for step in by_hand:
        shown = terminal.line("continue")
        assert re.search(rf"Breakpoint 1 at step {step}: win_rate\[31\] = 0\.00\d* < 0\.01", shown), shown
        assert stop(shown.replace("\n", ""))[0] == step
    assert terminal.line("continue").endswith("Training finished after 50 steps")


def test_for_control_the_users_line_is_taken_with_a_note(open_with_torch: Open) -> None:
    terminal = open_with_torch(*RECIPE, "--condition", "control", "--steps", "12", folder=ROOT, columns=110)
    terminal.until_prompt()
    assert terminal.line(USERS_LINE).split("\n")[0] == "Breakpoint 1, when win_rate[31]<0.01"
    shown = terminal.line("step")
    assert "Breakpoint 1: waits for 'win_rate', which has no value yet: see keys and sources" in shown
    shown = terminal.line(USERS_LINE)
    assert "no metric, key or variable 'win_rate'. It may be captured later" in shown
    assert terminal.line("continue").endswith("Training finished after 12 steps")


@pytest.mark.long
@pytest.mark.parametrize("workers", ["0", "2"])
def test_interrupts(open_with_torch: Open, tmp_path: Path, workers: str) -> None:
    weights = tmp_path / "weights.safetensors"
    options = ("--steps", str(MANY), "--batch-size", "16", "--workers", workers, "--save", str(weights))
    terminal = open_with_torch(*RECIPE, *options, folder=ROOT, columns=100)
    terminal.until_prompt()
    steps = [1]
    assert stop(terminal.line("step"))[0] == 1

    # Ctrl-C, then a real signal to the whole process group, as `kill -INT` or a plain terminal would send.
    for interrupt in (lambda: terminal.type("\x03"), lambda: os.killpg(int(terminal.child.pid), signal.SIGINT)):
        terminal.mark()
        terminal.type("continue\r")
        terminal.until(r"step \d+  epoch \d+  loss .* steps/s +Ctrl-C stops")
        interrupt()
        shown = terminal.until_prompt()
        assert "stopping at the end of the next whole step" in shown
        steps.append(stop(shown)[0])
        assert steps[-1] > steps[-2] + 1
        assert stop(terminal.line("step"))[0] == steps[-1] + 1  # the workers are alive
        steps[-1] += 1

    # At the prompt both clear the line and do nothing else.
    terminal.type("half a li")
    terminal.until_line("(tdb) half a li")
    terminal.type("\x03")
    terminal.until_prompt()
    terminal.type("half a li")
    terminal.until_line("(tdb) half a li")
    terminal.child.kill(signal.SIGINT)
    terminal.until_prompt()
    assert re.search(rf"^step +{steps[-1]}$", terminal.line("state"), re.MULTILINE)

    if workers == "2":
        last = let_end(terminal, steps[-1])
        shown = terminal.line("continue")
        assert f"bcl-slow: {last:,} steps, loss " in shown
        assert weights.is_file()
        terminal.type("\x04")
        assert terminal.until_end() == 0
    else:
        terminal.mark()
        terminal.type("\x04")
        terminal.until(r"Training is not finished. Leave and end it\? \[y/N\]")
        terminal.type("n\r")
        assert "still here" in terminal.until_prompt()
        terminal.type("quit\r")
        terminal.until(r"\[y/N\]")
        terminal.type("y\r")
        assert terminal.until_end() == 0
        assert not weights.exists()
    assert terminal.settings == terminal.settings_before
    history = tmp_path / "state" / "tdb" / "history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "+step" in history.read_text().splitlines()
