"""stdin belongs to whoever types at tdb: a script that reads it is refused with one line, and steals no commands."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from tdb.errors import StateError


class StdinTakenError(StateError, EOFError):
    """The script reads stdin; an EOFError, for scripts that can do without."""

    code = "stdin"


READING = frozenset({"read", "readline", "readlines", "buffer", "detach"})


class SharedStdin:
    """`sys.stdin` as it is for tdb, and closed for the script's thread."""

    def __init__(self, plain: TextIO, script: Callable[[], threading.Thread], notify: Callable[[str], None]) -> None:
        self._plain = plain
        self._script = script
        self._notify = notify

    def __getattr__(self, name: str) -> Any:
        if threading.current_thread() is self._script():
            if name == "fileno":  # `input` would read from there
                raise io.UnsupportedOperation("the script's stdin has no file: tdb reads it")
            if name in READING:
                self._refuse()
        return getattr(self._plain, name)

    def close(self) -> None:
        """Leave it open: Python's `exit()` and `quit()` close stdin first, in a script and typed at the prompt."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if threading.current_thread() is self._script():
            self._refuse()
        return next(self._plain)

    def _refuse(self) -> None:
        error = StdinTakenError(
            "the script reads stdin, where tdb reads its commands",
            "Give it a file: ! import sys; sys.stdin = open('FILE') before `start`; or commands by -c and --batch",
        )
        self._notify(str(error))
        raise error


@contextmanager
def stdin_for_commands(script: Callable[[], threading.Thread], notify: Callable[[str], None]) -> Iterator[None]:
    """Keep the script from reading stdin while the context lasts."""
    plain = sys.stdin
    if plain is None:
        yield
        return
    sys.stdin = shared = SharedStdin(plain, script, notify)
    try:
        yield
    finally:
        if sys.stdin is shared:
            sys.stdin = plain
