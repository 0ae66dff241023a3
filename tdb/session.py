"""A debugging session: what every command is given. It knows training and the settings, and nothing of a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from tdb.armed import Armed
from tdb.crashes import crash_hits
from tdb.displays import Displays
from tdb.elsewhere.forks import Fork
from tdb.elsewhere.known_branches import KnownBranches
from tdb.elsewhere.rerun import Rerun
from tdb.errors import StateError
from tdb.front import PlainFront
from tdb.in_force import put_in_force
from tdb.journal import Journal
from tdb.main_thread import MainThread
from tdb.namespace import StepNamespace
from tdb.prompt_python import PromptNamespace
from tdb.settings import Settings
from tdb.stack import Stack
from tdb.standing import CRASHED, FINISHED, OVER, READY, RUNNING, STOPPED
from tdb.travel.in_place import InPlace
from tdb.variables import variables_of

if TYPE_CHECKING:
    from tdb.commands import Registry
    from tdb.commands.recording import RecordingFile
    from tdb.controller import DebugController
    from tdb.elsewhere.link import Link
    from tdb.front import Front, Lines
    from tdb.launch import Run
    from tdb.step import Step
    from tdb.stops import Hit
    from tdb.travel.route import Route

Value = TypeVar("Value")

# How long a question about the step under way may take to be answered by a slow training step.
PEEK_SECONDS = 60.0
THREAD = "threading.Thread(target=train).start()"


class Session:
    """Training, the settings, and what was typed so far.

    Attributes:
        controller: of training, in this process.
        registry: the commands.
        front: what stands before the session.
        shell: what runs lines, for the commands that run others.
        settings: in force.
        armed: what may stop training.
        stack: where training stands in the script.
        displays: what is shown at each stop.
        aliases: what the user's own words stand for.
        typed: the line that is being answered, for errors with a caret.
        main_thread: does what only that thread may.
        run: the script, if tdb has started it.
        thread_error: what ended a thread that trained, if tdb has not started it.
        names: made at the prompt.
        typed_lines: the lines so far, as `history` shows them.
        journal: those that were answered, with where training stood.
        recording: the file that they are written to, if one was asked for.
        elsewhere: training in another process, if it goes on there.
        branches: of a run that cannot go back in place.
        value: the last value that Python at the prompt gave: `$_`.
        routes: the ways to another step, the best one first.
    """

    def __init__(self, controller: DebugController, registry: Registry, front: Front | None = None) -> None:
        self.controller = controller
        self.registry = registry
        self.front: Front = front or PlainFront()
        self.settings = Settings()
        self.stack = Stack(controller.gate, lambda: self.error)
        self.armed = Armed(controller, StepNamespace(controller, self.settings.thresholds, self.variables))
        self.displays = Displays()
        self.aliases: dict[str, str] = {}
        self.typed = ""
        self.main_thread = MainThread()
        self.run: Run | None = None
        self.thread_error: BaseException | None = None
        self.shell: Lines
        self.names = PromptNamespace()
        self.typed_lines: list[str] = []
        self.journal = Journal()
        self.recording: RecordingFile | None = None
        self.elsewhere: Link | None = None
        self.branches = KnownBranches()
        self.value: Any = None
        self.routes: list[Route] = [InPlace(), Fork(), Rerun()]
        self._adopted: list[Callable[..., Any]] = []
        self._crash_hits: list[Hit] | None = None
        self.settings.on_change(partial(put_in_force, self))

    def typed_before(self, text: str) -> str:
        """Return what was typed before `text`, so that an error shows the line as it was typed; empty if nothing."""
        return self.typed.rpartition(text)[0]

    def variables(self) -> Iterator[Mapping[str, Any]]:
        """Give what names mean where the loop waits, the innermost scope first; after its end, those of the script.

        Of a name that is in none of the innermost, the nearest caller's variable is meant: a loop may make its update
        in a function of its own. Asked in the training thread, or after its end.
        """
        for frame in self.stack.of_loop():
            yield variables_of(frame)
            yield frame.f_globals
        if self.run is not None and self.run.module is not None and self.status == FINISHED:
            yield vars(self.run.module)

    def go_on_alone(self, front: Front) -> None:
        """This process is a copy in which only the training thread has come along; called by that thread.

        What belongs to the user's lines stays with the front that is left behind.
        """
        self.controller.alone()
        self.main_thread, self.journal = MainThread(), Journal()
        self.front, self.recording, self.elsewhere = front, None, None

    def route(self, name: str) -> Any:
        """Return the route of this name."""
        return next(route for route in self.routes if route.name == name)

    def adopt_panels(self) -> None:
        """Take in the commands of the script, and of learning rules that have declared themselves since."""
        for commands in (self.controller.commands, *(panel.commands for panel in self.controller.panels)):
            # Of two layers under one rule, or of one that is attached anew, the commands are the same.
            new = [function for function in commands if function not in self._adopted]
            self._adopted += new
            self.registry.add(new)

    # ---- training --------------------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """Training's status; "ready" until the script is started."""
        return self.controller.gate.status if self.elsewhere is None else self.elsewhere.status

    @property
    def error(self) -> BaseException | None:
        """What ended training, if it crashed."""
        if self.run is not None:
            return self.run.error
        return self.thread_error if self.status == CRASHED else None  # another loop may have followed

    def crashed(self, error: BaseException) -> None:
        """A thread that tdb has not started has trained, and ended with `error`."""
        self.thread_error, self._crash_hits = error, None

    def state(self) -> dict[str, Any]:
        """Return the controller's state, and how many times training has stopped, wherever it goes on."""
        if self.elsewhere is not None:
            return self.elsewhere.state()
        return {**self.controller.get_state(), "stops": self.controller.gate.stops}

    def pause(self) -> None:
        """Ask training to stop at the next whole step, wherever it goes on."""
        (self.controller if self.elsewhere is None else self.elsewhere).pause()

    def whereabouts(self) -> str:
        """Return where training is, in words."""
        return self.stack.whereabouts() if self.elsewhere is None else self.elsewhere.whereabouts()

    # ---- what a command needs of it --------------------------------------------------------------------------------

    def need_not_running(self) -> str:
        """Raise StateError while training runs; otherwise return its status."""
        status = self.status
        if status == RUNNING:
            step = self.controller.get_state()["step"]
            raise StateError(f"training is running (step {step})", "`pause` first, or Ctrl-C")
        return status

    def need_stopped(self) -> None:
        """Raise StateError unless training is stopped, at a boundary or inside a step."""
        status = self.need_not_running()
        if status == READY:
            by_whom = (
                "`start`, `step` or `continue` begins it" if self.run is not None else f"Its thread begins it: {THREAD}"
            )
            raise StateError("training has not started", by_whom)
        if status in OVER:
            what_next = "`quit` leaves" if self.run is not None else "`tdb.attach` begins anew"
            raise StateError(f"training is over ({self._how_it_ended()})", f"looking commands still work, {what_next}")

    def _how_it_ended(self) -> str:
        state = self.controller.get_state()
        return f"{state['status']} at step {state['step']}"

    def need_boundary(self) -> None:
        """Raise StateError unless training is stopped between two steps."""
        self.need_stopped()
        if self.controller.is_inside:
            raise StateError(f"this step is at {self.controller.progress.phase}", "`step` completes it")

    def need_begun(self) -> None:
        """Raise StateError unless a step has been taken that can be looked at, and training does not run."""
        self.need_not_running()
        if self.controller.position.tick == 0 and not self.controller.is_inside:
            raise self._no_step()

    # ---- asking the training thread --------------------------------------------------------------------------------

    def record(self) -> Step:
        """Return the last step that was captured: where training stopped, or its next whole step while it runs.

        Raises:
            StateError: no step was captured yet.
        """
        if self.status == RUNNING:
            return self._wait_for(self.controller.peek(lambda record: record), at_a_stop=self.record)
        record = self.controller.record
        if record.clock.step == 0 and not record.has_batch and self.controller.position.tick == 0:
            raise self._no_step()
        return record

    def _no_step(self) -> StateError:
        knows_loop = self.run is not None or self.controller.target is not None
        by_whom = "`step` takes the first" if knows_loop else "tdb.attach(model, optimizer) tells of the loop"
        return StateError("no step has been taken yet", by_whom)

    def _wait_for(self, future: Future[Value], at_a_stop: Callable[[], Value] | None = None) -> Value:
        """Wait for something that the training thread was asked for.

        Args:
            future: what was asked for.
            at_a_stop: asks anew, for where training has stopped there is no next step to wait for.

        Raises:
            StateError: training takes too long over its step, or is over; what was asked for is not done later.
        """
        try:
            return self._wait_in_time(future, at_a_stop)
        finally:
            future.cancel()  # if there was none, after a Ctrl-C, too

    def _wait_in_time(self, future: Future[Value], at_a_stop: Callable[[], Value] | None) -> Value:
        waited = 0.0
        while waited < PEEK_SECONDS:
            try:
                return future.result(timeout=0.05)
            except TimeoutError:
                self.main_thread.attend()
                waited += 0.05
                status = self.status
                if status == STOPPED and at_a_stop is not None and future.cancel():
                    return at_a_stop()
                if status in OVER and not future.done():
                    break
        raise StateError("training did not reach the end of a step", "`where` shows what it is doing")

    def ask(self, function: Callable[[], Value], *, of_a_step: bool = True) -> Value:
        """Compute something of this step in the training thread; while training runs, of its next whole step.

        Args:
            function: computes it.
            of_a_step: it is of no use before the first step.

        Raises:
            StateError: no step has been taken yet.
        """
        if self.status == RUNNING:
            peeked = self.controller.peek(lambda record: function())  # noqa: ARG005
            return self._wait_for(peeked, at_a_stop=lambda: self.ask(function, of_a_step=of_a_step))
        if of_a_step:
            self.record()
        return self.controller.call(function)

    def at_boundary(self, function: Callable[[], Value]) -> Value:
        """Do something to what is recorded, in the training thread; while training runs, at its next boundary."""
        if self.status in {READY, *OVER}:
            return self.controller.call(function)
        return self._wait_for(self.controller.at_boundary(function))

    # ---- what is to be told ----------------------------------------------------------------------------------------

    def marks(self) -> dict[int, str]:
        """Return the steps at which training stopped, this one too, with why."""
        here = self.present_stop()
        return ({} if here is None else {here[0]: here[1]}) | self.controller.recorder.history.marks()

    def present_stop(self) -> tuple[int, str] | None:
        """Return the step at whose end training stands, and why it stopped: history knows it once training goes on."""
        if self.status != STOPPED or self.controller.is_inside:
            return None
        return self.controller.position.step, self.controller.gate.reason

    def hits(self) -> list[Hit]:
        """Return the stop points at which training stands, or that caught what ended it."""
        error = self.error
        if self.status != CRASHED or error is None:
            return self.armed.now
        if self._crash_hits is None:
            position = self.controller.position
            self._crash_hits = crash_hits(iter(self.armed.points), error, position.step)
        return self._crash_hits

    def take_notices(self) -> list[str]:
        """Return what has to be said once: what was put back or not assigned, and what stop points wait for."""
        notices = [*self.controller.take_notices(), *self.names.take_notices(), *self.journal.take_notices()]
        if self.status == RUNNING:
            return notices
        return [*notices, *self.branches.part_from_changes(self), *self.armed.take_notices()]
