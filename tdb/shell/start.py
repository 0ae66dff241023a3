"""The composition root of the shell: controller, script, session and front wired together, and taken apart again."""

from __future__ import annotations

import io
import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import EIO
from math import inf
from pathlib import Path
from secrets import randbits
from typing import TYPE_CHECKING, Any, TextIO

from tdb.commands import all_commands
from tdb.commands.flow import Quit
from tdb.controller import DebugController
from tdb.elsewhere.channel import kill_children
from tdb.errors import INTERRUPTED_STATUS, TdbError, UsageError
from tdb.files import home, is_there
from tdb.front import Front, Meanwhile, PlainFront
from tdb.launch import Run
from tdb.main_thread import MainThread
from tdb.script import Script
from tdb.script_stdin import stdin_for_commands
from tdb.session import Session
from tdb.shell.figures import FigureSink
from tdb.shell.interpreter import Interpreter, ScriptInterruptedError
from tdb.shell.line_ends import line_ends_noted
from tdb.shell.live import TerminalFront, interrupts_handled, terminal_restored
from tdb.shell.output import TrainingOutput
from tdb.shell.replay import replayed
from tdb.shell.script import Source, run_sources, run_stdin
from tdb.shell.show import OutputLostError, Show
from tdb.signals import handled

if TYPE_CHECKING:
    from tdb.command_line import CommandLine

CRASHED_STATUS = 3
HUNG_UP_STATUS = 128 + signal.SIGHUP
CAUGHT_STATUS = 4
# A training step that takes longer than this to notice the end is left behind.
END_SECONDS = 10.0
# Longer than most steps: from then on a person is told what is being waited for.
SILENT_SECONDS = 1.0
# Encodings of a plain C locale: what they cannot say is spelled out.
NARROW = ("ascii", "us-ascii", "ansi_x3.4-1968", "latin-1", "iso8859-1", "iso-8859-1")


class ScriptFront(PlainFront):
    """Nobody at a terminal: a SIGINT pauses training and ends the script, a second one does not wait for that."""

    def __init__(self) -> None:
        self._interrupted = False

    def wait(
        self, session: Session, goal: int | None, seconds: float = inf, *, meanwhile: Meanwhile | None = None
    ) -> None:
        """Block until training does not run, or so long.

        Raises:
            ScriptInterruptedError: a SIGINT came meanwhile.
            KeyboardInterrupt: a second one came.
        """

        def handle(number: int, frame: Any) -> None:
            del number, frame
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
            session.controller.pause()

        with interrupts_handled(handle):
            super().wait(session, goal, seconds, meanwhile=meanwhile)
        if self._interrupted:
            self._interrupted = False
            step = session.controller.position.step
            raise ScriptInterruptedError(f"interrupted: training is {session.status} at step {step}")


def debug(line: CommandLine) -> int:
    """Debug a script as the command line says; return the exit status."""
    script = Script(line.target, tuple(line.arguments), line.is_module)
    try:
        script.check()
        for text, is_file in line.sources:
            if is_file and not is_there(Path(text)):
                raise UsageError(f"no such file: {text}", "-x takes a file of commands")
    except TdbError as error:
        print(f"*** {error}", file=sys.stderr)  # noqa: T201 - before there is anything to show with
        return error.exit_status
    with ExitStack() as stack:
        main_thread = MainThread()
        if is_terminal(sys.stdin):
            stack.enter_context(terminal_restored())
        stack.enter_context(_ended_by_signals(main_thread))
        out = stack.enter_context(_answers_only()) if line.json else sys.stdout
        if isinstance(out, io.TextIOWrapper) and out.encoding.lower() in NARROW:
            out.reconfigure(errors="backslashreplace")
        person = is_terminal(sys.stdin) and sys.stdout.isatty() and not line.json
        if not person:
            stack.enter_context(line_ends_noted(out, sys.stderr))
        session, interpreter = _assemble(line, script, out, main_thread, person=person, stack=stack)

        run = session.run
        if run is not None and not line.batch:
            stack.enter_context(stdin_for_commands(lambda: run.thread, run.finder.notify))

        def converse() -> int:
            return _to_the_end(line, session, interpreter, out, person=person)

        return run.beside(converse) if line.in_main_thread and run is not None else converse()


def _to_the_end(line: CommandLine, session: Session, interpreter: Interpreter, out: TextIO, *, person: bool) -> int:
    """Converse, and end training; return the exit status."""
    status: int | None = None
    if isinstance(session.front, TerminalFront):
        session.front.output.shell = threading.current_thread()
    try:
        status = _converse(line, session, interpreter, person=person)
    except BrokenPipeError as lost:
        if isinstance(lost, OutputLostError):
            status = 1
            print(f"*** the answers cannot be written: {lost.strerror}", file=sys.stderr)  # noqa: T201 - out is lost
        # Whoever read the answers has had enough; nothing more can be said to it, not even at exit.
        if not out.closed:
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
    except SystemExit as leaving:  # SIGTERM or SIGHUP
        status, session.main_thread.leaving = int(leaving.code or 0), None
        session.main_thread.ends = True
    except OSError as gone:  # the terminal was closed, and the signal that says so has yet to come
        if gone.errno != EIO:
            raise
        status, session.main_thread.leaving = HUNG_UP_STATUS, None
        session.main_thread.ends = True
    with suppress(OSError):  # there may be no terminal any more to write to
        _end_training(session)
    status = _exit_status(status, session, interpreter, line)
    _leave_behind(session, status)
    return status


def _assemble(
    line: CommandLine, script: Script, out: TextIO, main_thread: MainThread, *, person: bool, stack: ExitStack
) -> tuple[Session, Interpreter]:
    controller = DebugController()
    front: Front = ScriptFront()
    if person:
        output = TrainingOutput()
        front = TerminalFront(output, main_thread)
    session = Session(controller, all_commands(), front)
    session.main_thread = main_thread
    seed = line.seed if line.seed is not None else randbits(32)
    session.run = Run(controller, script, main_thread, seed, in_main_thread=line.in_main_thread)
    # Windows belong to the main thread.
    sink = FigureSink(line.figures, out=out, interactive=person and not line.in_main_thread)
    stack.callback(sink.close)
    if line.figures != "auto":
        session.settings.change("figures", line.figures)
    show = Show(session, sink, out, sys.stderr, json=line.json, terminal=out.isatty() and not line.json)
    if person:
        stack.enter_context(output.captured())
    return session, Interpreter(session, show, state_folder() / "tdb.log")


def _converse(line: CommandLine, session: Session, interpreter: Interpreter, *, person: bool) -> int | None:
    """Run startup files, scripts, and the prompt or what is piped in; return the exit status asked for, if any."""
    try:
        if line.recording is not None:
            return replayed(interpreter, line.recording)
        if line.startup:
            run_startup_files(interpreter)
        sources = [Source(text, is_file) for text, is_file in line.sources]
        succeeded = run_sources(interpreter, sources, go_on=line.go_on)
        if person and not line.batch:
            from tdb.shell.loop import Prompt

            if not sources:
                interpreter.show.notice(_banner(session))
            Prompt(interpreter, session.front, state_folder() / "history").run()  # type: ignore[arg-type]
        elif (succeeded or line.go_on) and not line.batch and sys.__stdin__ is not None:
            # A person may type at a terminal while the answers go elsewhere: a mistake is then no end.
            run_stdin(interpreter, sys.__stdin__, go_on=line.go_on or sys.__stdin__.isatty())
    except Quit as quitting:
        return quitting.status
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    return None


def _banner(session: Session) -> str:
    name = session.run.script.name if session.run is not None else ""
    return f"{name} is ready, nothing has run: `start`, `step` or `continue` begins, `help` lists the commands"


def run_startup_files(interpreter: Interpreter) -> None:
    """Run the user's and the folder's startup file, if they belong to the user alone."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home() / ".config") / "tdb" / "tdbrc"
    for path in (config, Path(".tdbrc")):
        try:
            status = path.stat()
        except OSError:  # there is none, or none that this user may know of
            continue
        if not stat.S_ISREG(status.st_mode):
            continue
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            interpreter.show.notice(f"{path} is not run: others may write it; `chmod go-w {path}` if it is yours")
            continue
        interpreter.show.notice(f"running {path}; --nx skips it")
        interpreter.run_file(path)


def _end_training(session: Session) -> None:
    """Tell training to end, and wait for it, but not for ever; Ctrl-C ends the wait."""
    session.route("fork").close()
    if session.elsewhere is not None:
        with suppress(KeyboardInterrupt):
            session.elsewhere.close(unwind=True)
        _print_rest(session)
        return
    session.controller.stop()
    session.controller.gate.dismiss()
    run, attend = session.run, session.main_thread.attend
    with suppress(KeyboardInterrupt):
        if run is not None and not run.ends_within(SILENT_SECONDS, attend):
            print("waiting for the training step under way; Ctrl-C leaves at once", file=sys.stderr)  # noqa: T201
            run.ends_within(END_SECONDS - SILENT_SECONDS, attend)
    _print_rest(session)


def _print_rest(session: Session) -> None:
    """Print what training printed last."""
    if isinstance(session.front, TerminalFront):
        session.front.show_output()
        for text in session.front.output.rest():
            print(text)  # noqa: T201 - what training printed last


def _leave_behind(session: Session, status: int) -> None:
    """Exit without training's thread if that did not end; an orderly exit would crash on it, or wait for it."""
    if not _lives(session):
        return
    if session.elsewhere is None:
        print("*** training did not end; leaving it behind", file=sys.stderr)  # noqa: T201 - the last word
    kill_children()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _lives(session: Session) -> bool:
    return session.run is not None and session.run.lives


def _exit_status(status: int | None, session: Session, interpreter: Interpreter, line: CommandLine) -> int:
    if status is not None:
        return status
    run = session.run
    there = session.elsewhere.state() if session.elsewhere is not None else None
    if there["crashed"] if there is not None else run is not None and run.error is not None:
        return CRASHED_STATUS
    scripted = line.batch or bool(line.sources) or not is_terminal(sys.__stdin__)
    if scripted and interpreter.status:
        return interpreter.status
    if scripted and (there["caught"] if there is not None else any(hit.is_catch for hit in session.armed.now)):
        return CAUGHT_STATUS
    if there is not None:
        return int(there["exit code"])
    return run.exit_code if run is not None else 0


@contextmanager
def _answers_only() -> Iterator[TextIO]:
    """Keep stdout for answers: what training and its children print goes to stderr, even from C."""
    sys.stdout.flush()
    answers = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(answers, "w", encoding="utf-8") as out:
        yield out


@contextmanager
def _ended_by_signals(main_thread: MainThread) -> Iterator[None]:
    """Make SIGTERM and SIGHUP end tdb in order, with the exit status a shell expects."""

    def leave(number: int, frame: Any) -> None:
        del frame
        if main_thread.ends:
            return  # that a terminal closes is told by the kernel and by its shell: training ends in order all the same
        # Raised in a `__del__` it is lost; then the next look into the main thread's inbox raises it again.
        main_thread.leaving = 128 + number
        raise SystemExit(main_thread.leaving)

    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN  # nohup
    numbers = (signal.SIGTERM,) if ignored else (signal.SIGTERM, signal.SIGHUP)
    with handled(numbers, leave):
        yield


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a standard stream is a terminal; it is None where whoever started tdb has closed it."""
    return stream is not None and stream.isatty()


def state_folder() -> Path:
    """Return the folder of what tdb keeps between sessions: the history of the prompt, and the log of its own bugs."""
    return Path(os.environ.get("XDG_STATE_HOME") or home() / ".local" / "state") / "tdb"
