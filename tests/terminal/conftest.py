from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.preloaded import Preloaded
from tests.terminal.terminal import Terminal

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment without anything of the user's own, and without a display."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
    return {
        **kept,
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


@pytest.fixture
def open_terminal(tmp_path: Path, environ: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    """Runs tdb in terminals: `open_terminal("-m", "module", columns=60, TERM="dumb")`; ends them after the test."""
    yield from opening(tmp_path, environ)


@pytest.fixture
def open_with_torch(tmp_path: Path, environ: dict[str, str], preloaded: Preloaded) -> Iterator[Callable[..., Terminal]]:
    """The same for scripts that use torch, which they begin with."""
    yield from opening(tmp_path, environ, preloaded)


def opening(
    tmp_path: Path, environ: dict[str, str], preloaded: Preloaded | None = None
) -> Iterator[Callable[..., Terminal]]:
    """Give what opens terminals, and end what is in them."""
    opened: list[Terminal] = []

    def open_(
        *arguments: str, folder: Path = tmp_path, columns: int = 80, rows: int = 24, **environment: str
    ) -> Terminal:
        command = [sys.executable, "-m", "tdb", "--figures", "off", *arguments]
        opened.append(Terminal(command, folder, environ | environment, rows, columns, preloaded))
        return opened[-1]

    yield open_
    for terminal in opened:
        terminal.close()


@pytest.fixture
def write_script(tmp_path: Path) -> Callable[[str], str]:
    """Writes a training script and returns its name."""

    def write(text: str) -> str:
        (tmp_path / "train.py").write_text(textwrap.dedent(text))
        return "train.py"

    return write
