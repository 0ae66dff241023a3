"""A folder of checkpoints that do not fit into memory: one a process, gone with it, however it ends.

Each process locks a file in a folder of its own; the system lets the lock go when the process is killed, too. Whoever
comes next removes the folders that nobody holds.
"""

from __future__ import annotations

import atexit
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tdb.errors import TdbError
from tdb.travel.files import write

if TYPE_CHECKING:
    from tdb.travel.checkpoints import Checkpoint

PREFIX, LOCK = "tdb-checkpoints-", "lock"
SHARE = 0.02
"""Of the time from one file to the next, that writing may take: training waits for the disk."""


class Spill:
    """One process's folder within `directory`, which is made if it is not there.

    Raises:
        TdbError: nothing can be written there.
    """

    def __init__(self, directory: Path) -> None:
        self._process = os.getpid()
        self._count = 0
        self._ready = 0.0  # when the next one may be written
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with _alone(directory):
                remove_dead(directory)
                self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=directory))
                self._lock = _locked(self.folder / LOCK)
        except OSError as error:
            raise TdbError(f"cannot write to {directory}: {error.strerror or error}") from None
        atexit.register(self.close)

    @property
    def is_ours(self) -> bool:
        """Whether this is the process whose folder it is: a copy of it must leave the files alone."""
        return os.getpid() == self._process

    def takes(self, checkpoint: Checkpoint) -> bool:
        """Write a checkpoint, unless the last one was written too short a time ago; return whether it was.

        Raises:
            TdbError: it cannot be written.
        """
        began = time.monotonic()
        if began < self._ready or not self.is_ours:
            return False
        self._count += 1
        file = self.folder / f"step-{checkpoint.position.step}-{self._count}.safetensors"
        write(file, checkpoint.snapshot, checkpoint.position)
        checkpoint.file = file
        ended = time.monotonic()
        self._ready = ended + (ended - began) / SHARE
        return True

    def stop(self) -> None:
        """Write no more; what is in files stays until it is removed."""
        self._ready = math.inf

    def remove(self, file: Path) -> None:
        """Remove a file; a copy of the process leaves it."""
        if self.is_ours:
            with suppress(OSError):
                file.unlink()

    def close(self) -> None:
        """Remove the folder."""
        atexit.unregister(self.close)
        if self.is_ours:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()


def remove_dead(directory: Path) -> list[Path]:
    """Remove the folders of processes that are gone, and return them; those of living ones stay."""
    gone = []
    for folder in directory.glob(f"{PREFIX}*"):
        try:
            lock = _locked(folder / LOCK)
        except BlockingIOError:
            continue
        except OSError:
            lock = None  # it was killed before there was a lock, or while it was removed
        shutil.rmtree(folder, ignore_errors=True)
        gone.append(folder)
        if lock is not None:
            lock.close()
    return gone


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Let one process at a time make a folder, or remove some: one that was made and not yet locked looks dead."""
    path = directory / f".{PREFIX}{LOCK}"
    while True:
        with path.open("a") as file:
            _lock(file, wait=True)
            if not _is_at(path, file):  # whoever had it before has removed it
                continue
            try:
                yield
            finally:
                path.unlink()
            return


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _locked(path: Path) -> IO[str]:
    file = path.open("a")
    try:
        _lock(file, wait=False)
    except OSError:
        file.close()
        raise
    return file


def _lock(file: IO[str], *, wait: bool) -> None:
    try:
        import fcntl
    except ImportError:
        raise OSError(0, "this system cannot tell whose files they are") from None
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
