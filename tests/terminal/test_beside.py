"""The script keeps the main thread: `tdb.set_trace()` in a plain run, and `--training-thread main`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests.terminal.terminal import Terminal

SCRIPT = """
    import signal
    import sys
    import threading
    import time
    import tdb

    assert threading.current_thread() is threading.main_thread()
    controller = tdb.attach()
    if "trace" in sys.argv:
        tdb.set_trace()


    def train():
        try:
            for step in controller.steps(range(1, 10**9)):
                controller.capture_batch([step], 1 / step)
                time.sleep(0.002)
                if step % 50 == 0:
                    print("at", step)
        except KeyboardInterrupt:
            print("saved")


    train()
    print("handler", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_set_trace_in_a_plain_run_is_a_shell_that_pauses_on_ctrl_c(
    tmp_path: Path, environ: dict[str, str], write_script: Callable[[str], str]
) -> None:
    terminal = Terminal([sys.executable, write_script(SCRIPT), "trace"], tmp_path, environ)
    try:
        assert "-> tdb.set_trace()" in terminal.until_prompt()
        assert terminal.line("p 6 * 7") == "42"
        assert "> step 3 " in terminal.line("step 2 ;; step")
        terminal.mark()
        terminal.type("continue\r")
        terminal.until("at 50")
        terminal.type("\x03")
        assert "stopping at the end of the next whole step" in terminal.until_prompt()
        terminal.type("half a line\x03")
        terminal.until_prompt()
        terminal.mark()
        terminal.type("interrupt\r")
        terminal.until("saved")
        assert terminal.until_end() == 0
        assert "handler False" in terminal.new  # it pauses: the shell is still there
    finally:
        terminal.close()


def test_set_trace_reads_the_terminal_where_a_script_that_was_piped_its_data_has_turned_to_it(
    tmp_path: Path, environ: dict[str, str], write_script: Callable[[str], str]
) -> None:
    script = write_script("""
        import sys
        import tdb

        data = sys.stdin.read()
        sys.stdin = open("/dev/tty")
        tdb.set_trace()
        print("trained on", data)
    """)
    terminal = Terminal(["/bin/sh", "-c", f"echo digits | {sys.executable} {script}"], tmp_path, environ)
    try:
        assert "-> tdb.set_trace()" in terminal.until_prompt()
        assert terminal.line("p data.strip()") == "'digits'"
        terminal.mark()
        terminal.type("continue\r")
        terminal.until("trained on digits")
        assert terminal.until_end() == 0
    finally:
        terminal.close()


def test_a_script_in_the_main_thread_is_paused_by_ctrl_c_and_keeps_its_own_signals(
    open_terminal: Callable[..., Terminal], write_script: Callable[[str], str]
) -> None:
    terminal = open_terminal("--training-thread", "main", write_script(SCRIPT))
    terminal.until_prompt()
    assert "> step 2 " in terminal.line("step 2")
    terminal.mark()
    terminal.type("continue\r")
    terminal.until(r"step \d+ .* steps/s")
    terminal.type("\x03")
    assert "stopping at the end of the next whole step" in terminal.until_prompt()
    assert "step" in terminal.line("where")
    shown = terminal.line("interrupt")
    assert "saved" in shown
    assert "handler True" in shown
    assert "Training finished" in shown
    terminal.type("quit 3\r")
    assert terminal.until_end() == 3


def test_who_leaves_a_set_trace_at_pythons_prompt_is_back_there_as_from_pdb(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    terminal = Terminal([sys.executable, "-q"], tmp_path, environ | {"TERM": "dumb"})
    try:
        for _ in range(2):
            terminal.until(">>>")
            terminal.mark()
            terminal.type("import tdb; tdb.set_trace()\r")
            terminal.until_prompt()
            terminal.mark()
            terminal.type("q\r")
            terminal.until(r"\[y/N\]")
            terminal.type("y\r")
            terminal.until("BdbQuit")
        terminal.until(">>>")
        terminal.type("exit(5)\r")
        assert terminal.until_end() == 5
    finally:
        terminal.close()
