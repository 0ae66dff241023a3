"""The benchmarks are not run by the tests, but for what they share: a prompt that is alive beside training."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from tdb.controller import DebugController
from tests.bench.spine import at_a_prompt


def test_a_prompt_of_another_input_is_alive_until_the_work_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", sys.__stdin__)  # which pytest has put something else in the place of
    work = threading.Thread(target=threading.Event().wait, args=(1.0,))
    at_a_prompt(work, DebugController(), tmp_path)
    assert not work.is_alive()  # standard input is at its end here, and ends no prompt that reads something else
