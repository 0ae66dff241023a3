"""The user's own line, typed at a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.terminal.terminal import PROMPT, Terminal

LOOP = """
    import torch
    import tdb
    from tdb.panel import Panel, StatusRule

    win_rate = torch.ones(64)
    controller = tdb.active_controller()
    model = torch.nn.Linear(4, 64)


    class Trainer:
        pass


    Trainer.model = model
    controller.focus_on("")
    status = StatusRule("win_rate", 0.01, 2)
    controller.add_panel(Panel("wins", "", lambda: {"win_rate": win_rate}, ["win_rate"], status))
    controller.begin(Trainer)
    for step in range(1, 1001):
        win_rate[31] = 1 / step
        controller.capture_batch(torch.zeros(2), win_rate.mean(), step)
        controller.wait_if_paused()
"""


def test_the_users_line_with_commands_and_a_display(
    open_with_torch: Callable[..., Terminal], write_script: Callable[[str], str]
) -> None:
    terminal = open_with_torch(write_script(LOOP), columns=110)
    terminal.until_prompt()
    assert terminal.line("break when win_rate[31]<0.01").split("\n") == ["Breakpoint 1, when win_rate[31]<0.01"]
    terminal.line("display win_rate[31]")
    terminal.type("commands 1\r")
    terminal.until(r"\(com\)")
    terminal.type("p 'it ' + 'died'\rend\r")
    terminal.until_line(PROMPT)
    shown = terminal.line("continue")
    assert re.search(r"Breakpoint 1 at step 101: win_rate\[31\] = 0\.0099\d* < 0\.01", shown), shown
    assert "> step 101" in shown
    assert "win_rate[31] = 0.009901" in shown
    assert "'it died'" in shown
    shown = terminal.line("b when loss <")
    first, caret = shown.split("\n")
    assert first == "*** b when loss <"
    assert caret.index("^") == len(first)
    terminal.type("q\r")
    terminal.until(r"\[y/N\]")
    terminal.type("y\r")
    assert terminal.until_end() == 0


def test_what_can_never_stop_training_is_told_while_it_runs(
    open_with_torch: Callable[..., Terminal], write_script: Callable[[str], str]
) -> None:
    terminal = open_with_torch(write_script(LOOP.replace("range(1, 1001)", "range(1, 10**9)")), columns=110)
    terminal.until_prompt()
    terminal.line("break when wnrate[31] < 0.01")
    terminal.type("continue\r")
    terminal.until(r"Breakpoint 1: waits for 'wnrate', which has no value yet")
    terminal.type("\x03")
    terminal.until_line(PROMPT)
    terminal.type("q\r")
    terminal.until(r"\[y/N\]")
    terminal.type("y\r")
    assert terminal.until_end() == 0
