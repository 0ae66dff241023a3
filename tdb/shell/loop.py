"""The prompt: line editing, completion, a toolbar with the state of training, and what training prints above it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app, run_in_terminal
from prompt_toolkit.eventloop import InputHookContext
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input, create_input
from prompt_toolkit.input.typeahead import store_typeahead
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.key_binding.key_processor import KeyPress
from prompt_toolkit.keys import Keys
from prompt_toolkit.utils import is_dumb_terminal

from tdb.front import pauses
from tdb.shell.complete import ShellCompleter
from tdb.shell.parse import is_command, pasted_lines
from tdb.standing import RUNNING
from tdb.stopping import loss_text

if TYPE_CHECKING:
    from tdb.session import Session
    from tdb.shell.interpreter import Interpreter
    from tdb.shell.live import TerminalFront

TOOLBAR_SECONDS = 0.5

# A program that drives the terminal waits for "(tdb) ": a last space without any style would be a move of the cursor.
WRITTEN = "fg:ansidefault"


class Prompt:
    """Reads lines from a person and has them run.

    Args:
        interpreter: runs them.
        front: the terminal.
        history_file: where they are kept.
        keys: what is read, if that is not the terminal's.
    """

    def __init__(
        self, interpreter: Interpreter, front: TerminalFront, history_file: Path, keys: Input | None = None
    ) -> None:
        self._interpreter = interpreter
        self._session: Session = interpreter.session
        self._front = front
        self._clicked: deque[int] = deque()
        interpreter.show.sink.on_click = self._clicked.append
        self._prompt: PromptSession[str] = PromptSession(
            history=_history(history_file),
            input=keys or create_input(front.stdin),
            # A terminal without escapes shows no more than the last character of what is completed.
            completer=None if is_dumb_terminal() else ShellCompleter(self._session),
            complete_while_typing=False,
            bottom_toolbar=None if is_dumb_terminal() else self._toolbar,
            refresh_interval=TOOLBAR_SECONDS,
            key_bindings=self._keys(),
            enable_open_in_editor=True,
            enable_suspend=True,
        )

    def run(self) -> None:
        """Read and run lines until the user leaves.

        Raises:
            Quit: the user left.
        """
        while True:
            text = self._read()
            try:
                for line in self._typed(text):
                    if line.strip():
                        self._session.typed_lines.append(line.strip())
                    self._interpreter.execute(line)
                    self._front.show_output()
            except KeyboardInterrupt:
                self._interpreter.show.line("")
                self._front.show_output()

    def _typed(self, text: str) -> Iterator[str]:
        """Give what was read line by line, as it would have been typed: several may have been pasted."""
        if "\n" not in text or self._interpreter.reads:
            yield text
            return
        named = partial(is_command, registry=self._session.registry, aliases=self._session.aliases)
        for lines in pasted_lines(text, named):
            yield from lines.splitlines() if self._interpreter.reads else [lines]

    def _read(self) -> str:
        """Return the next line; Ctrl-C clears it, Ctrl-D means quit."""
        self._type_ahead()
        try:
            if is_dumb_terminal():
                return asyncio.run(self._read_dumb())
            return self._prompt.prompt(
                [(WRITTEN, self._interpreter.prompt)],
                pre_run=self._begin,
                inputhook=self._inputhook(),
                handle_sigint=threading.current_thread() is threading.main_thread(),
            )
        except KeyboardInterrupt:
            self._interpreter.abandon()
            return "#"
        except EOFError:
            return "#" if self._interpreter.end_reader() else "quit"

    async def _read_dumb(self) -> str:
        """Return the next line from a terminal without escapes, for which prompt-toolkit leaves `pre_run` out."""
        attending = asyncio.create_task(self._attend())
        try:
            return await self._prompt.prompt_async(self._interpreter.prompt)
        finally:
            attending.cancel()

    def _type_ahead(self) -> None:
        """Let the prompt begin with the keys that were pressed while a command waited for training."""
        ahead, self._front.typed_ahead = self._front.typed_ahead, ""
        keys: list[KeyPress] = []
        Vt100Parser(keys.append).feed_and_flush(ahead.replace("\n", "\r"))
        store_typeahead(self._prompt.input, keys)

    def _begin(self) -> None:
        get_app().create_background_task(self._attend())

    async def _attend(self) -> None:
        """While the prompt waits, show what training prints and say when it stops."""
        for pause in pauses(self._session, None):
            self._session.main_thread.attend()
            lines = self._front.output.take()
            stopped = self._interpreter.stop_untold
            while self._clicked:
                await run_in_terminal(partial(self._interpreter.execute, f"force {self._clicked.popleft()}"))
            if (lines or stopped) and is_dumb_terminal():
                # The half-typed line stays where it is, and is repeated below.
                self._interpreter.show.line("")
                self._show(lines, stopped)
                half_typed = self._prompt.default_buffer.text
                print(self._interpreter.prompt, half_typed, sep="", end="", flush=True)  # noqa: T201 - the prompt
            elif lines or stopped:
                await run_in_terminal(lambda lines=lines, stopped=stopped: self._show(lines, stopped))  # type: ignore[misc]
            await asyncio.sleep(pause)

    def _show(self, lines: list[str], stopped: bool) -> None:
        for line in lines:
            self._interpreter.show.line(line)
        if stopped:
            self._interpreter.tell_stop()

    def _toolbar(self) -> str:
        state = self._session.state()
        words = [state["status"], f"step {state['step']}"]
        words += [f"epoch {state['epoch']}"] if state["epoch"] is not None else []
        words += [f"loss {loss_text(state['loss'])}"] if state["loss"] is not None else []
        if state["status"] == RUNNING:
            words.append(f"{self._front.pace.at(state['tick']):.0f} steps/s")
        words += [self._front.output.progress] if self._front.output.progress else []
        return "  ".join(words)

    def _keys(self) -> KeyBindings:
        """Ctrl-C clears the line; a real SIGINT pauses training that runs in the background."""
        bindings = KeyBindings()

        @bindings.add(Keys.SIGINT)
        def _(event: KeyPressEvent) -> None:
            if self._session.status == RUNNING:
                self._session.pause()
            else:
                event.app.exit(exception=KeyboardInterrupt)

        @bindings.add("c-c", filter=Condition(lambda: self._session.status == RUNNING))
        def _(event: KeyPressEvent) -> None:
            if event.app.current_buffer.text:
                event.app.current_buffer.reset()
            else:
                self._session.pause()

        return bindings

    def _inputhook(self) -> Callable[[InputHookContext], None] | None:
        """Run the windows' event loop while the prompt waits, if there are windows."""
        sink = self._interpreter.show.sink
        if not sink.has_windows:
            return None

        def hook(context: InputHookContext) -> None:
            while not context.input_is_ready():
                sink.pump()

        return hook


class LastingHistory(FileHistory):
    """A history file that may go, or its disk fill up: lines are then kept for this session alone."""

    def store_string(self, string: str) -> None:
        """Append a line to the file, if it can be."""
        with suppress(OSError):
            super().store_string(string)


def _history(path: Path) -> History:
    """Return the history file, readable by its owner alone; without a place for it, a history of this session."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND, 0o600))
        path.chmod(0o600)
    except OSError as error:
        print(f"no history is kept: {path}: {error.strerror}", file=sys.stderr)  # noqa: T201 - before the first prompt
        return InMemoryHistory()
    return LastingHistory(str(path))
