"""tdb's lines begin where a line begins: what training has printed last may not have ended its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class NotedWrite:
    """The `write` of a stream, which notes whether the last text has ended its line."""

    def __init__(self, stream: TextIO) -> None:
        self._write = stream.write
        self.inside_line = False

    def __call__(self, text: str) -> int:
        """Write text."""
        written = self._write(text)
        if text:
            self.inside_line = not text.endswith("\n")
        return written


def note_line_ends(stream: TextIO) -> None:
    """Note what is written to a stream from now on; it stays the very object that it is."""
    setattr(stream, "write", NotedWrite(stream))  # noqa: B010 - a method of its type, and not of this object


@contextmanager
def line_ends_noted(*streams: TextIO) -> Iterator[None]:
    """Note what is written to streams while the context lasts."""
    for stream in streams:
        note_line_ends(stream)
    try:
        yield
    finally:
        for stream in streams:
            with suppress(AttributeError):  # the script has done away with it
                delattr(stream, "write")


def begin_line(stream: Any) -> None:
    """End the line that was written last, if it is noted that it was not."""
    write = getattr(stream, "write", None)
    if isinstance(write, NotedWrite) and write.inside_line:
        write("\n")


def forget_line(stream: Any) -> None:
    """Take what was written last for a whole line: nobody has seen it."""
    write = getattr(stream, "write", None)
    if isinstance(write, NotedWrite):
        write.inside_line = False
