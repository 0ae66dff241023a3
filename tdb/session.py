"""A debugging session: what every command is given. It knows training and the settings, and nothing of a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tdb.carry import MainThread
from tdb.errors import StateError, TdbError, did_you_mean
from tdb.features import features_of, panel_of, sources_of
from tdb.frames import Namespace, place_of, stack_of, stack_of_error
from tdb.gate import CRASHED, OVER, READY, RUNNING, STOPPED
from tdb.ids import ids_of
from tdb.layer import GENERIC_METRICS, layers_with_features
from tdb.settings import SETTINGS, Settings
from tdb.tensors import look_up, tensor_value

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from torch import Tensor, nn

    from tdb.commands import Registry
    from tdb.controller import DebugController
    from tdb.features import Features
    from tdb.frames import Place
    from tdb.launch import Run
    from tdb.results import Array
    from tdb.step import Step

Value = TypeVar("Value")

# How long a question about the step under way may take to be answered by a slow training step.
PEEK_SECONDS = 60.0
# Before there is a layer nobody knows how many features it will have.
ANY_FEATURE = 2**31


class Front(Protocol):
    """What stands before the session: a terminal, a script, a program."""

    def wait(self, session: Session, goal: int | None) -> None:
        """Block until training does not run; `goal` is the step at which it is meant to stop, if known."""

    def confirm(self, question: str) -> bool:
        """Ask; a front without anybody to ask says yes."""


class Lines(Protocol):
    """What runs lines: the shell, for the commands that run other commands."""

    def source(self, path: Path) -> bool:
        """Run the lines of a file; return whether all succeeded."""

    def pipe(self, line: str, program: str) -> int:
        """Feed what a command shows to a program; return its exit status."""


class PlainFront:
    """A front without a terminal: it waits, and never asks."""

    def wait(self, session: Session, goal: int | None) -> None:
        """Block until training does not run."""
        del goal
        while session.controller.wait(timeout=0.05) == RUNNING:
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
        self.main_thread = MainThread()
        self.run: Run | None = None
        self.shell: Lines
        self.names = Namespace()
        self.history: list[str] = []
        self.value: Any = None
        self._panels_seen = 0
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
        thresholds = {name: self.settings[f"status.{name}"] for name in ("dead", "winner")}
        chosen = {name: value for name, value in thresholds.items() if value != SETTINGS[f"status.{name}"].default}
        return self.ask(lambda: features_of(self.controller, chosen))

    def at_boundary(self, function: Callable[[], Value]) -> Value:
        """Do something to what is recorded, in the training thread; while training runs, at its next boundary."""
        if self.status == RUNNING:
            return self.answer(self.controller.at_boundary(function))
        return self.controller.call(function)

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
        """Return the selected frame: the innermost of the user's, or where training crashed."""
        frames = self.frames()
        return frames[-1] if frames else None

    def frames(self) -> list[FrameType]:
        """Return the user's frames of the training thread, outermost first."""
        if self.status == CRASHED and self.run is not None and self.run.error is not None:
            return stack_of_error(self.run.error.__traceback__)
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
            return self.names.run(text, frame, module, self.convenience())

        if not self.settings["guard"]:
            return self.controller.gate.call(evaluate)
        return self.controller.call(evaluate, user_code=True)

    def convenience(self) -> dict[str, Any]:
        """Return the values of `$_step`, `$_epoch`, `$_`, `$_exception`."""
        state = self.controller.get_state()
        error = self.run.error if self.run is not None else None
        return {"step": state["step"], "epoch": state["epoch"], "": self.value, "exception": error}

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
