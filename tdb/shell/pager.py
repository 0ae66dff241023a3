"""Pages of what is longer than the terminal, in the user's own pager."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.pager import Pager, SystemPager


def pager_is_there() -> bool:
    """Return whether the pager that the user has named can be found; where none is named, one is looked for."""
    program = next((word for word in _named().split() if "=" not in word), None)
    return program is None or program[0] in "'\"" or shutil.which(program) is not None


class UserPager(Pager):
    """The pager that the user has named, or one that is looked for where none is.

    Attributes:
        failed: it has ended as a program that fails, and nobody knows what it has shown.
    """

    def __init__(self) -> None:
        self.failed = False

    def show(self, content: str) -> None:
        """Show text, and wait until the user has seen enough of it."""
        with _colours_in_less():
            if not _named() or os.environ.get("TERM") in ("dumb", "emacs"):
                SystemPager().show(content)
            else:
                self.failed = _status_of(_named(), content) != 0


def _named() -> str:
    return os.environ.get("MANPAGER") or os.environ.get("PAGER") or ""


def _status_of(command: str, content: str) -> int:
    """Run a pager, as `pydoc` does, which does not say how it ended; return its exit status."""
    pager = subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, text=True, errors="backslashreplace")  # noqa: S602 - the user's own
    with suppress(OSError, KeyboardInterrupt):  # it has ended without reading; Ctrl-C is the pager's own affair
        pager.communicate(content)
    if pager.stdin is not None:
        with suppress(OSError):
            pager.stdin.close()
    while True:
        with suppress(KeyboardInterrupt):
            return pager.wait()


@contextmanager
def _colours_in_less() -> Iterator[None]:
    """Have `less` show colours instead of their escapes; the user's own options for it stay."""
    own = os.environ.get("LESS")
    os.environ["LESS"] = f"-R {own or ''}".rstrip()
    try:
        yield
    finally:
        if own is None:
            del os.environ["LESS"]
        else:
            os.environ["LESS"] = own
