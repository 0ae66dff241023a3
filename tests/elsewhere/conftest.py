from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import PATIENCE
from tests.typing_session import TypingSession


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., TypingSession]]:
    """Begins sessions with a script, which answer in JSON; ends them, and what goes on elsewhere, after the test."""
    monkeypatch.chdir(tmp_path)
    begun: list[TypingSession] = []

    def start(script: str, *arguments: str) -> TypingSession:
        begun.append(TypingSession(tmp_path, script, *arguments, as_json=True))
        return begun[-1]

    yield start
    for each in reversed(begun):
        session = each.session
        session.route("fork").close()
        if session.elsewhere is not None:
            session.elsewhere.close(unwind=False)
            session.elsewhere = None
        each.close()


def run_tdb(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run tdb in a process of its own, on `train.py` in a folder, with nobody at a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "tdb", "--nx", *arguments, "train.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "XDG_STATE_HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def gone(process: int) -> bool:
    """Wait until a process is there no more, or is but waited for by a parent; return whether it is."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            os.kill(process, 0)
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False
