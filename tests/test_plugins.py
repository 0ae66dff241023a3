"""An installed package brings commands through the entry-point group "tdb.commands"."""

from __future__ import annotations

from pathlib import Path

import pytest

from tdb.commands import ENTRY_POINTS, all_commands
from tests.typing_session import TypingSession

MODULE = '''
from tdb.commands import command
from tdb.results import Result, Text


@command("hi", running="yes")
def greet(session) -> Result:
    """Greet.

    Example:
        greet
    """
    return Result([Text("hello from a package")], {"hello": True})
'''


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as pip leaves it: a module, and its metadata beside it."""
    (tmp_path / "greeting_commands.py").write_text(MODULE)
    metadata = tmp_path / "greeting-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\ngreeting = greeting_commands\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("installed")
def test_an_installed_package_brings_commands(tmp_path: Path) -> None:
    assert all_commands().find("hi") is not None
    session = TypingSession(tmp_path, "print('no training')")
    session.play("""
        (tdb) hi
        hello from a package
        (tdb) help greet
        Usage: greet   Short: hi
        Greet.
        ...
    """)
    session.close()


def test_without_the_package_there_is_no_such_command() -> None:
    assert all_commands().find("hi") is None
