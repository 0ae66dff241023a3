from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.typing_session import TypingSession


@pytest.fixture
def make_session(tmp_path: Path) -> Iterator[Callable[..., TypingSession]]:
    """Makes sessions, and ends their training when the test is over."""
    made: list[TypingSession] = []

    def make(script: str, *arguments: str, json: bool = False) -> TypingSession:
        made.append(TypingSession(tmp_path, script, *arguments, json=json))
        return made[-1]

    yield make
    for session in made:
        session.close()
