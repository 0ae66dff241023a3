"""The steps of a loop over batches: `for batch in controller.steps(loader)`, whose iterations end at a boundary."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from types import FrameType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tdb.backward_calls import around_backward
from tdb.frames import user_frame
from tdb.handle import Handle
from tdb.loss_scaling import after_scaling
from tdb.target import trained_parameters

if TYPE_CHECKING:
    from torch import Tensor

    from tdb.finder.losses import Losses
    from tdb.loop_side import LoopSide

Batch = TypeVar("Batch")

MIXED = "the loop goes over two kinds of batches at a time, and only those of one could be given again"
BY_HAND = "the loop ends its steps itself: `controller.steps` does that without a call of `wait_if_paused`"

_heard: list[tuple[int, Losses]] = []  # for each context its thread, and what is heard there
_handles: list[Handle] = []


class Steps(Generic[Batch]):
    """Batches, each of them one training step; going over them again is the next epoch.

    Args:
        loop: what hears of the steps.
        batches: a DataLoader, or anything else that can be iterated over.
        epoch: the loop's number of this epoch; without it they are counted from 1.
        complete: whether the iteration that has just ended is the last of its step; without it, each is.
    """

    def __init__(
        self,
        loop: LoopSide,
        batches: Iterable[Batch],
        epoch: int | None = None,
        complete: Callable[[], bool] | None = None,
    ) -> None:
        self._loop = loop
        self._batches = batches
        self._epoch = epoch
        self._complete = complete or _each

    def __len__(self) -> int:
        """Return the number of steps in an epoch, if the batches can be counted."""
        return len(self._batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Batch]:
        """Go through one epoch.

        An iteration that is left by `break` or by an exception was a step if it has updated a parameter.

        Raises:
            TrainingStopped: somebody called `stop`.
        """
        loop = self._loop
        loop.enter()
        epoch = (loop.position.epoch or 0) + 1 if self._epoch is None else self._epoch
        parameters = trained_parameters(loop.target)
        here = threading.get_ident()
        passes = loop.travel.begin_passes()
        if passes is not None and passes.is_under_way:  # one loop inside another, or two that alternate
            passes.why_not, passes = MIXED, None
        drawn = passes.enter(self._batches, epoch) if passes is not None else ((epoch, each) for each in self._batches)
        with closing(Hearing(loop)) as hearing:
            for epoch, batch in drawn:
                hearing.begin_step()
                before, loop.ended_by_hand = updates_of(parameters), False
                loop.capture_batch(batch, None, epoch=epoch)
                try:
                    yield batch
                except GeneratorExit:
                    is_step = updates_of(parameters) != before and not loop.ended_by_hand
                    if passes is not None and not loop.is_over:
                        passes.left(unused=not is_step)
                    if is_step and threading.get_ident() == here:
                        self._last_boundary(hearing, sys._getframe(1))  # noqa: SLF001 - the loop that is being left
                    raise
                if loop.ended_by_hand:
                    loop.ended_by_hand = False
                    hearing.take()
                    if passes is not None:
                        passes.why_not = BY_HAND
                elif self._complete():
                    with passes.standing() if passes is not None else nullcontext():
                        self._boundary(hearing)

    def _boundary(self, hearing: Hearing) -> None:
        loop = self._loop
        hearing.hand_over()
        loop.wait_if_paused()
        loop.ended_by_hand = False  # it is not the loop that has said so

    def _last_boundary(self, hearing: Hearing, frame: FrameType | None) -> None:
        try:
            self._boundary(hearing)
        except BaseException as error:  # noqa: BLE001 - whatever is raised in the boundary belongs to the loop
            raise_in(frame, error)


class Hearing:
    """What a loop differentiates in its steps, heard in the loop's thread; in a plain run torch is left alone.

    Args:
        loop: what is told of the losses.
    """

    def __init__(self, loop: LoopSide) -> None:
        self._loop = loop
        self._losses: Losses | None = None
        self._patches = ExitStack()

    def begin_step(self) -> None:
        """A step begins: hear what is differentiated from here on, if anybody has asked for anything."""
        if self._losses is None and not self._loop.idle and "torch" in sys.modules:
            self._losses = self._patches.enter_context(heard_losses())

    def take(self) -> tuple[Any, dict[str, Any]]:
        """Return the objective of the step, None if nothing was heard, and all its losses by name; begin anew."""
        return (None, {}) if self._losses is None else self._losses.take()

    def hand_over(self, known: Any = None) -> None:
        """The step is complete: tell the loop its losses; its loss is the one that was handed over, if one was.

        Args:
            known: its loss if nothing was heard of it, as in a plain run.
        """
        objective, named = self.take()
        if named:
            self._loop.capture_step_data("losses", named)
        loss = known if objective is None else objective
        if loss is not None and self._loop.captures.under_way.loss is None:
            self._loop.capture_loss(loss)

    def close(self) -> None:
        """Hear nothing any more."""
        self._losses = None
        self._patches.close()


@contextmanager
def heard_losses() -> Iterator[Losses]:
    """Hear what this thread differentiates while the context lasts; contexts in one another share what they hear.

    They may end in any order, those of several threads too: torch is patched once, from the first to the last of them.
    """
    from tdb.finder.losses import Losses

    known = _heard_here()
    heard = threading.get_ident(), Losses() if known is None else known
    if not _heard:
        _hear()
    _heard.append(heard)
    try:
        yield heard[1]
    finally:
        _heard.remove(heard)
        if not _heard:
            while _handles:
                _handles.pop().remove()


def _heard_here() -> Losses | None:
    here = threading.get_ident()
    return next((losses for thread, losses in _heard if thread == here), None)


def _hear() -> None:
    from tdb.finder.updates import evaluates_anew, updates_around

    def hearing(roots: Any, gradients: Any) -> bool:
        losses, told = _heard_here(), sys._getframe()  # noqa: SLF001 - what a debugger reads
        if losses is not None:
            losses.add(roots, gradients, user_frame(), is_anew=lambda: evaluates_anew(updates_around(told)))
        return False

    def hearing_scale(loss: Any, scaled: Any) -> None:
        losses = _heard_here()
        if losses is not None:
            losses.scaled(loss, scaled, user_frame())

    _handles[:] = [around_backward(hearing, lambda: None), after_scaling(hearing_scale)]


def _each() -> bool:
    return True


def updates_of(parameters: list[Tensor]) -> int:
    """Return a number that grows whenever a parameter is changed in place, as optimizers do."""
    return sum([parameter._version for parameter in parameters])  # noqa: SLF001 - torch has no other name for it


def raise_in(frame: FrameType | None, error: BaseException) -> None:
    """Raise `error` at the next line that `frame`, or one that called it, runs.

    For what happens while Python closes a generator: an exception raised there is reported and lost.
    """

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        del frame, event, argument
        sys.settrace(None)
        raise error

    while frame is not None and frame.f_code.co_flags & inspect.CO_GENERATOR:
        frame = frame.f_back  # it is being closed as well
    while frame is not None:
        frame.f_trace = trace
        frame = frame.f_back
    sys.settrace(lambda *_: None)
