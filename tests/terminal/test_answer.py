"""The answer to the question that a run of Ctrl-Cs raises."""

from __future__ import annotations

import pytest

from tdb.shell.live import answer_read


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
