"""DebugController: what a training loop hands over, and the gate at its boundaries.

    controller = DebugController()
    Thread(target=train, args=(controller,)).start()

    def train(controller):
        for step, (images, labels) in enumerate(loader, 1):
            ...
            controller.capture_batch(images, loss, step)
            optimizer.step()
            controller.wait_if_paused()

The training thread calls `begin`, `capture_batch`, `capture_step_data` and `wait_if_paused`; everything else may be
called from any thread. While training runs freely a boundary costs one Event check, and nothing is copied: copies are
made only in a step whose boundary may stop. What comes last in the class is for a debugger that is built on it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from tdb.captures import Lazy, Lent, number
from tdb.gate import Gate
from tdb.jobs import Answer, Job, taken
from tdb.loop_side import LoopSide
from tdb.recorder import EVERY, NEVER
from tdb.standing import OVER, READY, RUNNING, STOPPED
from tdb.step import BOUNDARY
from tdb.steps import Hearing, Steps

if TYPE_CHECKING:
    from tdb.detect import Detection
    from tdb.layer import FocusLayer
    from tdb.layer_capture import LayerCapture
    from tdb.loop_side import Keeper
    from tdb.model_capture import ModelCapture
    from tdb.overhead import Measured, Overhead
    from tdb.panel import Panel
    from tdb.phases import Phases
    from tdb.recorder import Recorder
    from tdb.skip import Skip
    from tdb.step import Position, Progress, Step
    from tdb.stop_question import StopCheck
    from tdb.travel.traveller import Traveller

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Item = TypeVar("Item")


def of_the_loop(
    method: Callable[Concatenate[LoopSide, Arguments], Result],
) -> Callable[Concatenate[DebugController, Arguments], Result]:
    """Return a method that is the loop side's own: handing a call on would cost microseconds between two steps."""
    return cast("Any", property(attrgetter(f"_loop.{method.__name__}"), doc=method.__doc__))  # type: ignore[no-any-return]


class DebugController:
    """Pause, step and look into one training loop at a time.

    Attributes:
        about: names to show, such as the recipe and its condition.
        image_shape: the shape of a feature's weights as an image, if they are one.
        commands: of the script, that belong to no panel.
        loss_name: what the script calls its loss, where that is known of it and not only of a step that was captured.
    """

    def __init__(self) -> None:
        self._gate = Gate()
        self._loop = LoopSide(self._gate)
        self.about: dict[str, str] = {}
        self.loss_name = ""
        self.image_shape: tuple[int, ...] | None = None
        self.commands: list[Callable[..., Any]] = []

    # ---- control: any thread ---------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Stop at the end of the next whole step."""
        self._somebody_looks()
        self._gate.pause()

    def resume(self) -> None:
        """Run on freely."""
        self._gate.resume()

    def step(self, n: int = 1) -> int:
        """Take `n` steps, then stop; return the number granted, 0 for a loop that runs freely or is over.

        Raises:
            ValueError: `n` is less than 1.
        """
        self._somebody_looks()
        return self._gate.step(n)

    def stop(self) -> None:
        """End training: the loop is unwound by `TrainingStopped` at its next boundary. Overrides a pause."""
        self._gate.stop()

    @property
    def is_paused(self) -> bool:
        """Whether training is stopped, stepping, or about to stop."""
        return self._gate.is_paused

    def wait(self, timeout: float | None = None) -> str:
        """Block until training is stopped or over, at most `timeout` seconds; return the status."""
        return self._gate.wait(timeout)

    # ---- looking: any thread ---------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return paused, step, phase, has_batch, and of the last finished step also tick, epoch and loss.

        Where training stands inside a step, step, epoch and loss are those of that one, as far as they are known.
        While training runs, the step may be a later one than the status.
        """
        status, reason, paused = self._gate.now()
        last, record = self._loop.position, self._loop.last.record
        # A record of the inside of a step may be older: no other was captured since.
        stands = status == STOPPED and self.is_inside and record.clock.tick == last.tick
        phase = record.clock.phase if stands else BOUNDARY
        inside = phase != BOUNDARY
        return {
            "paused": paused,
            "step": record.clock.step if inside else last.step,
            "phase": phase,
            "has_batch": self.get_batch() is not None,
            "status": status,
            "epoch": record.epoch if inside else last.epoch,
            "loss": record.loss if inside else number(last.loss),
            "tick": last.tick,
            "reason": "" if status == RUNNING else reason,
        }

    def get_batch(self) -> dict[str, Any] | None:
        """Return the last captured batch with its loss, step, epoch and labels; None before the first."""
        return self._loop.last.as_batch()

    def list_step_data_keys(self) -> list[str]:
        """Return the keys captured in this step, in the order of their capture."""
        return list(self._loop.captures.under_way.data)

    def has_step_data(self, key: str) -> bool:
        """Return whether this step has something under `key`: captured, or, if it is complete, declared by a rule.

        In the training thread.
        """
        data = self._loop.captures.under_way.data
        if key not in data and self.progress.complete:
            self._loop.last.offer()  # otherwise that is done where training stops
        return key in data

    def get_step_data(self, key: str) -> Any:
        """Return the data captured under `key` in this step, computing it now if it was handed over as a function.

        Raises:
            UnknownKeyError: nothing was captured under `key`; it is also a KeyError.
            StateError: the data must be computed or copied, and training is running.
        """
        under_way = self._loop.captures.under_way
        value = under_way.value(key)
        if not isinstance(value, Lazy | Lent):
            return value
        return self.call(lambda: under_way.computed(key), user_code=True)  # it may well run the model

    def get_step_data_entry(self, key: str, name: str) -> Any:
        """Return one entry of the data captured under `key`; what is computed entry by entry is computed for it alone.

        Raises:
            LookupError: nothing was captured under `key`, or it has no such entry.
            StateError: training is running.
        """
        under_way = self._loop.captures.under_way
        return self.call(lambda: under_way.entry(key, name), user_code=True)

    # ---- watching: any thread --------------------------------------------------------------------------------------

    def add_watch(self, feature_id: int) -> None:
        """Follow a feature of the focus layer: its weights and metrics at every step from now on.

        Raises:
            UsageError: there is no such feature.
        """
        self._between_steps(lambda: self.recorder.watch([feature_id]))

    def remove_watch(self, feature_id: int) -> None:
        """Stop following a feature; its trajectory stays.

        Raises:
            UsageError: it is not watched.
        """
        self._between_steps(lambda: self.recorder.unwatch([feature_id]))

    def get_watched(self) -> list[int]:
        """Return the watched features in the order in which they were added."""
        return self.recorder.watched()

    def get_trajectories(self) -> dict[int, list[dict[str, Any]]]:
        """Return, for every feature that was ever watched, a dict a step: step, weight_cos_to_init, the metrics."""
        return self.recorder.watches.get_trajectories()

    def clear_trajectories(self) -> None:
        """Forget the trajectories; the watches stay."""
        self._between_steps(self.recorder.clear_trajectories)

    def _between_steps(self, function: Callable[[], None]) -> None:
        if self._gate.status in {READY, *OVER} or threading.current_thread() is self._gate.thread:
            self.call(function)
            self._gate.attention.set()  # a loop that asks for itself is to be heard at its next boundary
        else:
            self.at_boundary(function).result()

    # ---- what a script declares: before training -------------------------------------------------------------------

    def describe(self, **about: str) -> None:
        """Name the recipe, condition and the like; `where` shows them."""
        self.about.update(about)

    def focus_on(self, layer: str) -> None:
        """Name the layer whose output units are the features of the tables."""
        self._loop.focus_name = layer

    def add_panel(self, panel: Panel) -> None:
        """Let a learning rule show itself.

        Raises:
            ValueError: there is a panel of this name already.
        """
        if any(other.name == panel.name for other in self.panels):
            raise ValueError(f"there is a panel {panel.name!r} already")
        self.panels.append(panel)

    def remove_panel(self, name: str) -> None:
        """Forget a learning rule that is no longer attached; if there is none of this name, nothing happens."""
        self.panels[:] = [panel for panel in self.panels if panel.name != name]

    def add_commands(self, *functions: Callable[..., Any]) -> None:
        """Offer commands that belong to no panel: functions under `tdb.panel.command`; twice the same is once."""
        self.commands += [function for function in functions if function not in self.commands]

    def register_state(self, name: str, save: Callable[[], Any], load: Callable[[Any], object]) -> None:
        """Let a state of the script's own go back in time with the rest: a counter, a replay buffer, an average.

        Args:
            name: what to call it.
            save: returns the state; what it returns is copied.
            load: takes such a copy, which is its own from then on.

        Raises:
            TypeError: one of them is no function.
        """
        if not (callable(save) and callable(load)):
            raise TypeError(
                "register_state(name, save, load) takes a function that returns the state, and one that takes it"
            )
        self.travel.reach.register(name, save, load)

    # ---- the training loop -----------------------------------------------------------------------------------------

    def attach(self, target: Any) -> None:
        """A loop over `target` will follow, perhaps in another thread; nothing stops here. See `begin`."""
        self._loop.attach(target)
        self._loop.travel.reach.begin(target)
        self._gate.expect()

    def steps(
        self, batches: Iterable[Item], *, epoch: int | None = None, complete: Callable[[], bool] | None = None
    ) -> Steps[Item]:
        """Return the batches for a loop in which each of them is one step: its boundary is where the iteration ends.

        for images, labels in controller.steps(loader):
            ...

        Going over a loader again is the next epoch. An iteration that is left by `break` or by an exception was a step
        if it has updated a parameter. `capture_batch` in the body hands over more than the batch itself; a body that
        calls `wait_if_paused` has ended its step, or steps, there.

        Args:
            batches: a DataLoader, or anything else that can be iterated over.
            epoch: the loop's number of this epoch; without it they are counted from 1.
            complete: whether the iteration that has just ended is the last of its step, for a loop that accumulates
                gradients over several; without it, each is.
        """
        return Steps(self._loop, batches, epoch, complete)

    def hearing(self) -> Hearing:
        """Return what hears the losses of a loop whose steps somebody else counts, such as a framework's trainer."""
        return Hearing(self._loop)

    def begin(self, target: Any = None) -> None:
        """A loop is about to take its first step; the one place where training can stop before it.

        Args:
            target: what is trained: an object with `model` and `optimizer`, and with `last_step` if it knows the
                number of the step after which it will be done.

        Raises:
            TrainingStopped: somebody called `stop`.
        """
        self._loop.begin(target)

    def discovered(self, target: Any) -> None:
        """What is trained has been found, perhaps in the middle of a step; nothing stops here.

        Args:
            target: what is trained: see `begin`.
        """
        self._loop.discovered(target)

    capture_batch = of_the_loop(LoopSide.capture_batch)
    capture_loss = of_the_loop(LoopSide.capture_loss)
    capture_step_data = of_the_loop(LoopSide.capture_step_data)
    wait_if_paused = of_the_loop(LoopSide.wait_if_paused)
    pass_by = of_the_loop(LoopSide.pass_by)

    def stop_here(self, reason: str) -> None:
        """Block where the script is, inside a step or outside any loop, until somebody lets training go on.

        Args:
            reason: what stops, such as "breakpoint()".

        Raises:
            TrainingStopped: somebody called `stop`.
        """
        self._loop.stop_here(reason)

    def finish(self, status: str, reason: str = "", *, linger: bool = False) -> None:
        """The loop is over: "finished", "crashed" or "ended"; called by whoever started its thread.

        Args:
            status: how it ended.
            reason: one line about that.
            linger: keep the thread here to serve `call` until `gate.dismiss()`.
        """
        self._loop.finish(status, reason, linger)

    # ---- for a debugger: running something in the training thread --------------------------------------------------

    def call(self, function: Callable[[], Result], *, user_code: bool = False) -> Result:
        """Run `function` in the training thread while it is stopped, so that training does not notice.

        Args:
            function: what to run.
            user_code: also put training modes and buffers of the model back, as code typed at the prompt needs.

        Raises:
            StateError: training is running.
        """
        return self._gate.call(lambda: self._loop.guarded(function, user_code))

    def at_boundary(self, function: Callable[[], Result]) -> Future[Result]:
        """Run `function` in the training thread at its next boundary, as `call` does when it is stopped."""
        return self._gate.at_boundary(lambda: self._loop.guarded(function))

    def peek(self, look: Callable[[Step], Result]) -> Future[Result]:
        """Capture the next whole step without stopping at it, and call `look` with its record at its boundary."""
        answer: Answer[Result] = Answer(self._look_while_waiting)
        job = Job(lambda: self._loop.guarded(lambda: look(self._loop.last.record)), answer)

        def pass_on(queued: Future[None]) -> None:
            if queued.exception() is not None:
                answer.refuse("training is over")

        self._gate.at_boundary(lambda: self._loop.wanted.append(job)).add_done_callback(pass_on)
        return answer

    def _look_while_waiting(self) -> None:
        if self._gate.status in OVER:
            self._loop.wanted.refuse_all()

    def measure(self, overhead: Overhead, *others: Measured) -> None:
        """Measure what tdb costs over the next steps: in the training thread at a boundary, or while there is no loop.

        Args:
            overhead: the measurement; one that is under way already is broken off.
            others: whose methods are timed besides those of what captures and records.
        """
        self._loop.measure(overhead, *others)

    def stop_measuring(self) -> None:
        """Break off the measurement, if there is one; where `measure` may be called."""
        self._loop.stop_measuring()

    # ---- for a debugger: how training goes on ----------------------------------------------------------------------

    def when_begins(self, function: Callable[[], object]) -> None:
        """Call `function` in the training thread where a loop begins, before it may stop there."""
        self._loop.about_to_begin = function

    def when_stands(self, function: Callable[[], object]) -> None:
        """Call `function` in the training thread where the script is about to stop itself, as in `breakpoint()`."""
        self._loop.about_to_stand = function

    def stop_when(self, check: StopCheck | None) -> None:
        """Ask `check` at every boundary whether to stop there; None to ask nobody."""
        self._loop.question.check = check
        self._loop.travel.due = 0  # what is foreseen has changed
        self._gate.arm(check is not None)

    def keep_with(self, keeper: Keeper | None) -> None:
        """Let `keeper` set copies of the process aside at boundaries; None for none."""
        self._loop.keeper = keeper

    def alone(self) -> None:
        """This process is a copy in which nobody but the training thread has come along; called by that thread."""
        self._loop.wanted.clear()
        self._gate.alone()

    def rest(self) -> None:
        """Record nothing but losses that are handed over, until `awake`: nobody looks at this run."""
        self._loop.idle = True
        self.recorder.every = NEVER

    def awake(self, every: int) -> None:
        """Record the metrics every so many steps: somebody looks."""
        self._loop.idle = False
        self.recorder.every = every

    def _somebody_looks(self) -> None:
        if self._loop.idle:
            self.awake(EVERY)

    def focus_late(self) -> None:
        """Look for the focus layer once more: the model has weights that it had not when the loop began."""
        self._loop.bind_focus(self._loop.target)

    def move_focus(self, layer: str) -> str:
        """Make another layer the focus, of this step too; in the training thread.

        Returns what cannot be watched of what was named before anybody knew how many features there are.

        Raises:
            UsageError: there is no such layer, or it has no features.
        """
        self.recorder.flush()
        self.layer_capture.bind(self.target, layer)
        self.layer_capture.take_over(self.model_capture)
        self.focus_on(self.layer.name)
        return self.recorder.moved()

    def notify(self, text: str) -> None:
        """Have a line told at the prompt."""
        self._loop.notices.append(text)

    def take_notices(self) -> list[str]:
        """Return what is to be told at the prompt, such as what guarded calls had to put back; each is told once."""
        return list(taken(self._loop.notices))

    # ---- for a debugger: where training stands, and its parts ------------------------------------------------------

    @property
    def gate(self) -> Gate:
        """The gate, for those who drive training: waiting, the training thread, the end."""
        return self._gate

    @property
    def position(self) -> Position:
        """Where training is: its last finished step."""
        return self._loop.position

    @property
    def is_inside(self) -> bool:
        """Whether the step under way is being taken phase by phase, and not complete."""
        return not self._loop.captures.progress.complete

    @property
    def progress(self) -> Progress:
        """How far the step under way has come, if training stands inside it."""
        return self._loop.captures.progress

    @property
    def capturing(self) -> bool:
        """Whether the step under way is captured from its start."""
        return self._loop.captures.under_way.capturing

    @property
    def record(self) -> Step:
        """The last step that was captured whole."""
        return self._loop.last.record

    @property
    def target(self) -> Any:
        """What is trained, as the loop has told it: see `tdb.target`."""
        return self._loop.target

    @property
    def phases(self) -> Phases:
        """At which phase of a step training is to stop."""
        return self._loop.captures.phases

    @property
    def skip(self) -> Skip:
        """Whether a step is to be left without its update."""
        return self._loop.captures.skip

    @property
    def detection(self) -> Detection:
        """What made the first value that is not finite, in a step under detection."""
        return self._loop.captures.detection

    @property
    def layer(self) -> FocusLayer:
        """The layer whose output units are the features of the tables."""
        return self._loop.captures.focus

    @property
    def layer_capture(self) -> LayerCapture:
        """What it does in a step; the training thread alone may look."""
        return self._loop.captures.layer

    @property
    def model_capture(self) -> ModelCapture:
        """What the last step did in all modules of the model; to be looked at in the training thread."""
        return self._loop.captures.model

    @property
    def focus_name(self) -> str:
        """The name of the layer that the loop or the user has asked for, or nothing."""
        return self._loop.focus_name

    @property
    def panels(self) -> list[Panel]:
        """What learning rules have declared."""
        return self._loop.panels

    @property
    def recorder(self) -> Recorder:
        """The history of the run and the trajectories of watched features."""
        if self._gate.has_lost_thread:
            self._loop.record_rest()
        return self._loop.recorder

    @property
    def travel(self) -> Traveller:
        """Checkpoints, and going back to them."""
        return self._loop.travel
