"""Waiting for training on a terminal: a live line, what training prints, and Ctrl-C."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from typing import TYPE_CHECKING, Any, TextIO

from tdb.commands.flow import Quit
from tdb.errors import INTERRUPTED_STATUS
from tdb.front import still_running
from tdb.main_thread import MainThread
from tdb.stopping import loss_text

if TYPE_CHECKING:
    from tdb.front import Meanwhile
    from tdb.session import Session
    from tdb.shell.output import TrainingOutput

# A repaint costs main-thread time that slows the training thread; at this pace it cannot be measured.
REPAINT_SECONDS = 0.5
THIRD_CTRL_C_SECONDS = 2.0
HASTY_SECONDS = 0.5
CTRL_C, CTRL_Z = b"\x03", b"\x1a"


@contextmanager
def keys_read_raw(stdin: TextIO) -> Iterator[bool]:
    """Make Ctrl-C a key and no signal, so that it reaches no DataLoader worker; gives whether stdin is a terminal."""
    if not stdin.isatty() or os.getpgrp() != os.tcgetpgrp(stdin.fileno()):
        yield False
        return
    descriptor = stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        _read_raw(descriptor)
        yield True
    finally:
        with suppress(termios.error):  # it may have been closed
            termios.tcsetattr(descriptor, termios.TCSANOW, before)


def _read_raw(descriptor: int) -> None:
    tty.setcbreak(descriptor, termios.TCSANOW)
    mode = termios.tcgetattr(descriptor)
    mode[3] &= ~termios.ISIG
    termios.tcsetattr(descriptor, termios.TCSANOW, mode)


def suspend(descriptor: int) -> None:
    """Do what Ctrl-Z does where it is a signal: the shell has the terminal, and `fg` goes on here.

    Training stands still meanwhile, and with it the whole process group, DataLoader workers too.
    """
    cooked = termios.tcgetattr(descriptor)
    cooked[3] |= termios.ICANON | termios.ECHO | termios.ISIG
    termios.tcsetattr(descriptor, termios.TCSANOW, cooked)
    os.kill(0, signal.SIGTSTP)
    _read_raw(descriptor)


@contextmanager
def terminal_restored() -> Iterator[None]:
    """Leave the terminal as it was found: a signal may end tdb in the middle of the prompt, which then does not."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        yield
    finally:
        with suppress(termios.error, OSError):  # it may have been closed
            left_raw = termios.tcgetattr(descriptor) != before
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
            if left_raw and os.environ.get("TERM", "dumb") != "dumb":
                os.write(sys.stdout.fileno(), b"\r\n\x1b[J\x1b[?2004l\x1b[?25h")  # no bracketed paste, a cursor


@contextmanager
def interrupts_handled(handle: Callable[[int, Any], None]) -> Iterator[None]:
    """Let `handle` answer SIGINTs, unless the script has the main thread, and with it its signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Pace:
    """Steps a second, over the last few seconds."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def at(self, tick: int) -> float:
        """Return the pace, now that training stands at `tick`; what was seen after it is of before it went back.

        How long the script took until its first step says nothing of its steps.
        """
        now = time.monotonic()
        self._seen = [*(entry for entry in self._seen if now - entry[0] < 5.0 and 0 < entry[1] <= tick), (now, tick)]
        seconds, ticks = now - self._seen[0][0], tick - self._seen[0][1]
        return ticks / seconds if seconds > 0 else 0.0


class TerminalFront:
    """A terminal with a person before it.

    Attributes:
        output: what training prints.
        stdin: what the person types into; the script may put something else in the place of `sys.stdin`.
        typed_ahead: the keys that were pressed while training ran.
        pace: how fast it runs.
    """

    captures = True

    def __init__(self, output: TrainingOutput, main_thread: MainThread) -> None:
        self.output = output
        self.typed_ahead = ""
        self.pace = Pace()
        self._main_thread = main_thread
        self._interrupts: list[float] = []
        self._signals_received = 0
        self._interrupt: Callable[[], str | None] = lambda: None
        self._out = sys.stdout
        self.stdin = sys.stdin

    def wait(
        self, session: Session, goal: int | None, seconds: float = inf, *, meanwhile: Meanwhile | None = None
    ) -> None:
        """Block until training does not run, or so long, with a live line; Ctrl-C asks it to stop.

        Raises:
            Quit: the third Ctrl-C, and yes to the question that follows: the user leaves, whatever training is doing.
        """
        self._interrupts = []
        self._interrupt = session.controller.pause if meanwhile is None else meanwhile.interrupt
        painted = time.monotonic()
        with keys_read_raw(self.stdin) as raw, self._signals_counted():
            for _ in still_running(session, seconds, meanwhile):
                self._main_thread.attend()
                self.show_output()
                for notice in session.controller.take_notices():
                    self._say(notice)
                if raw:
                    self._read_keys(session)
                self._answer_signals(session)
                if time.monotonic() - painted >= REPAINT_SECONDS:
                    painted = time.monotonic()
                    self._paint(live_line(session, self.pace, goal, self.output.progress))
        self._paint("")
        self.show_output()

    def confirm(self, question: str) -> bool:
        """Ask on the terminal; the end of input means yes, Ctrl-C no, and what was typed before is no answer."""
        try:
            self._forget_keys()
            print(f"{question} [y/N] ", end="", flush=True)  # noqa: T201 - the question
            answer = self.stdin.readline()
            if not answer:
                print()  # noqa: T201 - ends the line that Ctrl-D left
            return not answer or answer.strip().lower() in ("y", "yes")
        except KeyboardInterrupt:
            print()  # noqa: T201 - as above
            return False

    def printed(self, text: str) -> None:
        """Show it with what training prints here."""
        self.output.put(text)

    def divert(self, send: Callable[[str], object]) -> None:
        """Let `send` have what training prints, instead of this terminal."""
        self.output.divert(send)

    def show_output(self) -> None:
        """Show the lines that training has printed since."""
        for line in self.output.take():
            self._out.write(f"\r\x1b[K{line}\r\n" if self._plain_terminal is False else f"{line}\n")
        self._out.flush()

    @property
    def _plain_terminal(self) -> bool:
        return os.environ.get("TERM", "dumb") in ("dumb", "")

    def _paint(self, line: str) -> None:
        if self._plain_terminal:
            return
        width = os.get_terminal_size(self._out.fileno()).columns if self._out.isatty() else 80
        self._out.write(f"\r\x1b[K{line[: width - 1]}")
        self._out.flush()

    def _read_keys(self, session: Session) -> None:
        while select.select([self.stdin], [], [], 0)[0]:
            typed = os.read(self.stdin.fileno(), 1024)
            if not typed:
                return
            self._interrupted(session, typed.count(CTRL_C))
            if CTRL_Z in typed:
                self._say("")
                suspend(self.stdin.fileno())
            self.typed_ahead += typed.replace(CTRL_C, b"").replace(CTRL_Z, b"").decode(errors="ignore")

    def _interrupted(self, session: Session, times: int) -> None:
        """Answer so many Ctrl-Cs; those that came with the one that makes tdb ask are answered by what is said then."""
        for _ in range(times):
            if self._answered_no(session):
                break

    def _answered_no(self, session: Session) -> bool:
        """Answer a Ctrl-C, and return whether that was a question to which the answer is no."""
        now = time.monotonic()
        self._interrupts.append(now)
        if len(self._interrupts) == 1:
            self._say(self._interrupt() or "stopping at the end of the next whole step")
        elif len(self._interrupts) > 2 and now - self._interrupts[-2] < THIRD_CTRL_C_SECONDS:
            self._forget_keys()
            if self._confirm_raw("Leave tdb and end training?"):
                raise Quit(INTERRUPTED_STATUS)
            return True
        else:
            self._say(
                f"still {session.whereabouts()} for {now - self._interrupts[0]:.1f} s; Ctrl-C again offers to quit"
            )
        return False

    def _forget_keys(self) -> None:
        """Leave unread what was typed before a question was there to be read."""
        with suppress(termios.error, OSError):
            termios.tcflush(self.stdin.fileno(), termios.TCIFLUSH)

    def _confirm_raw(self, question: str) -> bool:
        self._paint(f"{question} [y/N] ")
        answer = answer_read(lambda: os.read(self.stdin.fileno(), 16)) if self.stdin.isatty() else b"y"
        self._say("")
        return answer[:1] in (b"y", b"Y")

    def _say(self, text: str) -> None:
        self._paint("")
        self._out.write(f"{text}\r\n" if text else "\r\n")
        self._out.flush()

    def _answer_signals(self, session: Session) -> None:
        received, self._signals_received = self._signals_received, 0
        self._interrupted(session, received)

    @contextmanager
    def _signals_counted(self) -> Iterator[None]:
        """Count SIGINTs instead of answering at once: the handler may have come in the middle of a write to stdout."""

        def handle(number: int, frame: Any) -> None:
            del number, frame
            self._signals_received += 1

        with interrupts_handled(handle):
            yield


def answer_read(read: Callable[[], bytes], now: Callable[[], float] = time.monotonic) -> bytes:
    """Return the answer to a question that a run of Ctrl-Cs has raised.

    A further one of the run is no answer: nobody has read the question who presses it so soon.

    Args:
        read: waits for keys and returns them; nothing at the end of input.
        now: the time in seconds.
    """
    pressed = now()
    while (answer := read()) and not answer.strip(CTRL_C) and now() - pressed < HASTY_SECONDS:
        pressed = now()
    return answer


def live_line(session: Session, pace: Pace, goal: int | None, progress: str) -> str:
    """Return the line shown while training runs: step, loss, steps a second, and when it will be at its goal."""
    state = session.state()
    speed = pace.at(state["tick"])
    words = [f"step {state['step']}"]
    words += [f"epoch {state['epoch']}"] if state["epoch"] is not None else []
    words += [f"loss {loss_text(state['loss'])}"] if state["loss"] is not None else []
    words += [f"{speed:.0f} steps/s"] if speed >= 10 else [f"{speed:.2g} steps/s"] if speed else []
    if goal is not None and speed:
        seconds = max(0, goal - state["step"]) / speed
        words.append(f"ETA {int(seconds // 3600)}:{int(seconds // 60 % 60):02}:{int(seconds % 60):02}")
    words += [progress] if progress else ["Ctrl-C stops"]
    return "  ".join(words)
