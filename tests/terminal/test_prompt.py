"""The prompt, and what it shares the terminal with; the training scripts need no torch, and so start fast."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.terminal.terminal import Terminal

Open = Callable[..., Terminal]
Write = Callable[[str], str]

# Training that does what files tell it to, so that nobody has to wait for a moment.
TOLD = """
    import sys, time
    from pathlib import Path
    import tdb

    controller = tdb.active_controller()


    def told(word):
        path = Path(word)
        if path.exists():
            path.unlink()
            return True
        return False


    def train():
        controller.begin()
        for step in range(1, 10**9):
            time.sleep(0.005)
            controller.capture_batch([step], 1 / step, step, epoch=1)
            if told("print"):
                print("first whole", "line\\nsecond whole line")
                print("to stderr", file=sys.stderr)
                sys.stdout.write("half")
                sys.stdout.write(" and half\\n")
            if told("progress"):
                for share in (10, 50, 99):
                    sys.stderr.write(f"\\r{share}%|###   |")
                    sys.stderr.flush()
            if told("newline"):
                sys.stderr.write("\\r100%|######|\\n")
            if told("crash"):
                raise RuntimeError("as told")
            if told("end"):
                break
            while Path("hang").exists():
                time.sleep(0.02)
            controller.wait_if_paused()


    train()
"""


@pytest.fixture
def tell(tmp_path: Path) -> Callable[[str], Path]:
    """Tells training something."""

    def write(word: str) -> Path:
        path = tmp_path / word
        path.touch()
        return path

    return write


@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_what_training_prints_stands_in_whole_lines_above_a_half_typed_one(
    open_terminal: Open, write_script: Write, tell: Callable[[str], Path], term: str
) -> None:
    terminal = open_terminal(write_script(TOLD), columns=60, TERM=term)
    terminal.until_prompt()
    assert b"(tdb) " in terminal.written, "a program that drives the terminal waits for it"
    terminal.line("continue &")
    terminal.type("p 1 + ")
    terminal.until_line("(tdb) p 1 +")
    tell("print")
    terminal.until("half and half")
    terminal.until_line("(tdb) p 1 +")
    lines = terminal.new.splitlines()
    first = lines.index("first whole line")
    assert lines[first : first + 4] == ["first whole line", "second whole line", "to stderr", "half and half"]

    tell("progress")
    if term != "dumb":
        terminal.until(r"running  step \d+  epoch 1  loss 0\.\d{4}  \d+ steps/s  99%\|#")
    tell("newline")
    terminal.until(r"(?m)^100%\|######\|$")
    terminal.until_line("(tdb) p 1 +")
    assert "10%" not in terminal.new
    terminal.type("\x03")  # clears the line, and training runs on
    terminal.until_line("(tdb)")
    tell("end")
    terminal.until(r"Training finished after \d+ steps")
    terminal.until_line("(tdb)")
    terminal.type("q\r")
    assert terminal.until_end() == 0


def test_lines_that_are_pasted_are_run_one_after_the_other(open_terminal: Open, write_script: Write) -> None:
    terminal = open_terminal(write_script(TOLD))
    terminal.until_prompt()
    terminal.type("\x1b[200~step 2\r\nfor i in range(2):\r\n    print('turn', i)\r\nstep\r\n\x1b[201~")
    terminal.until("step\n")
    terminal.type("\r")
    terminal.until(r"(?s)> step 2 .*turn 0\nturn 1\n> step 3 ")
    terminal.until_line("(tdb)")
    terminal.type("\x1b[200~for i in range(2):\r\n    print('once more', i)\r\np nothing\x1b[201~\r")
    terminal.until(r"(?s)once more 1\n.*\*\*\* NameError")
    terminal.until_line("(tdb)")
    terminal.type("\x1b[200~break 5\ncommands\n  silent\n  p 'at', 5\nend\ncontinue\x1b[201~\r")
    terminal.until(r"\('at', 5\)")
    terminal.until_line("(tdb)")


def test_a_pager_that_is_not_there_is_not_needed(open_terminal: Open, write_script: Write) -> None:
    terminal = open_terminal(write_script(TOLD), PAGER="/nowhere/less -R", LESS="-i")
    terminal.until_prompt()
    assert "version" in terminal.line("help")


def test_the_toolbar_completion_and_history(open_terminal: Open, write_script: Write, tmp_path: Path) -> None:
    (tmp_path / "look.tdb").write_text("state\n")
    terminal = open_terminal(write_script(TOLD), PAGER="echo options: $LESS", LESS="-i")
    terminal.until_prompt()
    assert terminal.line("help").splitlines()[0] == "options: -R -i"
    terminal.until("ready  step 0")
    terminal.line("step 2")
    terminal.until("stopped  step 2  epoch 1  loss 0.5000")
    terminal.type("unt\t")
    terminal.until_line("(tdb) until")
    terminal.type("\x15source lo\t")
    terminal.until_line("(tdb) source look.tdb")
    terminal.type("\x15set fig\t")
    terminal.until_line("(tdb) set figures")
    terminal.type("\x15")
    assert "*** SyntaxError: '[' was never closed" in terminal.line("p [step")
    terminal.type("\x1b[A\x1b[A")
    terminal.until_line("(tdb) step 2")
    terminal.type("\r")
    assert "> step 4  epoch 1  loss 0.2500" in terminal.until_prompt()
    terminal.type("\r")  # an empty line repeats
    assert "> step 6  epoch 1" in terminal.until_prompt()
    shutil.rmtree(tmp_path / "state")  # with the history file
    assert "> step 9  epoch 1" in terminal.line("step 3")


def test_keys_pressed_while_training_runs_are_for_the_prompt_after_it(
    open_terminal: Open, write_script: Write, tell: Callable[[str], Path]
) -> None:
    terminal = open_terminal(write_script(TOLD))
    terminal.until_prompt()
    terminal.mark()
    terminal.type("continue\r")
    terminal.until(r"step \d+  epoch 1  loss .* steps/s  Ctrl-C stops")
    terminal.type("p 'typed' + 'x\x7f ahead'\rp step * 0\rp 'half")
    terminal.type("\x03")
    terminal.until("'typed ahead'\n")
    terminal.until(r"(?m)^0$")
    terminal.until_line("(tdb) p 'half")
    terminal.type(" done'\r")
    assert terminal.until_prompt().endswith("'half done'")

    terminal.type("continue\r")
    terminal.until("Ctrl-C stops")
    tell("print")
    terminal.until("half and half")
    tell("end")
    assert terminal.until_prompt().splitlines()[-5:-1] == [
        "first whole line",
        "second whole line",
        "to stderr",
        "half and half",
    ]


def test_ctrl_z_gives_the_terminal_back_to_the_shell(
    write_script: Write, environ: dict[str, str], tmp_path: Path
) -> None:
    terminal = Terminal(["bash", "--norc", "--noprofile", "-i"], tmp_path, environ | {"PS1": "sh> "})
    try:
        terminal.until("sh>")
        terminal.type(f"{sys.executable} -m tdb --figures off {write_script(TOLD)}\r")
        terminal.until(r"\(tdb\)")
        for where in ("", "continue"):
            terminal.mark()
            terminal.type(f"{where}\r" if where else "")
            terminal.until(r"Ctrl-C stops" if where else "")
            terminal.mark()
            terminal.type("\x1a")
            terminal.until(r"Stopped[^>]*\nsh>$")
            terminal.mark()
            terminal.type("fg\r")
            terminal.until(r"Ctrl-C stops" if where else r"\(tdb\)")
        terminal.type("\x03")
        terminal.until(r"(?s)> step \d+.*\(tdb\)")
    finally:
        terminal.close()


def test_more_interrupts_show_where_training_is_and_offer_to_quit(
    open_terminal: Open, write_script: Write, tell: Callable[[str], Path]
) -> None:
    terminal = open_terminal(write_script(TOLD))
    terminal.until_prompt()
    terminal.line("step")
    # The third Ctrl-C comes when this test has seen the answer to the second, on a slow machine after two seconds.
    terminal.line("! import tdb.shell.live; tdb.shell.live.THIRD_CTRL_C_SECONDS = 120.0")
    hang = tell("hang")
    for answer in ("n", "y"):
        terminal.mark()
        terminal.type("continue\r")
        terminal.until("Ctrl-C stops")
        terminal.type("\x03")
        terminal.until("stopping at the end of the next whole step")
        terminal.type("\x03")
        terminal.until(r"still in train, train.py\(\d+\) for \d+\.\d s; Ctrl-C again offers to quit")
        terminal.type("\x03")
        terminal.until(r"Leave tdb and end training\? \[y/N\]")
        if answer == "y":
            hang.unlink()
        terminal.type(answer)
        if answer == "n":
            hang.unlink()
            assert "> step " in terminal.until_prompt()
            hang.touch()
    assert terminal.until_end() == 130


def test_ten_hasty_interrupts_are_one_question_and_not_three(
    open_terminal: Open, write_script: Write, tell: Callable[[str], Path]
) -> None:
    terminal = open_terminal(write_script(TOLD))
    terminal.until_prompt()
    terminal.line("step")
    terminal.mark()
    hang = tell("hang")
    terminal.type("continue\r")
    terminal.until("Ctrl-C stops")
    terminal.type("\x03" * 10)
    terminal.until(r"Leave tdb and end training\? \[y/N\]")
    hang.unlink()
    terminal.type("n")
    assert terminal.until_prompt().count("Ctrl-C again offers to quit") == 1


def test_ctrl_c_ends_what_was_typed_and_not_the_run(
    open_terminal: Open, write_script: Write, tell: Callable[[str], Path], tmp_path: Path
) -> None:
    terminal = open_terminal(write_script(TOLD))
    terminal.until_prompt()
    terminal.line("step")
    os.mkfifo(tmp_path / "begun")

    def endless() -> None:
        for line in ('exec("while True: pass")', "sum(1 for _ in iter(int, 1))"):
            terminal.mark()
            terminal.type(f'open("begun", "w").close() or {line}\r')
            (tmp_path / "begun").read_text()  # there is something to read when it runs
            terminal.type("\x03")
            terminal.until_prompt()
            assert "7" in terminal.line("p 3 + 4")

    endless()
    assert "> step 2 " in terminal.line("step")
    tell("crash")
    assert "as told" in terminal.line("continue")
    endless()
    terminal.type("q\r")
    assert terminal.until_end() == 3


def test_a_crash_is_looked_at_and_the_terminal_left_as_it_was(
    open_terminal: Open, write_script: Write, tell: Callable[[str], Path]
) -> None:
    terminal = open_terminal(write_script(TOLD), columns=60)
    terminal.until_prompt()
    terminal.line("step 3")
    tell("crash")
    shown = terminal.line("continue")
    assert "RuntimeError: as told" in shown
    assert "Training crashed after step 3: RuntimeError: as told" in shown.replace("\n", " ")
    assert terminal.line("p step") == "4"
    assert "*** training is over" in terminal.line("step")
    terminal.type("quit\r")
    assert terminal.until_end() == 3
    assert terminal.settings == terminal.settings_before


@pytest.mark.parametrize("command", ["", "continue"])
def test_a_sigterm_restores_the_terminal(open_terminal: Open, write_script: Write, command: str) -> None:
    terminal = open_terminal(write_script(TOLD))
    terminal.until_prompt()
    terminal.line("step")
    if command:
        terminal.type(f"{command}\r")
        terminal.until("Ctrl-C stops")
    assert terminal.settings != terminal.settings_before
    terminal.child.kill(signal.SIGTERM)
    assert terminal.until_end() == 143
    assert terminal.settings == terminal.settings_before
    assert "Traceback" not in terminal.new
    assert not re.search(rb"\x1b\[\?25l(?!.*\x1b\[\?25h)", terminal.written, re.DOTALL)  # the cursor is shown again


def test_a_terminal_that_is_closed_ends_training(open_terminal: Open, write_script: Write, tmp_path: Path) -> None:
    script = write_script(
        TOLD.replace("    train()\n", "    try:\n        train()\n    finally:\n        Path('ended').touch()\n")
    )
    terminal = open_terminal(script)
    terminal.until_prompt()
    terminal.line("step")
    terminal.child.ptyproc.fileobj.close()  # `close` would send a SIGINT as well, which waits for nothing
    terminal.child.kill(signal.SIGHUP)  # as the shell in that terminal does
    terminal.child.wait()
    assert (tmp_path / "ended").exists()


def test_a_terminal_that_is_closed_while_training_runs_leaves_in_order_what_prints_as_it_ends(
    open_terminal: Open, write_script: Write, tmp_path: Path
) -> None:
    ends = "    finally:\n        Path('ended').touch()\n        print('ended')\n"
    terminal = open_terminal(write_script(TOLD.replace("    train()\n", f"    try:\n        train()\n{ends}")))
    terminal.until_prompt()
    terminal.line("step")
    terminal.type("continue\r")
    terminal.until("step [0-9]+0 ")  # the live line
    terminal.child.ptyproc.fileobj.close()
    terminal.child.wait()
    assert (tmp_path / "ended").exists()
    assert terminal.child.signalstatus != signal.SIGABRT
    assert not list(tmp_path.rglob("tdb.log")), "no bug of tdb's was noted"


def test_lines_typed_while_the_answers_go_to_a_program(
    write_script: Write, environ: dict[str, str], tmp_path: Path
) -> None:
    command = ["sh", "-c", '"$0" -m tdb "$1" | cat', sys.executable, write_script(TOLD)]
    terminal = Terminal(command, tmp_path, environ)
    terminal.type("step\r")
    terminal.until("(?m)^> step 1  epoch 1  loss")
    terminal.type("stepp\r")
    terminal.until(r"(?m)^<stdin>:2: \*\*\* unknown command 'stepp'")
    terminal.type("p step + 40\r")
    terminal.until("(?m)^41$")
    terminal.type("\x04")
    assert terminal.until_end() == 0
    assert "(tdb)" not in terminal.new


def test_a_terminal_of_few_rows_has_a_pager_for_tables_alone(open_terminal: Open, write_script: Write) -> None:
    terminal = open_terminal(write_script(TOLD), rows=3, PAGER="echo paged:")
    terminal.until_prompt()
    assert "paged:" not in terminal.line("step")
    assert "> step 2  epoch 1" in terminal.line("step")
    assert "paged:" in terminal.line("help")


def test_a_pager_that_fails_swallows_nothing(open_terminal: Open, write_script: Write) -> None:
    terminal = open_terminal(write_script(TOLD), PAGER="exit 3;")
    terminal.until_prompt()
    assert "version" in terminal.line("help")
