"""Completion: what would be right at the cursor, for every kind of argument."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from tdb.shell.complete import ShellCompleter
from tests.sessions.test_hostile_runs import SMALL
from tests.typing_session import TypingSession


def test_every_kind_of_argument_is_completed(
    make_session: Callable[..., TypingSession], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("look.tdb").touch()
    session = make_session(SMALL.format(dtype="torch.float32", sizes=[5, 5]))
    for line in ("step", "display loss", "alias worst metrics top 1", "break when loss < 0"):
        session.type(line)
    completer = ShellCompleter(session.session)

    def offered(text: str) -> list[str]:
        document = Document(text)
        return [each.text for each in completer.get_completions(document, CompleteEvent(completion_requested=True))]

    assert offered("met") == ["metrics"]
    assert offered("metrics sort weight_n") == ["weight_norm"]
    assert offered("find active") == ["active_fraction"]
    assert offered("break wh") == ["when", "while"]
    assert offered("break when lo") == ["loss", "losses", "losses.loss"]
    assert offered("break when size") == ["sizes", "size"]
    assert offered("find siz") == []
    assert offered("catch fr") == ["frozen"]
    assert offered("condition ")[0] == "1"
    assert offered("condition 1 ")[0] == "step"
    assert offered("phase b") == ["batch", "backward", "boundary"]
    assert offered("undisplay ")[0] == "1"
    assert offered("unalias w") == ["worst"]
    assert offered("switch m") == ["main"]
    assert offered("diff w") == ["weights"]
    assert offered("data losses.l") == ["losses.loss"]
    assert offered("grid comb") == ["combined"]
    assert offered("focus 2") == ["2"]
    assert offered("set history.b") == ["history.budget"]
    assert offered("help cos") == ["cosmat"]
    for line in ("source lo", "export lo", "checkpoint load lo", "metrics -o lo"):
        assert offered(line) == ["ok.tdb"], line


def test_in_a_folder_that_has_gone_there_are_no_files(
    make_session: Callable[..., TypingSession], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(SMALL.format(dtype="torch.float32", sizes=[5, 5]))
    (folder := tmp_path / "gone").mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    completer = ShellCompleter(session.session)
    event = CompleteEvent(completion_requested=True)
    assert list(completer.get_completions(Document("source lo"), event)) == []
