"""Runs tdb as a program without a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import PATIENCE
from tests.preloaded import Preloaded

ROOT = Path(__file__).parents[2]

# A loop that needs no torch: a process of it starts five times as fast.
LOOP = """
    import sys
    import tdb

    controller = tdb.active_controller()


    def train(steps):
        controller.begin()
        for step in range(1, steps + 1):
            loss = 1 / step
            controller.capture_batch([step], loss, step)
            controller.wait_if_paused()


    train(int(sys.argv[1]))
"""


@dataclass(frozen=True)
class Ended:
    """A process that has ended; it unpacks as status, out, error."""

    status: int
    out: str
    error: str

    def __iter__(self) -> Iterator[int | str]:
        return iter((self.status, self.out, self.error))


class Place:
    """A folder to run things in, with an environment that has nothing of the user's own.

    Attributes:
        patience: how long a program may take to its end, in seconds.
    """

    def __init__(self, folder: Path, preloaded: Preloaded | None = None) -> None:
        self.folder = folder
        self.preloaded = preloaded
        self.patience = PATIENCE
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
        self.environ = {
            **kept,
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder / "config"),
        }

    def write(self, name: str, text: str) -> str:
        """Write a file and return its name."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return name

    def python(self, *arguments: str, stdin: str = "", **environment: str) -> Ended:
        """Run Python to its end."""
        if self.preloaded is not None:
            return Ended(
                *self.preloaded.run(arguments, self.folder, self.environ | environment, stdin.encode(), self.patience)
            )
        ended = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environ | environment,
            input=stdin.encode(),
            capture_output=True,
            timeout=self.patience,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    def tdb(self, *arguments: str, stdin: str = "", **environment: str) -> Ended:
        """Run tdb to its end."""
        return self.python("-m", "tdb", *arguments, stdin=stdin, **environment)

    def begin(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start tdb, with pipes to it."""
        return subprocess.Popen(
            [sys.executable, "-m", "tdb", *arguments],
            cwd=self.folder,
            env=self.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with `loop.py`, a training loop of as many steps as its argument says."""
    made = Place(tmp_path)
    made.write("loop.py", LOOP)
    return made


@pytest.fixture
def torch_place(tmp_path: Path, preloaded: Preloaded) -> Place:
    """A folder for programs that use torch, which they begin with."""
    return Place(tmp_path, preloaded)


@pytest.fixture
def begin(place: Place) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts tdb, and kills what is left of it after the test."""
    begun: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        begun.append(place.begin(*arguments, **environment))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()
