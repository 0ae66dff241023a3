"""The short way through a step that is like the one before it, as most of a run are.

Between two steps the processor's caches are cold, and Python with them: to look at each event as if anything might
come costs a step 80 microseconds, most of which is saved here. A step is like the one before if it is taken on the next
batch of the same pass, or without any loader on what the model is called with, and consists of one backward pass from
one loss and one update by the same optimizer, begun by the same lines. Its loss is noted, and nothing else is done. If
anything comes otherwise it is the finder's business again, with what was noted of the step under way.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from threading import get_ident
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from tdb.finder.batches import are_computed
from tdb.finder.losses import value_of
from tdb.tap import Fetch, Pass

if TYPE_CHECKING:
    from tdb.finder.events import Listener

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


class Line(NamedTuple):
    """The place in the script that begins a backward pass, or an update.

    Attributes:
        code: of the function.
        instruction: the one that it has come to.
        depth: how many calls lie between it and the method of `Steady` that is told, or who is told in its place.
    """

    code: CodeType
    instruction: int
    depth: int


class Noted(NamedTuple):
    """What was noted of the step under way.

    Attributes:
        used: the batch that its gradients are computed on, if they are, and it is from a loader.
        drawn: the batch that was drawn after that, or for a backward pass to come.
        inputs: what the model was called with, without a loader.
        line: where its backward pass was begun, None if none has.
        loss: what was differentiated.
    """

    used: Fetch | None
    drawn: Fetch | None
    inputs: Inputs | None
    line: Line | None
    loss: Any


class Steady:
    """Follows the loop in the thread that calls `enter`, until `leave`.

    It is told first of what most steps consist of, and calls as little as can be: that is in cold caches, too.

    Args:
        pass_by: is given a complete step's loss and epoch; returns False if more is wanted of it.
        other: is told where an update does not complete a step the short way.

    Attributes:
        entered: something may have been noted that the finder does not know.
        on: the short way may be taken; any thread that knows of something else to come sets it to False.
        noted: the backward pass of the step under way went the short way.
    """

    def __init__(self, pass_by: Callable[[Any, int | None], bool], other: Listener) -> None:
        self.entered = self.on = self.noted = False
        self._pass_by = pass_by
        self._other = other
        self._thread = 0
        self._line: Line | None = None
        self._updated_at: Line | None = None
        self._optimizer: Any = None
        self._epoch: int | None = None
        self._pass: weakref.ref[Pass] | None = None
        self._inputs: Inputs | None = None
        self._batch: Any = None
        self._number = 0
        self._loss: Any = None

    def enter(self, line: Line, updated_at: Line, optimizer: Any, under_way: Pass | None, epoch: int | None) -> None:
        """Go the short way from the step ahead on.

        Args:
            line: where backward passes begin.
            updated_at: where updates do.
            optimizer: whose updates end the steps.
            under_way: the pass that batches are of; None if steps are taken on what the model is called with.
            epoch: of all steps of that pass.
        """
        self._thread, self._line, self._optimizer, self._epoch = get_ident(), line, optimizer, epoch
        self._updated_at = updated_at
        if under_way is not None:
            under_way.quiet, self._pass = True, weakref.ref(under_way)
        self.entered = self.on = True

    def leave(self) -> Noted:
        """Go it no longer, and return what was noted of the step under way."""
        under_way = self._pass() if self._pass is not None else None
        used = drawn = None
        if under_way is not None:
            under_way.quiet = False
            drawn = under_way.take(under_way.number - 1)
            under_way.batch = self._batch
            used = under_way.take(self._number)
        line = self._line if self.noted else None
        noted = Noted(used, drawn, self._inputs, line, self._loss)
        self._pass = self._optimizer = self._line = self._updated_at = None
        self.entered = self.on = self.noted = False
        self._inputs = self._batch = self._loss = None
        return noted

    def called(self, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
        """Note what the model is called with; False if that may not be all there is to it."""
        if self._pass is not None or get_ident() != self._thread:
            return False
        if self._inputs is None or not are_computed(inputs, keywords):
            self._inputs = inputs, keywords
        return True

    def differentiating(self, roots: Any, gradients: Any) -> bool:
        """Note a backward pass; return whether that was all there is to it."""
        if self.noted or not self.on or self._line is None or gradients is not None or get_ident() != self._thread:
            return False
        under_way = self._pass() if self._pass is not None else None
        batch = self._inputs if under_way is None else under_way.batch
        code, instruction, depth = self._line
        try:
            frame = sys._getframe(depth)  # noqa: SLF001 - what a debugger reads
            loss = roots.item() if roots.is_cpu else value_of(roots, None)
        except (ValueError, AttributeError, RuntimeError):  # so deep is nothing; it is not one tensor of one value
            return False
        if batch is None or loss is None or frame.f_code is not code or frame.f_lasti != instruction:
            return False
        if under_way is not None:
            self._batch, self._number, under_way.batch = batch, under_way.number - 1, None
        self._loss, self.noted = loss, True
        return True

    def updated(self, optimizer: Any) -> None:
        """Complete the step, if it ends here and no more is wanted of it than its loss."""
        if self.on and self.noted and optimizer is self._optimizer and self._updated_at is not None:
            code, instruction, depth = self._updated_at
            try:
                frame = sys._getframe(depth)  # noqa: SLF001 - as above
            except ValueError:
                frame = None
            is_at = frame is not None and frame.f_code is code and frame.f_lasti == instruction
            if is_at and self._pass_by(self._loss, self._epoch):
                self.noted = False
                self._inputs = self._batch = self._loss = None
                return
        self._other.updated(optimizer)


def line_of(frame: FrameType | None, here: FrameType | None) -> Line | None:
    """Return the place that a frame has come to, which has led to the call that runs in the frame `here`."""
    depth = 0
    while here is not None and here is not frame:
        here, depth = here.f_back, depth + 1
    return None if here is None else Line(here.f_code, here.f_lasti, depth)
