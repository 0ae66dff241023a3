"""Tells the controller what an explicit loop would tell it: what is trained, and each step that was taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tdb.finder.batches import Batches, labels_in
from tdb.finder.feed import Feed

if TYPE_CHECKING:
    from tdb.controller import DebugController
    from tdb.finder.loop_thread import LoopThread
    from tdb.passes.passes import Passes
    from tdb.tap import Tap
    from tdb.target import Training


class HandOver:
    """Hands one loop at a time over to the controller.

    Args:
        controller: takes it.
        thread: the loop's.
        tap: the loop's batches come from it.
        batches: which of them steps are taken on.

    Attributes:
        training: what the loop trains; None before the first one.
        feed: through which batches come that are to be given again; None as long as nobody wants that.
    """

    def __init__(self, controller: DebugController, thread: LoopThread, tap: Tap, batches: Batches) -> None:
        self.training: Training | None = None
        self.feed: Feed | None = None
        self._controller = controller
        self._thread = thread
        self._tap = tap
        self._batches = batches

    def begin(self, training: Training) -> None:
        """A loop begins.

        Raises:
            TrainingStopped: somebody called `stop`.
        """
        self.feed = self._tap.begun = None
        self.training = training
        training.feed = self._feed_through
        training.step = self._controller.position.step
        self._controller.begin(training)

    def capture(self, batch: Any, loss: Any, losses: dict[str, Any]) -> None:
        """A step was taken on a batch."""
        controller, epoch = self._controller, self._epoch
        controller.capture_batch(batch, loss, labels=labels_in(batch), epoch=epoch)
        if losses:
            controller.capture_step_data("losses", losses)
        if self.training is not None:
            self.training.step, self.training.epoch = controller.position.step + 1, epoch

    def complete(self) -> None:
        """The step that was captured is complete: wait if training is to stop here.

        Raises:
            TrainingStopped: somebody called `stop`.
        """
        feed = self.feed
        self._thread.is_busy = True
        try:
            if feed is None:
                self._controller.wait_if_paused()
            else:
                feed.step_is_complete()
                with feed.passes.standing():
                    self._controller.wait_if_paused()
        finally:
            self._thread.is_busy = False

    def stands(self, losses: dict[str, Any]) -> None:
        """The script stops itself: hand over what the step under way is taken on, if anything is yet."""
        batch, epoch = self._batches.at_hand()
        if batch is None:
            return
        loss = next(iter(losses.values())) if len(losses) == 1 else None
        feed = self.feed
        self._controller.capture_batch(
            batch, loss, labels=labels_in(batch), epoch=epoch if feed is None else feed.epoch
        )
        self._controller.capture_step_data("losses", losses)

    def crashed(self, loss: Any) -> None:
        """The script has raised: hand over what the step under way was being taken on."""
        batch = self._batches.under_way()
        if batch is not None:
            self._controller.capture_batch(batch, loss, labels=labels_in(batch), epoch=self._epoch)

    @property
    def _epoch(self) -> int | None:
        return self._batches.epoch if self.feed is None else self.feed.epoch

    def _feed_through(self, begin: Callable[[], Passes]) -> str:
        """Let batches come through passes from here on, or return why they cannot; see `tdb.target.Training.feed`."""
        if not self._batches.from_loader:
            return ""
        under_way = self._tap.last
        loader = under_way.loader() if under_way is not None else None
        if under_way is None or loader is None or not self._batches.are_of(under_way):
            return "its steps draw from several loaders, or a batch ahead"
        self.feed = Feed(begin(), loader, self._batches.epoch or 1)
        self.feed.join(under_way)
        self._tap.begun = self.feed.begun
        return ""
