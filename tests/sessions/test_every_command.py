"""Every example of every command's help, typed on terminals of many widths: no answer is a bug of tdb's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tdb.commands import Command, all_commands
from tdb.script import Script
from tdb.shell.show import Show
from tests.typing_session import TypingSession

WIDTHS = (20, 40, 60, 80, 100, 200)
# They leave, let go of training or run it to its end, and nothing could be looked at after them.
LEAVING = {"interrupt", "quit", "detach", "continue", "return", "until"}


class EveryWidth(Show):
    """Shows each answer on terminals of all widths."""

    columns = 0

    @property
    def _width(self) -> int:
        return self.columns

    def _text(self, parts: Sequence[Any]) -> None:
        for self.columns in WIDTHS:
            super()._text(parts)


def examples(command: Command) -> list[str]:
    return [] if command.name in LEAVING else command.examples


@pytest.mark.long
def test_every_example_of_every_command_on_a_terminal(
    make_session: Callable[..., TypingSession], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAGER", "cat")
    session = make_session(Script("recipes.gradient_gating_l0", ("--steps", "4000"), is_module=True))
    show = session.interpreter.show
    session.interpreter.show = EveryWidth(session.session, show.sink, session.out, session.out, terminal=True)
    session.type("set figures off")
    bugs = []
    for command in sorted(all_commands(), key=lambda command: command.name == "overhead"):  # it takes 600 steps
        for example in examples(command):
            for line in ("watch 3 17 42", "step", example):
                shown = session.type(line)
                if "a bug in tdb" in shown:
                    bugs.append(f"{line}: {shown}")
                session.interpreter.end_reader()
            assert session.session.status != "finished", example
            session.type("clear")
    assert not bugs, (tmp_path / "tdb.log").read_text()
