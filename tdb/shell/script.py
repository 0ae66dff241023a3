"""Commands from `-c`, `-x` and a pipe: a script. The first error ends it."""

from __future__ import annotations

import codecs
import os
import select
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from tdb.shell.interpreter import Interpreter

ATTEND_SECONDS = 0.05


@dataclass(frozen=True)
class Source:
    """One `-c COMMAND` or `-x FILE`."""

    text: str
    is_file: bool


def run_sources(interpreter: Interpreter, sources: Sequence[Source], *, go_on: bool) -> bool:
    """Run them in order; return whether all succeeded. With `go_on` a failing command does not end the script."""
    succeeded = True
    for source in sources:
        if source.is_file:
            succeeded &= interpreter.run_file(Path(source.text), echo=True, go_on=go_on)
        else:
            succeeded &= interpreter.execute(source.text)
        if not (succeeded or go_on):
            break
    return succeeded


def run_stdin(interpreter: Interpreter, stdin: TextIO, *, go_on: bool) -> bool:
    """Run what is piped in, each line as it arrives."""
    lines = lines_as_they_arrive(stdin, interpreter.session.main_thread.attend)
    return interpreter.lines(without_mark(lines), "<stdin>", go_on=go_on)


def without_mark(lines: Iterable[str]) -> Iterator[str]:
    """Give lines without the mark that some editors begin a file in UTF-8 with."""
    for number, line in enumerate(lines):
        yield line if number else line.removeprefix("\ufeff")


def lines_as_they_arrive(stream: TextIO, meanwhile: Callable[[], object]) -> Iterator[str]:
    """Give the lines of a stream with a file descriptor, calling `meanwhile` again and again while none has come.

    `for line in stream` would block the main thread, and with it a script in the background that installs a signal
    handler, until whoever writes the commands writes the next.
    """
    descriptor = stream.fileno()
    encoding = codecs.lookup(stream.encoding or "utf-8").name
    # Where the locale knows ASCII alone, what else there is in a command was written as UTF-8.
    decoder = codecs.getincrementaldecoder("utf-8" if encoding == "ascii" else encoding)("replace")
    text, chunk = "", b"more"
    while chunk:
        while not select.select([descriptor], [], [], ATTEND_SECONDS)[0]:
            meanwhile()
        chunk = os.read(descriptor, 65536)
        *whole, text = (text + decoder.decode(chunk, final=not chunk)).split("\n")
        yield from whole
    if text:
        yield text
