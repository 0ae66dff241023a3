from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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
    for each in begun:
        session = each.session
        session.route("fork").close()
        if session.elsewhere is not None:
            session.elsewhere.close(unwind=False)
            session.elsewhere = None
        each.close()


def gone(process: int) -> bool:
    """Wait until a process is there no more, or is but waited for by a parent; return whether it is."""
    for _ in range(400):
        try:
            os.kill(process, 0)
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False
