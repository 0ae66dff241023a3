"""What is run, without running it: how it is found, what it is called, and where python would look for its modules."""

from __future__ import annotations

import sys
import zipapp
from pathlib import Path

import pytest

from tdb.errors import UsageError
from tdb.script import Script


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("train.py", "inner/__main__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("seen = (__name__, __file__)")
    (tmp_path / "link.py").symlink_to("inner/__main__.py")
    zipapp.create_archive(tmp_path / "inner", tmp_path / "a.pyz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tdb"])
    return tmp_path


@pytest.mark.parametrize(
    ("target", "is_module", "name", "file", "first_on_path", "source"),
    [
        ("train.py", False, "train.py", "train.py", ".", "train.py"),
        ("link.py", False, "link.py", "link.py", "inner", "link.py"),
        ("inner", False, "inner", "inner/__main__.py", "inner", "inner/__main__.py"),
        ("a.pyz", False, "a.pyz", "a.pyz/__main__.py", "a.pyz", "a.pyz"),
        ("train", True, "train", "train.py", ".", None),
        ("inner", True, "inner", "inner/__main__.py", ".", None),
    ],
)
def test_each_kind_of_script(
    folder: Path, target: str, is_module: bool, name: str, file: str, first_on_path: str, source: str | None
) -> None:
    script = Script(target, is_module=is_module)
    script.check()
    module, execute = script.load()
    execute()
    assert (script.name, module.seen) == (name, ("__main__", str(folder / file)))
    assert Path(script.first_on_path()) == folder / first_on_path
    assert script.source == (None if source is None else Path(source))


@pytest.mark.parametrize(
    ("target", "is_module", "message"),
    [
        ("nothing.py", False, "no such script: nothing.py"),
        ("empty", False, "there is no __main__.py in empty"),
        ("nothing", True, "no module named 'nothing'"),
    ],
)
def test_nothing_to_run(folder: Path, target: str, is_module: bool, message: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match=message):
        Script(target, is_module=is_module).check()
