"""What pdb reads and writes instead of stdin and stdout: the main thread holds the terminal, or the script."""

from __future__ import annotations

import code
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tdb.jobs import HEARTBEAT_SECONDS


class CommandsOfPdb:
    """What pdb reads instead of stdin; the main thread puts lines in."""

    def __init__(self, is_ending: Callable[[], bool]) -> None:
        self.wanted = threading.Event()
        self._is_ending = is_ending
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def put(self, line: str) -> None:
        """Answer pdb's question; an empty text is the end of input."""
        self.wanted.clear()
        self._lines.put(line)

    def readline(self) -> str:
        """Wait for a line; there is none any more once training is to end."""
        self.wanted.set()
        while True:
            try:
                return self._lines.get(timeout=HEARTBEAT_SECONDS)
            except queue.Empty:
                if self._is_ending() or not threading.main_thread().is_alive():
                    return ""


class WordsOfPdb:
    """What pdb writes to instead of stdout; its last, unfinished line is the prompt."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()

    def write(self, text: str) -> int:
        """Take text from the training thread."""
        self._queue.put(text)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> tuple[str, str]:
        """Return the lines that are whole, and the prompt below them."""
        text = ""
        while not self._queue.empty():
            text += self._queue.get()
        lines, newline, prompt = text.rpartition("\n")
        return lines + newline, prompt


class PythonInPdb(code.InteractiveConsole):
    """The Python prompt of pdb's `interact`; what its statements print goes where training's output goes."""

    def __init__(self, variables: dict[str, Any], commands_in: CommandsOfPdb, words_out: WordsOfPdb) -> None:
        super().__init__(variables)
        self._commands_in = commands_in
        self._words_out = words_out

    def interact(self, *arguments: Any) -> None:
        """Read and run lines until their end or `exit()`, which would end training."""
        with suppress(SystemExit):
            super().interact(*arguments)

    def raw_input(self, prompt: str = "") -> str:
        """Ask for a line."""
        self._words_out.write(prompt)
        line = self._commands_in.readline()
        if not line:
            raise EOFError
        return line.rstrip("\n")

    def write(self, data: str) -> None:
        """Show a traceback."""
        self._words_out.write(data)
