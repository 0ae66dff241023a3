"""What training prints in another process, on its way to the front's terminal."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class SentStream(io.TextIOBase):
    """A standard stream whose text the front shows.

    Args:
        plain: the stream it stands for.
        send: takes the text.
    """

    def __init__(self, plain: Any, send: Callable[[str], object]) -> None:
        self._plain = plain
        self._send = send

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream it stands for."""
        return str(self._plain.encoding)

    def write(self, text: str) -> int:
        """Send text to the front."""
        self._send(str(text))
        return len(text)

    def flush(self) -> None:
        """Nothing waits here."""

    def writable(self) -> bool:
        """It can always be written to."""
        return True

    def isatty(self) -> bool:
        """Return whether the front's terminal is one."""
        return os.isatty(1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)


@contextmanager
def sent_output(send: Callable[[str], object]) -> Iterator[None]:
    """Let `send` have what is printed while the context lasts."""
    plain = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = SentStream(plain[0], send), SentStream(plain[1], send)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = plain
