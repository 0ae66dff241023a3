"""What may stop training at a boundary: the stop points that are set, and the goal of `until`.

The controller asks `reason` when a step has ended and `may_stop` before the next one, both in the training thread; so
only what the stop points name is captured and computed. Whatever looks back over steps, of displays too, looks here at
every step.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tdb.errors import TdbError
from tdb.expressions import Expression, Memory, UnknownNameError, explain, none_true, truth
from tdb.features import panel_of
from tdb.generic_metrics import GENERIC_METRICS
from tdb.namespace import NEEDS_CAPTURE, STATUS_WORDS, StepNamespace
from tdb.standing import FINISHED
from tdb.step_tensors import StepTensors
from tdb.stop_question import StopCheck
from tdb.stops import Hit, Moment, StopPoints
from tdb.target import model_of

if TYPE_CHECKING:
    from tdb.controller import DebugController
    from tdb.expressions.build import Evaluation
    from tdb.step import Position
    from tdb.stops import StopPoint

ALWAYS_KNOWN = frozenset({"step", "epoch", "loss"})
NAN_EVERY = 256
"""Steps of a free run between two looks whether NaN keeps a condition from being true; a stop looks anyway."""

FORESEEN = frozenset({"step", "every", "epoch"})  # kinds of stop points that the step's number tells


@dataclass(frozen=True)
class Goal:
    """Where `until` runs to: a step, or the first one after it at which an expression is true, or an epoch ends."""

    step: int | None = None
    expression: Expression | None = None
    epoch: int | None = None  # it is left: the first step of another one
    memory: Memory = field(default_factory=Memory)

    def may_be_reached(self, step: int) -> bool:
        """Return whether a step is already known to be the goal."""
        return self.step is not None and step >= self.step


class Armed(StopCheck):
    """Asked at every boundary as long as there is something to ask; see `tdb.stop_question.StopCheck`.

    Attributes:
        points: the stop points.
        namespace: what expressions see.
        tensors: what event stops see.
        hits: the stop points at which training stopped last; see `now`.
        looks_back: displays' expressions with their memories, which have to see every step.
        captures: every step at which something may stop training is captured.
    """

    def __init__(self, controller: DebugController, namespace: StepNamespace) -> None:
        self.points = StopPoints()
        self.namespace = namespace
        self.tensors = StepTensors()
        self.hits: list[Hit] = []
        self.looks_back: list[tuple[Expression, Memory]] = []
        self.captures = False
        self._controller = controller
        self._goal: Goal | None = None
        self._foreseen: tuple[StopPoint, ...] = ()
        self._names: frozenset[str] = frozenset()
        self._metrics: tuple[str, ...] = ()  # those of the names that are metrics of the focus layer
        self._metrics_of = ("", -1)  # the layer for which they were looked for, and how many panels there were
        self._none_true: Evaluation | None = None  # asks all there is to ask, at once
        self._hits_tick = -1
        self._notices: list[str] = []
        self._told_of_no_model = False

    @property
    def now(self) -> list[Hit]:
        """The stop points at which training stands; empty if it stopped for another reason, or went on."""
        if self._hits_tick != self._controller.position.tick or self._controller.is_inside:
            return []
        return [] if self._controller.gate.status == FINISHED else self.hits  # after the last step it went on, too

    def aim(self, goal: Goal | None) -> None:
        """Run until a goal is reached, or until nothing; any stop gives the goal up."""
        self._goal = goal
        self.refresh()

    def refresh(self) -> None:
        """Be asked at boundaries if there is something to ask; to be called when stop points or displays change."""
        enabled = [point for point in self.points if point.enabled]
        self._foreseen = tuple(point for point in enabled if point.stop.kind in FORESEEN)
        goal = self._goal.expression.names if self._goal is not None and self._goal.expression is not None else ()
        of_displays = [name for expression, _ in self.looks_back for name in expression.names]
        self._names = self.points.names.union(goal, of_displays) - ALWAYS_KNOWN
        self._metrics_of = ("", -1)
        self._none_true = self._asked_together(enabled)
        wanted = bool(enabled) or self._goal is not None or bool(self.looks_back)
        if not self.points.groups:
            self.tensors.forget_step()
        self._controller.stop_when(self if wanted else None)

    def _asked_together(self, enabled: list[StopPoint]) -> Evaluation | None:
        """Return what asks the conditions, if they are all there is to ask, and none needs a capture."""
        if self._goal is not None or self.looks_back or not self._names.isdisjoint(NEEDS_CAPTURE | set(STATUS_WORDS)):
            return None
        plain = [point.plain_expression for point in enabled]
        conditions = [each for each in plain if each is not None]
        return none_true(conditions) if conditions and len(conditions) == len(plain) else None

    def renew(self) -> None:
        """Let namespace and tensors be read anew."""
        self.namespace.renew()
        if not self.points.groups:
            return
        model = model_of(self._controller.target)
        self.tensors.look_at(model, self._controller.model_capture)
        if model is None and not self._told_of_no_model:
            self._told_of_no_model = True
            groups = ", ".join(sorted(self.points.groups))
            self._notices.append(f"no model is known, so {groups} cannot be looked at: see controller.begin(trainer)")

    def take_notices(self) -> list[str]:
        """Return what has to be said once without stopping, and forget it."""
        notices, self._notices = self._notices, []
        return [*notices, *self.points.take_notes()]

    def boundary(self, position: Position) -> int:
        """Return the number of a boundary on the present branch, for what remembers the one before."""
        return self._controller.travel.branches.now.lineage.count(position.tick)

    def preview(self, point: StopPoint) -> Hit | None:
        """Return the hit there would have been at the step where training stands; nothing is counted."""
        position = self._controller.position
        self.renew()
        return self.points.preview(
            point.number, self.namespace, position.step, position.epoch, self.tensors, self.boundary(position)
        )

    # ---- the controller's questions --------------------------------------------------------------------------------

    def passes(self, tick: int) -> bool:
        """Return whether it is plain that training does not stop here: the quick way of a free run."""
        if self._none_true is None or tick % NAN_EVERY == 0 or self.captures:
            return False
        self.namespace.renew()
        try:
            return self._none_true(self.namespace.found, None) is True
        except Exception:  # noqa: BLE001 - it will be evaluated again as it should be, and says what is wrong
            return False

    def looked_at(self) -> tuple[tuple[str, ...], list[Any]]:
        """Return the metrics that conditions name, if this step has them although it was not captured."""
        panels = self._controller.panels
        if self._metrics_of != (self._controller.layer.name, len(panels)):
            self._find_metrics()
        if not self._metrics:
            return (), []
        try:
            return self._metrics, [self.namespace.found[name] for name in self._metrics]
        except (LookupError, TdbError):  # not in this step
            return (), []

    def _find_metrics(self) -> None:
        layer, panel = self._controller.layer, panel_of(self._controller)
        self._metrics_of = layer.name, len(self._controller.panels)
        known = {*GENERIC_METRICS, *(panel.columns if panel is not None else ())} - NEEDS_CAPTURE
        self._metrics = tuple(name for name in self._names if name in known) if layer.info is not None else ()

    def may_stop(self, step: int) -> bool:
        """Return whether the step ahead is to be captured: it is known to be a stop, or a condition needs it."""
        capture = self._controller.layer_capture
        if capture.focus.captured and not capture.following:  # a step that is followed may yet have to be recorded
            capture.forget_step()
        if self.points.groups:
            self.tensors.begin_step(model_of(self._controller.target), self.points.groups)
        if self.captures or (self._goal is not None and self._goal.may_be_reached(step)):
            return True
        if self._foreseen and any(self._may_hold(point, step) for point in self._foreseen):
            return True
        return bool(self._names) and self.namespace.needs_capture(self._names)

    def foreseen(self, step: int) -> int | None:
        """Return the first step, from `step` on, at which training is to stop whatever comes of those before."""
        known = [int(point.stop.what) for point in self._foreseen if point.stop.kind == "step"]
        known += [self._goal.step] if self._goal is not None and self._goal.step is not None else []
        return min((each for each in known if each >= step), default=None)

    def reason(self, position: Position) -> str:
        """Return why training stops at the step that has just ended, or nothing."""
        if self.points.groups:
            self.tensors.end_step()
        self.renew()
        hits = self.points.check(
            self.namespace,
            position.step,
            position.epoch,
            self.tensors,
            boundary=self.boundary(position),
            thorough=self._controller.capturing or position.tick % NAN_EVERY == 0,
        )
        if self.points.notes:  # somebody may be waiting for what can never come
            for note in self.points.take_notes():
                self._controller.notify(note)
        self._look_back(position)
        reached = self._reached(self._goal) if self._goal is not None else ""
        if not (hits or reached):
            return ""
        reasons = [hit.message for hit in hits]
        if reached:
            reasons.append(reached)
        if hits:
            self.hits, self._hits_tick = hits, position.tick
        self._goal = None
        self.refresh()
        return "\n".join(reasons)

    def let_go(self) -> None:
        """Take off what was put on to see the tensors of the step ahead: there is none."""
        self.tensors.end_step()

    # ---- time travel -----------------------------------------------------------------------------------------------

    def rehearse(self, position: Position) -> str:
        """Return why training would stop at a step that is taken again, or nothing; nothing is counted."""
        if self.points.groups:
            self.tensors.end_step()
        self.renew()
        moment = Moment(self.namespace, position.step, position.epoch, self.tensors, self.boundary(position))
        hits = self.points.rehearse(moment)
        self._look_back(position)
        return "\n".join(hit.message for hit in hits)

    def remembered(self) -> Any:
        """Return a copy of what stop points and displays remember of the steps before."""
        displays = {expression.text: copy.deepcopy(memory) for expression, memory in self.looks_back}
        return self.points.remembered(), displays

    def remember(self, memories: Any, *, at_start: bool) -> None:
        """Go on from what `remembered` has returned; None knows of no step before, `at_start` there is none."""
        points, displays = memories if memories is not None else ({}, {})
        self.points.remember(points, at_start=at_start)
        for expression, memory in self.looks_back:
            memory.become(copy.deepcopy(displays[expression.text]) if expression.text in displays else Memory())

    def _look_back(self, position: Position) -> None:
        for expression, memory in self.looks_back:
            memory.look(position.step, self.boundary(position))
            with suppress(TdbError):
                expression.evaluate(self.namespace, memory)

    def _may_hold(self, point: StopPoint, step: int) -> bool:
        epoch = self._controller.position.epoch
        if point.stop.kind == "epoch" and epoch is not None:  # the step ahead may begin the next one
            return point.stop.may_hold(step, epoch) or point.stop.may_hold(step, epoch + 1)
        return point.stop.may_hold(step, None)

    def _reached(self, goal: Goal) -> str:
        """Return the goal in words if it is reached, or if nobody can say."""
        position = self._controller.position
        if goal.step is not None:
            return f"until {goal.step}" if position.step >= goal.step else ""
        if goal.epoch is not None:
            return f"return from epoch {goal.epoch}" if position.epoch != goal.epoch else ""
        expression, memory = goal.expression, goal.memory
        assert expression is not None
        memory.look(position.step, self.boundary(position))
        try:
            if not truth(expression.evaluate(self.namespace, memory), expression.text):
                return ""
            return f"until at step {position.step}: {explain(expression, self.namespace, memory)}"
        except UnknownNameError:
            return ""  # it may come to be captured later
        except TdbError as error:
            return f"until at step {position.step}: {error}"


def values_of(expression: Expression, namespace: Mapping[str, Any], memory: Memory | None = None) -> str:
    """Return an expression with the values in it, true or not; empty if it cannot be computed."""
    try:
        return explain(expression, namespace, memory)
    except TdbError:
        return ""
