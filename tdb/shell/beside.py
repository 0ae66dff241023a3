"""The shell beside a script that tdb has not started: `tdb.set_trace()` in a plain run.

The script's thread waits at the gate, as any training thread does, and runs what commands want run there; the shell
reads and shows in a thread of its own. So every command does what it does under `tdb SCRIPT`, and a line such as
`step ;; metrics` goes on after the step.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING

from tdb.active import plain_controller
from tdb.commands import all_commands
from tdb.commands.flow import Quit
from tdb.front import PlainFront, pauses
from tdb.session import Session
from tdb.shell.figures import FigureSink
from tdb.shell.interpreter import Interpreter
from tdb.shell.live import TerminalFront
from tdb.shell.output import TrainingOutput
from tdb.shell.show import Show
from tdb.shell.start import is_terminal, run_startup_files, state_folder
from tdb.standing import RUNNING, STOPPED

if TYPE_CHECKING:
    from types import FrameType

    from tdb.controller import DebugController
    from tdb.front import Meanwhile

POLL_SECONDS = 0.02
# The shell has nothing left to do by then: it only has to notice.
CLOSE_SECONDS = 2.0


class LinesFront(PlainFront):
    """Nobody at a terminal."""

    def wait(
        self, session: Session, goal: int | None, seconds: float = inf, *, meanwhile: Meanwhile | None = None
    ) -> None:
        """Block until the script has stopped, or so long; the end of a loop is not the end of the script.

        Raises:
            SystemExit: the process ends.
        """
        del goal
        deadline = time.monotonic() + seconds
        for pause in pauses(session, meanwhile):
            status = session.controller.wait(min(pause, seconds))
            if status == STOPPED or time.monotonic() >= deadline or (meanwhile is not None and meanwhile.is_answered):
                return
            session.main_thread.attend()
            if status != RUNNING:
                time.sleep(POLL_SECONDS)


class PersonFront(TerminalFront):
    """A terminal that belongs to the script while it runs: no live line, no keys read, Ctrl-C is a signal."""

    wait = LinesFront.wait


class Beside:
    """The shell of this process, from its first `set_trace` until the user leaves or the process ends."""

    def __init__(self, controller: DebugController) -> None:
        self.controller = controller
        self.process = os.getpid()
        self._person = is_terminal(sys.stdin) and sys.stdout.isatty()
        session = Session(controller, all_commands())
        front = PersonFront(TrainingOutput(), session.main_thread)
        session.front = front if self._person else LinesFront()
        self._front, self._session = front, session
        sink = FigureSink("auto", out=sys.stdout, interactive=False)
        show = Show(session, sink, sys.stdout, sys.stderr, terminal=sys.stdout.isatty())
        self._interpreter = Interpreter(session, show, state_folder() / "tdb.log")
        self._thread = threading.Thread(target=self._work, name="tdb", daemon=True)
        self._pause_asked_at = -1
        controller.awake(session.settings["record.every"])

    @property
    def is_open(self) -> bool:
        """Whether it reads commands."""
        return self._thread.is_alive() and self.process == os.getpid()

    def open(self) -> None:
        """Begin; the first line is read when the script has stopped."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupted)
        atexit.register(self._close)
        self._thread.start()

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        """Pause at the first Ctrl-C, as under tdb; another one before the script has stopped is the script's own."""
        gate = self.controller.gate
        if self.is_open and gate.status == RUNNING and self._pause_asked_at != gate.stops:
            self._pause_asked_at = gate.stops
            self.controller.pause()
            os.write(2, b"\nstopping at the end of the next whole step; Ctrl-C again interrupts the script\n")
        elif callable(self._before):
            self._before(number, frame)

    def _work(self) -> None:
        try:
            self._converse()
        except Quit as leaving:
            self.controller.gate.stop(leaving.status)
        except (KeyboardInterrupt, BrokenPipeError):
            self.controller.stop()
        except (OSError, NotImplementedError) as unreadable:  # pytest while it captures, a notebook that nobody runs
            self._interpreter.show.notice(f"*** set_trace() cannot read commands: {unreadable}")
            self.controller.stop()
        except SystemExit:  # the process ends
            pass
        except BaseException:  # noqa: BLE001 - a bug of ours must not hold the script for ever
            traceback.print_exc()
            self.controller.resume()

    def _converse(self) -> None:
        while not self._interpreter.stop_untold:
            self._session.main_thread.attend()
            time.sleep(POLL_SECONDS)
        run_startup_files(self._interpreter)
        self._interpreter.tell_stop()
        if self._person:
            from tdb.shell.loop import Prompt

            Prompt(self._interpreter, self._front, state_folder() / "history").run()
        else:
            self._interpreter.lines(self._lines(), "<stdin>", go_on=True)
            self.controller.stop()

    def _lines(self) -> Iterator[str]:
        """Give the lines of stdin, which the script reads too; in a notebook, those of its own way to ask."""
        notebook = "ipykernel" in sys.modules
        while True:
            self._session.front.wait(self._session, None)
            try:
                if notebook:
                    yield self.controller.gate.call(lambda: input(self._interpreter.prompt))
                elif sys.stdin is not None and (line := sys.stdin.readline()):
                    yield line
                else:
                    return
            except EOFError:
                return

    def _close(self) -> None:
        """The process ends: let the shell's thread end before it."""
        self._session.main_thread.leaving = 0
        if self.is_open:
            self._thread.join(CLOSE_SECONDS)


_beside: Beside | None = None


def open_beside() -> DebugController:
    """Return the controller of this process, with a shell beside it."""
    global _beside  # noqa: PLW0603 - one shell a process: there is one terminal
    if _beside is None or not _beside.is_open:
        _beside = Beside(plain_controller())
        _beside.open()
    return _beside.controller
