"""The answers to questions that tdb asks: whether to leave, and the one that a run of Ctrl-Cs raises."""

from __future__ import annotations

import os
import pty
import sys
import termios
import tty
from concurrent.futures import ThreadPoolExecutor

import pytest

from tdb.main_thread import MainThread
from tdb.shell.live import TerminalFront, answer_read
from tdb.shell.output import TrainingOutput


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        ([(0.2, b"y")], b"y"),
        ([(0.1, b"\x03"), (0.5, b"\x03\x03"), (0.9, b"\x03"), (4.0, b"n")], b"n"),  # a run, and then an answer
        ([(0.1, b"\x03"), (3.0, b"\x03")], b"\x03"),  # whoever has read the question says no
        ([(0.1, b"\x03"), (0.2, b"")], b""),
    ],
)
def test_further_interrupts_of_a_run_are_no_answer(keys: list[tuple[float, bytes]], answer: bytes) -> None:
    clock, left = [0.0], iter(keys)

    def read() -> bytes:
        clock[0], typed = next(left)
        return typed

    assert answer_read(read, lambda: clock[0]) == answer
    assert next(left, None) is None


def test_what_was_typed_before_a_question_is_no_answer_to_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = pty.openpty()
    cooked = termios.tcgetattr(there)
    tty.setraw(there)  # as it is at the prompt
    os.write(here, b"n\r")
    termios.tcsetattr(there, termios.TCSANOW, cooked)
    with os.fdopen(there) as stdin, ThreadPoolExecutor() as asking:
        monkeypatch.setattr(sys, "stdin", stdin)
        answer = asking.submit(TerminalFront(TrainingOutput(), MainThread()).confirm, "Leave?")
        while "Leave?" not in capsys.readouterr().out:
            pass
        os.write(here, b"y\n")
        assert answer.result(timeout=60)
    os.close(here)
