"""What is seen of the step under way: what the loop hands over, and what hooks see in its model and its update.

Hooks are on in a step that is captured, and off in all others; what was put on last comes off first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tdb.captures import number, own
from tdb.detect import Detection
from tdb.layer import FocusLayer
from tdb.layer_capture import LayerCapture
from tdb.model_capture import ModelCapture
from tdb.phases import Phases
from tdb.skip import Skip
from tdb.step import CRASH, Clock, Progress, Step
from tdb.target import model_of
from tdb.under_way import UnderWay


class StepCaptures:
    """All that is kept of one step; written by the training thread alone.

    Attributes:
        under_way: what the loop has handed over.
        progress: how far the step has come, where training stands inside it.
        focus: the focus layer, and what is there to look at of it.
        layer: what it does in the step.
        model: what it does in all modules of the model; the training thread alone may look.
        phases: at which of its phases it is to stop.
        skip: whether it is to be left without its update.
        detection: what made its first value that is not finite, if it is under detection.
    """

    def __init__(self, stop_inside: Callable[[str, Any, Any], None]) -> None:
        self.under_way = UnderWay()
        self.progress = Progress()
        self.focus = FocusLayer(self.progress)
        self.layer = LayerCapture(self.focus)
        self.model = ModelCapture(self.progress)
        self.phases = Phases(self.progress, stop_inside)
        self.skip = Skip()
        self.detection = Detection()
        self._passes_are_unseen = False  # something that the script has compiled passes through the model

    @property
    def concern_boundary(self) -> bool:
        """Whether the boundary of this step has something to take off or to tell."""
        is_followed = self.layer.following  # from step to step, and more is not captured
        return self.under_way.capturing or self.skip.asked or (self.layer.capturing and not is_followed)

    def begin(self, target: Any, needs_layer: Callable[[], bool]) -> None:
        """Put on what the step ahead needs: everything if it is captured, otherwise what others have asked for.

        Args:
            target: what is trained.
            needs_layer: whether the metrics of the layer will be recorded at this step's boundary.
        """
        if self.under_way.capturing:
            self.model.begin_step(model_of(target))
            unseen = self._passes_are_unseen and self.model.hooks_do_not_fire
            self.phases.begin_step(target, sees_passes=not unseen)
            self.detection.put_on(model_of(target), compiled=self.model.compiled)
            self.layer.begin_step()
        else:
            self.model.forget_step()
            if needs_layer():
                self.layer.follow_step()
            elif self.layer.following or not self.layer.capturing:  # a stop check may have seen to it already
                self.layer.forget_step()
        self.skip.put_on()  # after all others

    def leave_out(self) -> None:
        """Let the step ahead pass unseen."""
        self.layer.forget_step()
        self.model.forget_step()

    @property
    def _has_begun(self) -> bool:
        """Whether anything was seen of the step under way."""
        return self.model.has_begun if self.model.capturing else self.layer.capturing and self.layer.has_begun

    def end(self, *, whole: bool = False, crashed: bool = False) -> None:
        """Take off the hooks of the step that is over, complete if it is `whole`; if it has `crashed`, it never is.

        One that the loop has left, or not begun, leaves nothing: no update is not one that has changed nothing.
        """
        reached = self._reached() if crashed and self._has_begun else None
        if not whole and reached is None and (self.model.capturing or self.layer.capturing):
            self.leave_out()
        elif not whole and self.layer.following and not self.layer.has_begun:
            self.layer.forget_step()
        if self.model.is_called_in_compiled:
            self.model.hooks_do_not_fire, self.layer.hooks_fire = True, False
            self._passes_are_unseen = True
        self.layer.step_is_over()
        self.model.end_step()
        self.detection.take_off()  # what was put on last comes off first
        self.phases.end_step(whole=whole)
        if reached is not None:
            self.progress.begin(CRASH)
            self.progress.forwards, self.progress.backwards, self.progress.updates = reached
        if not whole:
            self.skip.give_up()

    def _reached(self) -> tuple[int, int, int]:
        """Return how many passes forward, backward and updates the step under way has come to, as far as was seen."""
        progress = self.progress
        updates = progress.updates or sum(self.model.updates.values()) or int(self.layer.has_kept_grad)
        return max(1, progress.forwards), progress.backwards or int(self.layer.has_new_grad), updates

    def inside(self, clock: Clock, given: Any, loss: Any) -> Step:
        """Return the step as far as it has come.

        Args:
            clock: where it stands.
            given: what its model was called with, for a loop that has not handed over its batch yet.
            loss: what backward was called on, likewise.
        """
        under_way = self.under_way
        batch = own(given) if under_way.batch is None else under_way.batch
        value = number(loss if under_way.loss is None else under_way.loss)
        return Step(clock, under_way.epoch, value, batch, under_way.labels, under_way.data)
