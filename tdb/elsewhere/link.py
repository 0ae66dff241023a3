"""The front's side: training goes on in another process, lines are forwarded to it, and what it answers is shown."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from tdb.commands.binding import Options
from tdb.commands.flow import Quit
from tdb.elsewhere.answers import Collected, Shown
from tdb.elsewhere.way import Elsewhere
from tdb.errors import StateError, TdbError
from tdb.results import Result
from tdb.standing import RUNNING, STOPPED
from tdb.step import Position
from tdb.typed import Typed

if TYPE_CHECKING:
    from tdb.elsewhere.carried import Carried
    from tdb.elsewhere.channel import Channel
    from tdb.session import Session
    from tdb.travel.route import Landing

END_SECONDS = 12.0
SIDE_EFFECTS = "files and connections are as the script left them: what it does again, it does to them"
FINAL = frozenset({"done", "hand over", "not arrived", "arrived", "ended"})


class Reading(NamedTuple):
    """How a command in the other process reads the lines that follow; see `tdb.front.Reader`."""

    prompt: str
    last_line: str
    line_if_abandoned: str | None


class Link:
    """Training in another process.

    To whoever waits for training it looks like a session with a controller, as far as waiting goes.

    Args:
        session: the front's.
        channel: to the other process.
        process: its number.
        started: the process itself, if this one has started it.
    """

    def __init__(
        self, session: Session, channel: Channel, process: int, started: subprocess.Popen[bytes] | None = None
    ) -> None:
        self.main_thread = session.main_thread
        self.reading: Reading | None = None
        self.process = process
        self._started = started
        self.landing: Landing | None = None
        self._session = session
        self._channel = channel
        self._pending: deque[tuple[Any, ...]] = deque()
        self._state: dict[str, Any] = {**session.state(), "crashed": False, "exit code": 0, "caught": False}
        self._whereabouts = "starting"
        self._is_gone = False

    # ---- what the front's waiting asks of a session ----------------------------------------------------------------

    @property
    def controller(self) -> Link:
        """Itself: it is waited for like a controller."""
        return self

    @property
    def status(self) -> str:
        """Training's status."""
        return str(self._state["status"])

    @property
    def position(self) -> Position:
        """Where training is."""
        state = self._state
        return Position(state["tick"], state["step"], state["epoch"], state["loss"])

    def state(self) -> dict[str, Any]:
        """Return the other process's state, as it was last told."""
        return self._state

    def whereabouts(self) -> str:
        """Return where training is, in words."""
        return self._whereabouts

    def pause(self) -> None:
        """Ask training to stop at the next whole step."""
        with suppress(OSError):
            self._channel.send("pause")

    def wait(self, timeout: float | None = None) -> str:
        """Block until there is something to show, at most so long; "running" until then."""
        deadline = time.monotonic() + (timeout or 0.0)
        while not self._pending:
            if not self._hear(max(0.0, deadline - time.monotonic())):
                return RUNNING
        return STOPPED

    def take_notices(self) -> list[str]:
        """Return nothing: what there is to tell comes as lines that were answered."""
        return []

    # ---- what the shell asks ---------------------------------------------------------------------------------------

    def run(self, shown: Shown, kind: str, *contents: Any) -> bool:
        """Let the other process do something, show what it answers, and return whether it succeeded.

        Raises:
            Quit: it says that the user leaves.
            StateError: the other process has gone; training stands where it was left in this one.
        """
        try:
            self._channel.send(kind, *contents)
        except OSError:
            self._pending.append(("gone",))
        return self._until_final(shown)

    def fetch(self, what: str, text: str) -> Any:
        """Return a value of the other process as plain data: "batch", or the "data" or Python "value" that text names.

        Raises:
            TdbError: as the shell would say.
        """
        return (self._collected("fetch", what, text).data or {}).get("value")

    def answer_to(self, line: str) -> Result:
        """Return what the other process answers to a line.

        Raises:
            TdbError: it says what is wrong.
        """
        return self._collected("run", line, None)

    def report(self) -> Result:
        """Return what is said of where training stands."""
        return self._collected("report")

    @property
    def stop_untold(self) -> bool:
        """Whether training has stopped in the background, and nothing shown so far has said so."""
        while self._hear(0.0):
            pass
        return self._has_any("told")

    def show_stop(self, shown: Shown) -> None:
        """Show that training has stopped in the background."""
        while self._pending:
            message = self._pending.popleft()
            if message[0] == "told":
                return
            self._show(shown, *message)

    def order(self, order: Any) -> None:
        """Tell a fresh process what to do."""
        with suppress(OSError):  # it has gone already: `arrived` says so
            self._channel.send("order", order)

    def arrived(self) -> Landing:
        """Wait until the other process has come to the step that it was started for.

        Raises:
            StateError: it has not.
        """
        while self.landing is None:
            self._until_final(Collected())  # nothing is shown on the way
        notes = [*self.landing.notes]
        if self._session.journal.first("side effects"):
            notes.append(SIDE_EFFECTS)
        return self.landing._replace(notes=notes)

    def close(self, *, unwind: bool) -> None:
        """End the other process: with `unwind` its script ends as if training were told to stop here."""
        with suppress(OSError, EOFError):
            self._channel.send("close", unwind)
            deadline = time.monotonic() + END_SECONDS
            while unwind and time.monotonic() < deadline and not self._has_any("ended", "gone"):
                self._hear(0.1)
                self.main_thread.attend()
        self.kill()

    def leave(self) -> None:
        """Close this end, in a copy of the front that has nothing to do with the other process."""
        self._channel.close()

    def kill(self) -> None:
        """Let nothing be left of the other process."""
        if not self._is_gone:
            with suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)
        self._exit_status()
        self._channel.close()

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _collected(self, kind: str, *contents: Any) -> Result:
        collected = Collected()
        self.run(collected, kind, *contents)
        return collected.answer()

    def _until_final(self, shown: Shown) -> bool:
        while True:
            self._session.front.wait(cast("Session", self), None)
            while self._pending:
                message = self._pending.popleft()
                if message[0] in FINAL or message[0] == "gone":
                    return self._final(shown, *message)
                self._show(shown, *message)

    def _hear(self, seconds: float) -> bool:
        """Take one message; return whether there was one."""
        if self._has_any("gone"):
            return False
        try:
            message = self._channel.take(seconds)
        except EOFError:
            self._pending.append(("gone",))
            return True
        if message is None:
            return False
        kind, *contents = message
        if kind == "state":
            self._state, self._whereabouts = contents
        elif kind == "parked":
            self._session.route("fork").adopt(*contents, self._channel.take_connection())
        elif kind == "drop":
            self._session.route("fork").drop_after(*contents)
        elif kind == "output":
            self._session.front.printed(contents[0])
        elif kind == "refusal":
            self._answer(lambda: self._session.route(contents[0]).refusal(self._session, contents[1]))
        elif kind == "copies":
            self._answer(self._session.route("fork").copies)
        elif kind == "confirm":
            self._answer(lambda: self._session.front.confirm(contents[0]))
        else:
            self._state = self._state_after(kind, *contents)
            self._pending.append(message)
        return True

    def _state_after(self, kind: str, *contents: Any) -> dict[str, Any]:
        """Return the state that a message tells; an interrupted wait asks for it before the message is shown."""
        match kind, contents:
            case ("stopped" | "ended", (state,)) | ("arrived", (_, state)) | ("done", (_, _, _, state, _)):
                return dict(state)
            case ("not arrived", _) if self._session.elsewhere is not self:
                return {**self._state, **self._session.state()}
        return self._state

    def _has_any(self, *kinds: str) -> bool:
        return any(message[0] in kinds for message in self._pending)

    def _answer(self, function: Callable[[], Any]) -> None:
        with suppress(OSError):
            self._channel.send("answer", function())

    def _show(self, shown: Shown, kind: str, *contents: Any) -> None:
        if kind == "result":
            text, name, result, options = contents
            shown.result(Typed(text, event=name), result, options)
        elif kind == "error":
            text, name, (code, message, hint, exit_status), location = contents
            error = TdbError(message, hint)
            error.code, error.exit_status = code, exit_status
            shown.failed(Typed(text, event=name), error, location)
        elif kind not in ("stopped", "told"):
            shown.other(kind, contents[0])

    def _final(self, shown: Shown, kind: str, *contents: Any) -> bool:
        if kind == "done":
            succeeded, left, reading, _, settings = contents
            self.reading = Reading(*reading) if reading is not None else None
            self._session.settings.become(settings)  # what is set there holds for what is shown here
            if left is not None:
                raise Quit(left[0])
            return bool(succeeded)
        if kind == "arrived":
            self.landing = contents[0]
            return True
        if kind == "ended":
            return True
        if kind == "not arrived":
            self.kill()
            raise StateError(*contents)
        if kind == "hand over":
            return self._hand_over(shown, *contents)
        return self._gone()

    def _hand_over(
        self,
        shown: Shown,
        text: str,
        name: str,
        function: Callable[..., Result],
        arguments: tuple[Any, ...],
        carried: Carried,
    ) -> bool:
        """Do what only the front can do: training goes on in yet another process."""
        typed = Typed(text, event=name)
        try:
            result = function(self._session, Elsewhere(carried), *arguments)
        except TdbError as error:
            shown.failed(typed, error, "")
            return False
        shown.result(typed, result, Options())
        return True

    def _exit_status(self) -> int | None:
        """Wait for the end of the other process; return its exit status, negative for a signal, if it can be known."""
        self._is_gone = True
        if self._started is not None:
            return self._started.wait()
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        except ChildProcessError:  # a copy of a copy is no child of ours
            return None

    def _gone(self) -> bool:
        status = self._exit_status()
        self._channel.close()
        how = f" ({signal.Signals(-status).name})" if status is not None and status < 0 else ""
        if self._session.elsewhere is self:
            self._session.elsewhere = None
        stands = self._session.state()
        raise StateError(
            f"the process in which training went on has gone{how}",
            f"Training stands where it was left in this one: {stands['status']} at step {stands['step']}",
        )
