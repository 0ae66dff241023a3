from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tdb.script import Script
from tests.typing_session import TypingSession


@pytest.fixture
def make_session(tmp_path: Path) -> Iterator[Callable[..., TypingSession]]:
    """Makes sessions, and ends their training when the test is over."""
    made: list[TypingSession] = []

    def make(script: str | Script, *arguments: str, as_json: bool = False) -> TypingSession:
        made.append(TypingSession(tmp_path, script, *arguments, as_json=as_json))
        return made[-1]

    yield make
    for session in reversed(made):  # each puts back what was before it
        session.close()
