"""A terminal with a screen, and a program in it: types keys, and waits for what is shown."""

from __future__ import annotations

import os
import re
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pexpect
import pyte
from pexpect.fdpexpect import fdspawn

from tests.conftest import PATIENCE
from tests.preloaded import Preloaded

PROMPT = "(tdb)"


class Screen(pyte.HistoryScreen):
    """A screen that answers when it is asked where its cursor is, as real terminals do."""

    descriptor = -1

    def write_process_input(self, data: str) -> None:
        os.write(self.descriptor, data.encode())


def settings_of_a_new_terminal() -> list[Any]:
    """Return what a terminal is like before a program has come to it, which may be any moment from its start on."""
    ours, theirs = os.openpty()
    try:
        return termios.tcgetattr(ours)
    finally:
        os.close(theirs)
        os.close(ours)


class Preloading(fdspawn):  # type: ignore[misc]
    """What `pexpect.spawn` is, for a program that begins with torch loaded."""

    def __init__(
        self,
        preloaded: Preloaded,
        arguments: Sequence[str],
        folder: Path,
        environ: Mapping[str, str],
        dimensions: tuple[int, int],
    ) -> None:
        ours, theirs = os.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", *dimensions, 0, 0))
        self.program = preloaded.start(arguments, folder, environ, (theirs, theirs, theirs))
        os.close(theirs)
        super().__init__(ours)
        self.pid = self.program.process

    def getecho(self) -> bool:
        """Return whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self.child_fd)[3] & termios.ECHO)

    def kill(self, number: int) -> None:
        """Send the program a signal."""
        os.kill(self.pid, number)

    def wait(self) -> Any:
        """Wait for the program's end."""
        status = self.program.wait(PATIENCE)
        self.exitstatus, self.signalstatus = (status, None) if status >= 0 else (None, -status)
        return self.exitstatus

    def close(self, force: bool = True) -> None:
        """Close the terminal, and end the program unless it ends by itself."""
        super().close()
        if force:
            self.program.kill()


class Terminal:
    """A program in a terminal of its own.

    Attributes:
        child: the program.
        settings_before: of the terminal, before the program has changed any.
        written: all that it has written, escapes too.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environ: Mapping[str, str],
        rows: int = 24,
        columns: int = 80,
        preloaded: Preloaded | None = None,
    ) -> None:
        size, (program, *arguments) = (rows, columns), command
        self.settings_before = settings_of_a_new_terminal()
        if preloaded is not None:
            assert program == sys.executable
            self.child = Preloading(preloaded, arguments, folder, environ, size)
        else:
            self.child = pexpect.spawn(program, arguments, cwd=folder, env=dict(environ), dimensions=size)
        self.child.delaybeforesend = None
        self.written = b""
        self._screen = Screen(columns, rows, history=100_000)
        self._screen.descriptor = self.child.child_fd
        self._stream = pyte.ByteStream(self._screen)
        self._mark = 0

    @property
    def settings(self) -> list[Any]:
        """What the terminal is like now, as `termios` says it."""
        return termios.tcgetattr(self.child.child_fd)

    @property
    def lines(self) -> list[str]:
        """All lines, also those that have left the screen at its top, without the blanks at their ends."""
        columns = range(self._screen.columns)
        gone = ["".join(line[column].data for column in columns) for line in self._screen.history.top]
        return [line.rstrip() for line in [*gone, *self._screen.display]]

    @property
    def new(self) -> str:
        """What is shown from the last mark on."""
        return "\n".join(self.lines[self._mark :]).rstrip()

    def mark(self) -> None:
        """From now on `new` begins at the line with the cursor."""
        self._mark = self._cursor_line

    def type(self, keys: str) -> None:
        """Press keys."""
        self.child.send(keys)

    def line(self, text: str) -> str:
        """Type a line at the prompt, and return what is shown until the next one."""
        self.mark()
        self.type(f"{text}\r")
        return self.until_prompt()

    def until(self, pattern: str) -> re.Match[str]:
        """Wait until something that matches is shown from the mark on."""
        self._until(lambda: re.search(pattern, self.new) is not None, pattern)
        found = re.search(pattern, self.new)
        assert found is not None
        return found

    def until_prompt(self) -> str:
        """Wait for an empty prompt below the mark; return what stands between the two, and move the mark there."""
        self._until(self._at_prompt, "prompt")
        shown = "\n".join(self.lines[self._mark + 1 : self._cursor_line])
        self.mark()
        return shown

    def until_line(self, text: str) -> None:
        """Wait until the line with the cursor is `text`."""
        self._until(lambda: self.lines[self._cursor_line] == text, f"line {text!r} at the cursor")

    def until_end(self) -> int:
        """Wait until the program has ended; return its exit status, 128 and the number if a signal ended it."""
        self._until(lambda: not self._read(), "end")
        self.child.wait()
        status = self.child.exitstatus
        return status if status is not None else 128 + (self.child.signalstatus or 0)

    def close(self) -> None:
        """End the program, whatever it is doing."""
        self.child.close(force=True)

    @property
    def _cursor_line(self) -> int:
        return len(self._screen.history.top) + self._screen.cursor.y

    def _at_prompt(self) -> bool:
        cursor = self._cursor_line
        at_end = self._screen.cursor.x == len(PROMPT) + 1
        # Until the echo is off, keys would be shown twice.
        return cursor > self._mark and at_end and self.lines[cursor] == PROMPT and not self.child.getecho()

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        alive = True
        while not holds():
            assert alive, f"the program has ended, and no {what}:\n{self.new}"
            assert time.monotonic() < deadline, f"no {what}:\n{self.new}"
            alive = self._read()

    def _read(self) -> bool:
        """Read what has come, or what comes in a moment; return whether the program may write more."""
        try:
            text = self.child.read_nonblocking(65536, timeout=0.1)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.written += text
        self._stream.feed(text)
        return True
