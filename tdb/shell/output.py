"""What training prints while tdb owns the terminal.

The training thread must not write to the terminal: its text would land in the middle of a half-typed line. Its stdout
and stderr are queued instead, and the main thread shows whole lines above the prompt. Text that ends in a carriage
return, or in nothing, is progress: the last of it is for the toolbar.
"""

from __future__ import annotations

import io
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class TrainingOutput:
    """Text of training, on its way to the terminal."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._take: Callable[[str], object] = self._queue.put
        self._partial = ""
        self.shell: threading.Thread | None = threading.main_thread()  # the one that shows what the others print

    @property
    def progress(self) -> str:
        """The line that training is still writing."""
        return self._partial.rstrip("\r").rpartition("\r")[2]

    def put(self, text: str) -> None:
        """Take text from any thread."""
        self._take(text)

    def divert(self, send: Callable[[str], object]) -> None:
        """Let `send` have all text from now on, whatever thread prints it: nobody shows it here any more."""
        self.shell, self._take = None, send

    def take(self) -> list[str]:
        """Return the lines that have become whole; the main thread calls this."""
        while not self._queue.empty():
            self._partial += self._queue.get()
        *lines, self._partial = self._partial.split("\n")
        return [line.rstrip("\r").rpartition("\r")[2] for line in lines]

    def rest(self) -> list[str]:
        """Return all that is left, an unfinished line too."""
        lines = self.take()
        progress, self._partial = self.progress, ""
        return [*lines, progress] if progress else lines

    @contextmanager
    def captured(self) -> Iterator[None]:
        """Take what other threads than the shell's print, while the context lasts."""
        plain_out, plain_error = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = _Stream(plain_out, self), _Stream(plain_error, self)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = plain_out, plain_error


class _Stream(io.TextIOBase):
    """A standard stream that passes the shell's text on, and queues that of the others."""

    def __init__(self, plain: TextIO, output: TrainingOutput) -> None:
        self._plain = plain
        self._output = output

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._plain.encoding

    @property
    def buffer(self) -> io.BufferedIOBase:
        return self._plain.buffer  # type: ignore[return-value]

    def write(self, text: str) -> int:
        if threading.current_thread() is self._output.shell:
            return self._plain.write(text)
        self._output.put(str(text))
        return len(text)

    def flush(self) -> None:
        if threading.current_thread() is self._output.shell:
            self._plain.flush()

    def isatty(self) -> bool:
        return self._plain.isatty()

    def fileno(self) -> int:
        return self._plain.fileno()

    def writable(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        """Whatever else a script may want of its streams, such as `reconfigure`, is the plain stream's."""
        return getattr(self._plain, name)
