"""The composition root of the shell: controller, script, session and front wired together, and taken apart again."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tdb.carry import MainThread
from tdb.commands import all_commands
from tdb.commands.flow import Quit
from tdb.controller import DebugController
from tdb.errors import TdbError, UsageError
from tdb.launch import Run, Script
from tdb.session import Front, PlainFront, Session
from tdb.shell.figures import FigureSink
from tdb.shell.interpreter import Interpreter
from tdb.shell.live import Left, TerminalFront
from tdb.shell.output import TrainingOutput
from tdb.shell.script import Source, run_sources, run_stdin
from tdb.shell.show import Show

if TYPE_CHECKING:
    from tdb.__main__ import CommandLine

CRASHED_STATUS = 3
INTERRUPTED_STATUS = 130
# A training step that takes longer than this to notice the end is left behind.
END_SECONDS = 10.0


class ScriptInterruptedError(TdbError):
    """A SIGINT came while a script waited: training is paused, the script ends."""

    exit_status = INTERRUPTED_STATUS


class ScriptFront(PlainFront):
    """Nobody at a terminal: a SIGINT pauses training and ends the script."""

    def __init__(self) -> None:
        self._interrupted = False

    def wait(self, session: Session, goal: int | None) -> None:
        """Block until training does not run.

        Raises:
            ScriptInterruptedError: a SIGINT came meanwhile.
        """

        def handle(number: int, frame: Any) -> None:
            del number, frame
            self._interrupted = True
            session.controller.pause()

        before = signal.signal(signal.SIGINT, handle)
        try:
            super().wait(session, goal)
        finally:
            signal.signal(signal.SIGINT, before)
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
            if is_file and not Path(text).is_file():
                raise UsageError(f"no such file: {text}", "-x takes a file of commands")
    except TdbError as error:
        print(f"*** {error}", file=sys.stderr)  # noqa: T201 - before there is anything to show with
        return error.exit_status
    with ExitStack() as stack:
        stack.enter_context(_ended_by_signals())
        out = stack.enter_context(_answers_only()) if line.json else sys.stdout
        person = sys.stdin.isatty() and sys.stdout.isatty() and not line.json
        session, interpreter = _assemble(line, script, out, person=person, stack=stack)
        status: int | None = None
        try:
            status = _converse(line, session, interpreter, person=person)
        except BrokenPipeError:
            # Whoever read the answers has had enough; nothing more can be said to it, not even at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        finally:
            _end_training(session, status)
        return _exit_status(status, session, interpreter, line)


def _assemble(
    line: CommandLine, script: Script, out: TextIO, *, person: bool, stack: ExitStack
) -> tuple[Session, Interpreter]:
    controller = DebugController()
    main_thread = MainThread()
    front: Front = ScriptFront()
    if person:
        output = TrainingOutput()
        front = TerminalFront(output, main_thread)
    session = Session(controller, all_commands(), front)
    session.main_thread = main_thread
    session.run = Run(controller, script, main_thread)
    sink = FigureSink(line.figures, out=out, interactive=person)
    if line.figures != "auto":
        session.settings.change("figures", line.figures)
    session.settings.on_change(lambda name, value: setattr(sink, "mode", value) if name == "figures" else None)
    show = Show(session, sink, out, sys.stderr, json=line.json, terminal=out.isatty() and not line.json)
    if person:
        stack.enter_context(output.captured())
    return session, Interpreter(session, show, _state_folder() / "tdb.log")


def _converse(line: CommandLine, session: Session, interpreter: Interpreter, *, person: bool) -> int | None:
    """Run startup files, scripts, and the prompt or what is piped in; return the exit status asked for, if any."""
    try:
        if line.startup:
            _run_startup_files(interpreter)
        sources = [Source(text, is_file) for text, is_file in line.sources]
        succeeded = run_sources(interpreter, sources, go_on=line.go_on)
        if person and not line.batch:
            from tdb.shell.loop import Prompt

            if not sources:
                interpreter.show.notice(_banner(session))
            Prompt(interpreter, session.front, _state_folder() / "history").run()  # type: ignore[arg-type]
        elif (succeeded or line.go_on) and not line.batch and not sys.stdin.isatty():
            run_stdin(interpreter, go_on=line.go_on)
    except Quit as quitting:
        return quitting.status
    except (Left, KeyboardInterrupt):
        return INTERRUPTED_STATUS
    return None


def _banner(session: Session) -> str:
    name = session.run.script.name if session.run is not None else ""
    return f"{name} is ready, nothing has run: `start`, `step` or `continue` begins, `help` lists the commands"


def _run_startup_files(interpreter: Interpreter) -> None:
    """Run the user's and the folder's startup file, if they belong to the user alone."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "tdb" / "tdbrc"
    for path in (config, Path(".tdbrc")):
        if not path.is_file():
            continue
        status = path.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            interpreter.show.notice(f"{path} is not run: others may write it; `chmod go-w {path}` if it is yours")
            continue
        interpreter.show.notice(f"running {path}; --nx skips it")
        interpreter.source(path)


def _end_training(session: Session, status: int | None) -> None:
    """Tell training to end, and wait for it; leave it behind if it does not."""
    session.controller.stop()
    session.controller.gate.dismiss()
    thread = session.run.thread if session.run is not None and session.run.started else None
    waited = 0.0
    while thread is not None and thread.is_alive() and waited < END_SECONDS:
        thread.join(0.05)
        session.main_thread.attend()
        waited += 0.05
    if thread is not None and thread.is_alive():
        print("*** training did not end; leaving it behind", file=sys.stderr)  # noqa: T201 - the last word
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1 if status is None else status)
    if isinstance(session.front, TerminalFront):
        session.front.show_output()
        for text in session.front.output.rest():
            print(text)  # noqa: T201 - what training printed last


def _exit_status(status: int | None, session: Session, interpreter: Interpreter, line: CommandLine) -> int:
    if status is not None:
        return status
    run = session.run
    if run is not None and run.error is not None:
        return CRASHED_STATUS
    scripted = line.batch or bool(line.sources) or not sys.stdin.isatty()
    if scripted and interpreter.status:
        return interpreter.status
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
def _ended_by_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end tdb in order, with the exit status a shell expects."""

    def leave(number: int, frame: Any) -> None:
        del frame
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _state_folder() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "tdb"
