"""The process in which training goes on: runs the lines that come, and sends what it would show."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any, TextIO

from tdb.commands.binding import Options
from tdb.commands.flow import Quit
from tdb.elsewhere.carried import carried_from
from tdb.elsewhere.channel import Channel, flush_streams, kill_children
from tdb.elsewhere.portable import portable
from tdb.errors import TdbError, in_words
from tdb.front import still_running
from tdb.prompt_python import run_python
from tdb.results import Result
from tdb.shell.line_ends import begin_line, forget_line
from tdb.shell.parse import understand
from tdb.standing import OVER, RUNNING
from tdb.stopping import stop_report
from tdb.this_step import look as look_at
from tdb.typed import Typed

if TYPE_CHECKING:
    from tdb.front import Meanwhile
    from tdb.session import Session
    from tdb.shell.interpreter import Interpreter
    from tdb.shell.show import Show
    from tdb.travel.route import Landing

POLL_SECONDS = 0.02
QUICK_SECONDS = 0.2
"""What takes longer is listened for."""
STATE_SECONDS = 0.2
END_SECONDS = 10.0


class HandOver(BaseException):
    """Training is to go on in yet another process, which only the front can bring about.

    Args:
        function: what the front is to do; see `tdb.travel.route.by_best`.
        arguments: its arguments after the session and the way.
    """

    def __init__(self, function: Callable[..., Result], arguments: tuple[Any, ...]) -> None:
        super().__init__(function, arguments)
        self.function = function
        self.arguments = arguments


class SentShow:
    """Sends answers instead of showing them; see `tdb.shell.show.Show`."""

    def __init__(self, session: Session, channel: Channel) -> None:
        self._session = session
        self._channel = channel
        self.silent = self.json = False

    def result(self, typed: Typed, result: Result, options: Options) -> None:
        """Send the answer to a command."""
        self._send("result", typed.text, typed.name, portable(result), options)

    def error(self, typed: Typed, error: TdbError, location: str = "") -> None:
        """Send what was wrong."""
        said = (error.code, error.message, error.hint, error.exit_status)
        self._send("error", typed.text, typed.name, said, location)

    def notice(self, text: str) -> None:
        """Send a line that is no answer."""
        self._send("notice", text)

    def line(self, text: str) -> None:
        """Send a line."""
        self._send("line", text)

    def echo(self, prompt: str, line: str) -> None:
        """Send a script's line."""
        self._send("line", f"{prompt}{line}")

    def output(self, text: str) -> None:
        """Send what training has printed."""
        self._send("output", text)

    def into(self, buffer: TextIO, typed: Typed, result: Result, options: Options) -> None:
        """Show an answer as plain text in `buffer`."""
        self._here.into(buffer, typed, result, options)

    @cached_property
    def _here(self) -> Show:
        """What shows in this process, for a program that it feeds."""
        from tdb.shell.figures import FigureSink
        from tdb.shell.show import Show

        sink = FigureSink(self._session.settings["figures"], out=sys.stdout, interactive=False)
        return Show(self._session, sink, sys.stdout, sys.stderr, json=self.json)

    def _send(self, *message: Any) -> None:
        if not self.silent:
            if message[0] in ("result", "error"):
                with suppress(OSError, ValueError):  # the script may have closed it
                    begin_line(sys.stdout if message[0] == "result" else sys.stderr)
                flush_streams()  # what training printed comes before the answer that says it has stopped
                self._channel.send("state", state_of(self._session), self._session.whereabouts())
            self._channel.send(*message)


class SentFront:
    """Waits for training, tells the front how it is getting on, and hears when it is to stop."""

    captures = False

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.interrupted = False

    def wait(
        self, session: Session, goal: int | None, seconds: float = inf, *, meanwhile: Meanwhile | None = None
    ) -> None:
        """Block until training does not run, or so long, or until what is done meanwhile is answered."""
        del goal
        told = 0.0
        for _ in still_running(session, seconds, meanwhile):
            session.main_thread.attend()
            message = taken_midway(self._channel, 0)
            if message is not None and message[0] == "pause":
                self.interrupted = True
                (session.controller.pause if meanwhile is None else meanwhile.interrupt)()
            if time.monotonic() - told > STATE_SECONDS:
                told = time.monotonic()
                self._channel.send("state", state_of(session), session.whereabouts())

    @contextmanager
    def listening(self, interrupt: Callable[[], object]) -> Iterator[None]:
        """Call `interrupt` if the front wants what takes so long to stop, or has gone."""
        is_done = threading.Event()

        def listen() -> None:
            is_done.wait(QUICK_SECONDS)
            while not is_done.is_set():
                try:
                    message = self._channel.take(POLL_SECONDS)
                except EOFError:  # the server comes to that next
                    interrupt()
                    return
                if message is None:
                    continue
                interrupt()
                if message[0] != "pause":  # the front closes
                    self._channel.give_back(message)
                    return

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            yield
        finally:
            is_done.set()
            listener.join()

    def confirm(self, question: str) -> bool:
        """Let the front ask."""
        return bool(asked(self._channel, "confirm", question))

    def printed(self, text: str) -> None:
        """Pass it on."""
        self._channel.send("output", text)

    def divert(self, send: Callable[[str], object]) -> None:
        """What is printed here goes to the front already."""


def asked(channel: Channel, *question: Any) -> Any:
    """Ask the front something, and return its answer."""
    channel.send(*question)
    while True:
        message = taken_midway(channel, None)
        if message is not None and message[0] == "answer":
            return message[1]


def taken_midway(channel: Channel, seconds: float | None) -> tuple[Any, ...] | None:
    """Return the next message, as `channel.take` does, in the middle of what the front has asked for.

    Raises:
        Quit: the front closes; the message is left to the server, which comes to it next.
    """
    message = channel.take(seconds)
    if message is not None and message[0] == "close":
        channel.give_back(message)
        raise Quit(None)
    return message


def state_of(session: Session) -> dict[str, Any]:
    """Return what the front has to know of training."""
    run = session.run
    state = session.state()
    over = state["status"] in OVER
    return {
        **state,
        "crashed": run is not None and run.error is not None,
        "error": "" if run is None or run.error is None else in_words(run.error),
        "exit code": run.exit_code if run is not None and over else 0,
        "caught": any(hit.is_catch for hit in session.armed.now),
    }


class Server:
    """Runs the lines that the front sends, until it closes."""

    def __init__(self, interpreter: Interpreter, channel: Channel) -> None:
        self._interpreter = interpreter
        self._session = interpreter.session
        self._channel = channel
        self._told = 0.0

    def serve(self) -> None:
        """Answer the front until it has had enough; the process ends with that."""
        try:
            while True:
                self._session.main_thread.attend()
                message = self._channel.take(POLL_SECONDS)
                if message is None:
                    self._tell_stop()
                    continue
                if message[0] == "close":
                    self._end(unwind=message[1])
                self._answer(*message)
        except (EOFError, OSError):
            os._exit(1)

    def arrived(self, landing: Landing) -> None:
        """Say that training has come to the step that it was to come to."""
        flush_streams()
        self._interpreter.told(stop_report(self._session))
        self._channel.send("arrived", landing, state_of(self._session))

    def _tell_stop(self) -> None:
        """Say how training in the background is getting on, and that it has stopped."""
        if self._session.status == RUNNING and time.monotonic() - self._told > STATE_SECONDS:
            self._told = time.monotonic()
            self._channel.send("state", state_of(self._session), self._session.whereabouts())
        if self._interpreter.stop_untold:
            flush_streams()
            self._channel.send("stopped", state_of(self._session))
            self._interpreter.tell_stop()
            self._channel.send("told")

    def _answer(self, kind: str, *contents: Any) -> None:
        """Do what a message asks for, and say that it is done."""
        interpreter = self._interpreter
        doing: dict[str, Callable[..., Any]] = {
            "run": interpreter.run_piece,
            "read": interpreter.execute,
            "end": interpreter.end_reader,
            "abandon": interpreter.abandon,
            "report": self._report,
            "fetch": self._fetch,
            "pause": self._session.controller.pause,
        }
        try:
            succeeded = doing[kind](*contents)
        except HandOver as leaving:
            typed = understand(self._session.typed, self._session.registry)
            carried = carried_from(self._session)
            self._channel.send("hand over", typed.text, typed.name, leaving.function, leaving.arguments, carried)
        except Quit as quitting:
            self._done(True, (quitting.status,))
        else:
            if kind != "pause":
                self._done(succeeded is not False, None)

    def _report(self) -> None:
        self._interpreter.show.result(Typed("goto"), self._interpreter.told(stop_report(self._session)), Options())

    def _fetch(self, what: str, text: str) -> None:
        session, show, typed = self._session, self._interpreter.show, Typed(text, event="fetch")
        look: dict[str, Callable[[], Any]] = {
            "batch": session.controller.get_batch,
            "data": lambda: look_at(session, text),
            "value": lambda: run_python(session, text),
        }
        try:
            show.result(typed, Result(data={"value": look[what]()}), Options())
        except TdbError as error:
            show.error(typed, error)

    def _done(self, succeeded: bool, left: tuple[int | None] | None) -> None:
        flush_streams()
        settings = self._session.settings.changed()
        self._channel.send("done", succeeded, left, self._interpreter.reading, state_of(self._session), settings)

    def _end(self, *, unwind: bool) -> None:
        """End training, unwinding the script if it is the run that counts, and with it this process."""
        session = self._session
        if unwind:
            session.controller.stop()
            session.controller.gate.dismiss()
            if session.run is not None:
                session.run.ends_within(END_SECONDS, session.main_thread.attend)
            atexit._run_exitfuncs()  # noqa: SLF001 - the script's own, such as a logger's: no orderly exit follows
            flush_streams()
            self._channel.send("ended", state_of(session))
        kill_children()
        os._exit(0)


_heard: tuple[int, ...] = ()
"""Where stdout and stderr lead, while they are muted."""


@contextmanager
def muted() -> Iterator[None]:
    """Let nothing that is printed reach stdout and stderr, not even from C: it has been printed before."""
    global _heard  # noqa: PLW0603 - there is one stdout in a process
    flush_streams()
    _heard = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        unmute()


def unmute() -> None:
    """Let what is printed be heard again, also in a copy of the process that was made while it was not."""
    global _heard  # noqa: PLW0603 - as above
    flush_streams()
    for number, descriptor in enumerate(_heard, 1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    _heard = ()
    for stream in (sys.stdout, sys.stderr):
        forget_line(stream)
