"""The frames of a Python stack."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import PATIENCE, ROOT

WHILE_GARBAGE_IS_DUE = """
import gc, threading
from tdb.frames import frames_of_threads, stack_of

class Cycle:
    def __init__(self):
        self.itself = self

    def __del__(self):
        threading.Thread(target=int).start()

for due_after in range(1, 20):
    gc.collect()
    Cycle()
    gc.set_threshold(due_after)
    found = {read}
    gc.set_threshold(700)
    assert found and gc.isenabled()
gc.collect()
gc.disable()
assert {read} and not gc.isenabled()
"""


@pytest.mark.parametrize("read", ["frames_of_threads()", "stack_of(threading.main_thread())"])
def test_the_stacks_of_threads_are_read_while_garbage_that_starts_a_thread_waits_to_be_collected(read: str) -> None:
    """Python 3.11.8 and older collect in the midst of that, and hang if a thread begins then."""
    subprocess.run(
        [sys.executable, "-c", WHILE_GARBAGE_IS_DUE.replace("{read}", read)], cwd=ROOT, timeout=PATIENCE, check=True
    )
