"""The prompt stays where it is while training goes on in another process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.elsewhere.conftest import gone
from tests.terminal.terminal import Terminal

LOOP = """
    import time
    import tdb

    controller = tdb.active_controller()
    for step in range(1, 10**9):
        time.sleep(0.001)
        print("step", step) if step % 2 == 0 and step < 12 else None
        controller.capture_batch([step], 1 / step, step)
        controller.wait_if_paused()
"""


def test_a_session_in_a_terminal(
    open_terminal: Callable[..., Terminal], write_script: Callable[[str], str], tmp_path: Path
) -> None:
    """Going back, live lines, Ctrl-C, the background, and an end that leaves nothing behind."""
    terminal = open_terminal("--nx", write_script(LOOP))
    terminal.until_prompt()
    terminal.line("set checkpoints.forks 4")
    terminal.line("until 10")
    shown = terminal.line("back 4")
    assert "> step 6" in shown
    assert "bit for bit" in shown
    assert "step 4" not in shown.replace("> step 6", "")
    assert "step 8" in terminal.line("until 9")
    terminal.mark()
    terminal.type("continue\r")
    terminal.until(r"step \d\d+ .*Ctrl-C stops")
    terminal.type("\x03")
    assert "> step" in terminal.until_prompt()
    terminal.line("continue &")
    terminal.until(r"running  step \d+")
    assert "> step" in terminal.line("pause")
    assert "KeyError" in terminal.line("p {}[1]")
    os.mkfifo(tmp_path / "begun")
    terminal.mark()
    terminal.type('open("begun", "w").close() or exec("while True: pass")\r')
    (tmp_path / "begun").read_text()
    terminal.type("\x03")
    assert "KeyboardInterrupt" in terminal.until_prompt()
    assert "> step 1" in terminal.line("restart")
    assert len(_processes_in(tmp_path)) >= 2  # the prompt's and the one that trains
    terminal.type("quit\r")
    terminal.until(r"Leave and end it\? \[y/N\]")
    terminal.type("y\r")
    terminal.until_end()
    assert terminal.settings[3] == terminal.settings_before[3]
    assert all(gone(process) for process in _processes_in(tmp_path))


def _processes_in(folder: Path) -> list[int]:
    """Processes that work in this folder: a name alone would find the scripts of tests that run beside this one."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if (each / "cwd").readlink() == folder.resolve():
                found.append(int(each.name))
        except OSError:  # ended meanwhile
            continue
    return found
