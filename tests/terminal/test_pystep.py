"""pystep in a terminal: pdb's prompt, its completion, Ctrl-C in it, and the way back."""

from __future__ import annotations

from collections.abc import Callable

from tests.terminal.conftest import ROOT
from tests.terminal.terminal import PROMPT, Terminal

PDB = "(Pdb)"


def at_pdb(terminal: Terminal, line: str, expected: str) -> None:
    """Type a line at pdb's prompt, wait for what it shows, and for the next prompt."""
    terminal.mark()
    terminal.type(f"{line}\r")
    terminal.until(expected)
    terminal.until_line(PDB)


def test_the_recipe_under_pdb(open_with_torch: Callable[..., Terminal]) -> None:
    terminal = open_with_torch("-m", "recipes.gradient_gating_l0", "--steps", "40", folder=ROOT, columns=110)
    terminal.until_prompt()
    terminal.line("step 3")
    at_pdb(terminal, "pystep", r"trainer\.py\(\d+\)\w+\(\)\s+-> ")
    at_pdb(terminal, "n", r"trainer\.py\(\d+\)\w+\(\)\s+-> ")
    at_pdb(terminal, "", r"trainer\.py\(\d+\)\w+\(\)\s+-> ")  # an empty line repeats, as in pdb
    terminal.type("p self.opti\t")
    terminal.until_line("(Pdb) p self.optimizer")
    at_pdb(terminal, ".param_groups[0]['lr']", r"0\.\d+")
    terminal.type("half a li\x03")  # Ctrl-C clears the line
    terminal.until_line(PDB)
    terminal.mark()
    terminal.type("!for each in range(10**6): each or print('beg' + 'un'); __import__('time').sleep(0.01)\r")
    terminal.until("begun")
    terminal.type("\x03")
    terminal.until("KeyboardInterrupt")
    terminal.until_line(PDB)
    terminal.mark()
    terminal.type("q\r")
    shown = terminal.until_prompt()
    assert "> step 4 " in shown
    at_pdb(terminal, "pystep", "-> ")
    terminal.type("\x04")  # Ctrl-D is quit
    terminal.until_line(PROMPT)
    assert "Training finished after 40 steps" in terminal.line("continue")
    terminal.type("quit\r")
    assert terminal.until_end() == 0


ENDLESS = """
    import time
    import tdb


    def wait():
        while True:
            time.sleep(0.01)
            if ready:
                return


    ready = False
    controller = tdb.active_controller()
    controller.begin()
    for step in range(1, 1001):
        controller.capture_batch([step], 0.0, step)
        if step == 2:
            wait()
        controller.wait_if_paused()
"""


def test_ctrl_c_interrupts_what_pdb_lets_run(
    open_terminal: Callable[..., Terminal], write_script: Callable[[str], str]
) -> None:
    terminal = open_terminal(write_script(ENDLESS), columns=110)
    terminal.until_prompt()
    terminal.line("step")
    at_pdb(terminal, "pystep", "-> for step in range")
    terminal.mark()
    terminal.type("c\r")
    terminal.until("Ctrl-C stops")
    terminal.type("\x03")
    terminal.until("Program interrupted")
    terminal.until_line(PDB)
    at_pdb(terminal, "w", r"train\.py\(\d+\)wait\(\)")
    at_pdb(terminal, "!globals()['ready'] = True", r"\(Pdb\)")
    terminal.mark()
    terminal.type("c\r")
    assert "> step 2 " in terminal.until_prompt()
    terminal.type("quit\r")
    terminal.until(r"\[y/N\]")
    terminal.type("y\r")
    assert terminal.until_end() == 0
