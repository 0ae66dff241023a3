"""A debugging session: what every command is given. It knows training and the settings, and nothing of a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from math import inf, prod
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from tdb.armed import ALWAYS_KNOWN, Armed
from tdb.carry import MainThread
from tdb.crashes import crash_hits
from tdb.displays import Displays
from tdb.errors import StateError, TdbError, did_you_mean
from tdb.features import features_of, panel_of, sources_of
from tdb.frames import Namespace, place_of, stack_of, stack_of_error
from tdb.gate import CRASHED, OVER, READY, RUNNING, STOPPED
from tdb.ids import ids_of
from tdb.layer import GENERIC_METRICS, layers_with_features
from tdb.selection import Selection, chain_of
from tdb.settings import SETTINGS, Settings
from tdb.tensors import look_up, tensor_value

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from torch import Tensor, nn

    from tdb.commands import Registry
    from tdb.controller import DebugController
    from tdb.displays import Display
    from tdb.features import Features
    from tdb.frames import Place
    from tdb.launch import Run
    from tdb.results import Array, Result
    from tdb.step import Step
    from tdb.stops import Hit

Value = TypeVar("Value")

# How long a question about the step under way may take to be answered by a slow training step.
PEEK_SECONDS = 60.0
POLL_SECONDS = 0.05
# Before there is a layer nobody knows how many features it will have.
ANY_FEATURE = 2**31


class Front(Protocol):
    """What stands before the session: a terminal, a script, a program."""

    def wait(self, session: Session, goal: int | None, seconds: float = inf) -> None:
        """Block until training does not run, or so long; `goal` is the step at which it is to stop, if known."""

    def confirm(self, question: str) -> bool:
        """Ask; a front without anybody to ask says yes."""


class Lines(Protocol):
    """What runs lines: the shell, for the commands that run other commands."""

    def source(self, path: Path) -> bool:
        """Run the lines of a file; return whether all succeeded."""

    def pipe(self, line: str, program: str) -> int:
        """Feed what a command shows to a program; return its exit status."""

    def displayed(self) -> Result:
        """Return what all displays show now."""

    def displayed_one(self, display: Display) -> Result:
        """Return what a display shows now."""

    def take_lines(self, reader: Reader) -> None:
        """Give the lines that follow to `reader`, until it has had enough."""


class Reader(Protocol):
    """What reads lines in the shell's place: `commands` and `interact`."""

    @property
    def prompt(self) -> str:
        """What a person is asked for the next line with."""

    def read(self, line: str) -> Result | None:
        """Take a line; return an answer to show, if there is one."""

    @property
    def done(self) -> bool:
        """Whether it has had enough."""

    def end(self) -> Result | None:
        """No more lines will come."""

    def abandon(self) -> Result | None:
        """The user has thought better of it."""


class PlainFront:
    """A front without a terminal: it waits, and never asks."""

    def wait(self, session: Session, goal: int | None, seconds: float = inf) -> None:
        """Block until training does not run, or so long."""
        del goal
        deadline = time.monotonic() + seconds
        while session.controller.wait(min(POLL_SECONDS, seconds)) == RUNNING and time.monotonic() < deadline:
            session.main_thread.attend()

    def confirm(self, question: str) -> bool:
        """Say yes."""
        del question
        return True


class Session:
    """Training, the settings, and what was typed so far."""

    def __init__(self, controller: DebugController, registry: Registry, front: Front | None = None) -> None:
        self.controller = controller
        self.registry = registry
        self.front: Front = front or PlainFront()
        self.settings = Settings()
        self.armed = Armed(controller, self._thresholds)
        self.displays = Displays()
        self.aliases: dict[str, str] = {}
        self.typed = ""  # the line that is being answered, for errors with a caret
        self.main_thread = MainThread()
        self.run: Run | None = None
        self.shell: Lines
        self.names = Namespace()
        self.history: list[str] = []
        self.value: Any = None
        self._panels_seen = 0
        self._selection = Selection()
        self._selected_at: tuple[str, int] | None = None
        self._crash_hits: list[Hit] | None = None
        self.settings.on_change(self._setting_changed)

    def _setting_changed(self, name: str, value: Any) -> None:
        recorder = self.controller.recorder
        if name == "record.every":
            recorder.every = value
        elif name == "history.budget":
            self.at_boundary(lambda: recorder.history.budget.resize(value))

    # ---- training --------------------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """Training's status; "ready" until the script is started."""
        return self.controller.gate.status

    def need_stopped(self) -> None:
        """Raise StateError unless training is stopped at a boundary."""
        status = self.status
        if status == RUNNING:
            step = self.controller.get_state()["step"]
            raise StateError(f"training is running (step {step})", "`pause` first, or Ctrl-C")
        if status == READY:
            raise StateError("training has not started", "`start`, `step` or `continue` begins it")
        if status in OVER:
            raise StateError(f"training is over ({self._how_it_ended()})", "looking commands still work, `quit` leaves")

    def need_begun(self) -> None:
        """Raise StateError unless a step has been taken that can be looked at, and training does not run."""
        if self.status == RUNNING:
            self.need_stopped()
        if self.controller.position.tick == 0:
            raise StateError("no step has been taken yet", "`step` takes the first")

    def record(self) -> Step:
        """Return the last step that was captured: where training stopped, or its next whole step while it runs.

        Raises:
            StateError: no step was captured yet.
        """
        if self.status == RUNNING:
            return self.answer(self.controller.peek(lambda record: record))
        record = self.controller.record
        if record.clock.step == 0 and not record.has_batch:
            raise StateError("no step has been taken yet", "`step` takes the first")
        return record

    def answer(self, future: Future[Value]) -> Value:
        """Wait for something that the training thread was asked for."""
        waited = 0.0
        while waited < PEEK_SECONDS:
            try:
                return future.result(timeout=0.05)
            except TimeoutError:
                self.main_thread.attend()
                waited += 0.05
                if self.status in OVER and not future.done():
                    break
        raise StateError("training did not reach the end of a step", "`where` shows what it is doing")

    def ask(self, function: Callable[[], Value]) -> Value:
        """Compute something of this step in the training thread; while training runs, of its next whole step.

        Raises:
            StateError: no step has been taken yet.
        """
        if self.status == RUNNING:
            return self.answer(self.controller.peek(lambda record: function()))  # noqa: ARG005
        self.record()
        return self.controller.call(function)

    def features(self) -> Features:
        """Return the features of this step."""
        return self.ask(lambda: features_of(self.controller, self._thresholds()))

    def _thresholds(self) -> dict[str, float]:
        """Return "dead" and "winner" where the user has set them."""
        values = {name: self.settings[f"status.{name}"] for name in ("dead", "winner")}
        return {name: value for name, value in values.items() if value != SETTINGS[f"status.{name}"].default}

    def at_boundary(self, function: Callable[[], Value]) -> Value:
        """Do something to what is recorded, in the training thread; while training runs, at its next boundary."""
        if self.status in {READY, *OVER}:
            return self.controller.call(function)
        return self.answer(self.controller.at_boundary(function))

    def some_ids(self, words: Iterable[str]) -> list[int]:
        """Return the features that words name, whether training has begun or not.

        Raises:
            TdbError: there is no such feature.
        """
        words = list(words)
        info = self.controller.layer.info
        if info is None:
            return ids_of(words, ANY_FEATURE, {})
        groups: dict[str, list[int]] = {"watch": self.controller.recorder.watched()}
        if any(word.startswith("@") and word != "@watch" for word in words):
            groups.update(self.features().groups())
        return ids_of(words, info.features, groups)

    def marks(self) -> dict[int, str]:
        """Return the steps at which training stopped, this one too, with why."""
        marks = dict(self.controller.recorder.history.marks())
        if self.status == STOPPED:
            marks.setdefault(self.controller.position.step, self.controller.gate.reason)
        return marks

    def feature_ids(self, words: Iterable[str], features: Features) -> list[int]:
        """Return the features that words such as `3`, `0:8` and `@dead` name."""
        return ids_of(words, features.count, {**features.groups(), "watch": self.controller.recorder.watched()})

    def source_rows(self, name: str) -> Tensor:
        """Return a source as rows [D, F]; called in the training thread.

        Raises:
            TdbError: there is no such source, or it has no rows.
        """
        sources = sources_of(self.controller)
        if name not in sources:
            raise TdbError(f"no source {name!r}", did_you_mean(name, sources) or f"Sources: {', '.join(sources)}")
        rows = sources[name]()
        if rows.dim() < 2:
            raise TdbError(f"{name} has shape {list(rows.shape)}, and no rows")
        return rows.flatten(1)

    def look(self, text: str) -> Array:
        """Return captured data or a source by name, with an entry and a slice, as a numpy array.

        Raises:
            TdbError: there is nothing of this name.
        """

        def find() -> Array:
            record = self.controller.record
            values: dict[str, Callable[[], Any]] = dict(sources_of(self.controller))
            values.update({name: partial(self.step_data, record, name) for name in record.data})
            value = look_up(text, values)
            if isinstance(value, Mapping):
                raise TdbError(f"{text} is a set of entries", f"Take one: {', '.join(map(str, value))}")
            return tensor_value(text, value).values

        return self.ask(find)

    def row_image_shape(self, width: int) -> tuple[int, ...] | None:
        """Return the shape of a row of `width` weights as an image, or None if it is none."""
        shape = self.controller.image_shape
        if shape is not None and width == prod(shape):
            return shape
        info = self.controller.layer.info
        if info is not None and len(info.row_shape) == 3 and info.row_shape[0] == 1 and width == prod(info.row_shape):
            return info.row_shape[1:]
        return None

    def model(self) -> nn.Module:
        """Return the model that is trained.

        Raises:
            StateError: nobody has said which.
        """
        model = getattr(self.controller.target, "model", None)
        if model is None:
            raise StateError("no model is known", "It is once training has begun: `start`")
        found: nn.Module = model
        return found

    def step_data(self, record: Step, key: str) -> Any:
        """Return what `record` holds under `key`, computing it if nobody has looked at it yet.

        Raises:
            UnknownKeyError: nothing was captured under `key`.
        """
        if key in record.data and record is not self.controller.record:
            return record.data[key]
        return self.controller.get_step_data(key)

    def place(self) -> Place | None:
        """Return where the training thread is in the user's code."""
        frame = self.frame()
        return place_of(frame) if frame is not None else None

    def frame(self) -> FrameType | None:
        """Return the selected frame: the innermost of the user's, or where training crashed, unless `up` moved it."""
        return self.selection.frame(self.frames())

    @property
    def selection(self) -> Selection:
        """Which frame is selected; at another stop than before, the innermost is again."""
        stop = self.status, self.controller.gate.stops
        if stop != self._selected_at:
            self._selected_at, self._selection = stop, Selection()
        return self._selection

    def errors(self) -> list[BaseException]:
        """Return the exception that ended training with those that led to it, the first cause first; or none."""
        return chain_of(self.run.error) if self.run is not None and self.run.error is not None else []

    def hits(self) -> list[Hit]:
        """Return the stop points at which training stands, or that caught what ended it."""
        if self.status != CRASHED or self.run is None or self.run.error is None:
            return self.armed.now
        if self._crash_hits is None:
            position = self.controller.position
            self._crash_hits = crash_hits(iter(self.armed.points), self.run.error, position.step)
        return self._crash_hits

    def looked_up(self, names: Iterable[str]) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
        """Return the shapes of names that have a value in this step, and a note on each of the others.

        Before the first step nothing can be said of any.
        """
        names = list(names)
        if self.controller.position.tick == 0 or set(names) <= ALWAYS_KNOWN:
            return {}, {}
        namespace = self.armed.namespace

        def look() -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
            self.armed.renew()
            shapes: dict[str, tuple[int, ...]] = {}
            for name in names:
                with suppress(KeyError, TdbError):
                    shapes[name] = np.shape(namespace[name])
            missing = [name for name in names if name not in shapes]
            known = list(namespace) if missing else []
            return shapes, {name: _unknown(name, known) for name in missing}

        return self.at_boundary(look)

    def take_notices(self) -> list[str]:
        """Return what has to be said once: what was put back or not assigned, and what stop points wait for."""
        notices = [*self.controller.take_notices(), *self.names.take_notices()]
        return notices if self.status == RUNNING else [*notices, *self.armed.take_notices()]

    def frames(self) -> list[FrameType]:
        """Return the user's frames of the training thread, outermost first."""
        if self.status == CRASHED and self.run is not None and self.run.error is not None:
            return stack_of_error(self.selection.error(self.errors()).__traceback__)
        return stack_of(self.controller.gate.thread) if self.status in (RUNNING, STOPPED) else []

    def python(self, text: str) -> Any:
        """Evaluate Python in the selected frame, in the training thread, so that training does not notice.

        Raises:
            StateError: training is running.
            TdbError: what the Python raised.
        """
        if self.status == RUNNING:
            self.need_stopped()
        frame = self.frame()
        module: Mapping[str, Any] = vars(self.run.module) if self.run is not None and self.run.module else {}

        def evaluate() -> Any:
            return self.names.run(text, frame, module, self.convenience(), lasting=self.status not in OVER)

        if not self.settings["guard"]:
            return self.controller.gate.call(evaluate)
        return self.controller.call(evaluate, user_code=True)

    def convenience(self) -> dict[str, Any]:
        """Return the values of `$_step`, `$_epoch`, `$_`, `$_exception`, `$_bpnum`."""
        state, errors = self.controller.get_state(), self.errors()
        return {
            "step": state["step"],
            "epoch": state["epoch"],
            "": self.value,
            "exception": self.selection.error(errors) if errors else None,
            "bpnum": self.armed.points.last_number,
        }

    def _how_it_ended(self) -> str:
        state = self.controller.get_state()
        return f"{state['status']} at step {state['step']}"

    # ---- names, for completion and messages ------------------------------------------------------------------------

    def key_names(self) -> Iterable[tuple[str, str]]:
        """Return the keys of the step data, with their kind."""
        return ((key, "step data") for key in self.controller.record.data)

    def metric_names(self) -> Iterable[tuple[str, str]]:
        """Return the metrics of the focus layer, with their meaning."""
        panel = panel_of(self.controller)
        own = [(name, "metric of the rule") for name in (panel.columns if panel is not None else ())]
        return [*own, *GENERIC_METRICS.items()]

    def source_names(self) -> Iterable[tuple[str, str]]:
        """Return the sources of the focus layer."""
        return ((name, "source") for name in sources_of(self.controller))

    def layer_names(self) -> Iterable[tuple[str, str]]:
        """Return the layers that have features."""
        model = getattr(self.controller.target, "model", None)
        return [] if model is None else [(info.name, info.kind) for info in layers_with_features(model)]

    def command_names(self) -> Iterable[tuple[str, str]]:
        """Return every command with its first line of help."""
        return ((command.name, command.summary) for command in self.registry)

    def adopt_panels(self) -> None:
        """Take in the commands of learning rules that have declared themselves since."""
        for panel in self.controller.panels[self._panels_seen :]:
            self.registry.add(panel.commands)
        self._panels_seen = len(self.controller.panels)


def _unknown(name: str, known: Iterable[str]) -> str:
    near = did_you_mean(name, known)
    return f"no metric, key or variable {name!r}{f'. {near}' if near else ''}"
