"""What is recorded at every boundary: the history of the run, and the trajectories of watched features.

The training thread alone writes; any thread reads, through `tdb.history` and `tdb.watches`, which never make it wait.
The loss is recorded at every step; the metrics of the focus layer at every step in which training is being looked at,
or a feature is watched, or a stop point needs them, and otherwise every `every` steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tdb.errors import StateError, in_words
from tdb.history import History
from tdb.pending import PendingSteps
from tdb.rule_batch import RuleBatch
from tdb.step import Position
from tdb.waiting import Batch, Together, Waiting
from tdb.watches import WatchedLayers

if TYPE_CHECKING:
    from tdb.layer_capture import LayerCapture
    from tdb.panel import Panel
    from tdb.results import Array
    from tdb.step import Finished
    from tdb.travel.known import Known
    from tdb.watches import Watches

EVERY = 10
NEVER = 2**62
"""More steps than any run takes."""


class Recorder:
    """Records one run; `every` is how seldom metrics are recorded while nobody looks.

    Args:
        capture: of the focus layer, for its metrics and weights.
        panels: what rules have declared; the one of the focus layer says which metrics are recorded.
        step: tells the last finished step.
    """

    MEASURED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "metrics": ("_metrics", "_record_metrics", "let_wait"),
        "watches": ("_append_watched",),
        "history": ("record", "append"),
    }

    def __init__(self, capture: LayerCapture, panels: Sequence[Panel], step: Callable[[], int]) -> None:
        self.history = History()
        self.watched_layers = WatchedLayers(self.history, capture.focus, step)
        self.every = EVERY
        self.dense = False
        self.known: Known | None = None  # training has gone back: what is recorded of the steps ahead
        self._capture, self._layer = capture, capture.focus
        self._panels = panels
        self._ids: Array | None = None  # of the watched features
        self._failure = ""
        self._rule_batch: RuleBatch | None = None
        self.pending = PendingSteps(self.history, self)

    # ---- any thread ------------------------------------------------------------------------------------------------

    @property
    def watches(self) -> Watches:
        """The watched features of the focus layer."""
        return self.watched_layers.in_focus

    def watched(self) -> list[int]:
        """Return the watched features, in the order in which they were added."""
        return self.watched_layers.watched()

    @property
    def failure(self) -> str:
        """Why metrics are not recorded any more, empty if they are."""
        return self._failure

    # ---- the training thread ---------------------------------------------------------------------------------------

    def begin(self) -> str:
        """A loop begins, or the focus has moved: what comes from now on belongs to the focus layer.

        Returns what cannot be watched of what was named before anybody knew how many features there are.
        """
        self.pending.forget()  # all was recorded before the focus moved
        self.history.focus(self._layer.name)
        self._failure = ""
        unwatched = self.watched_layers.begin()
        self._follow()
        return unwatched

    def moved(self) -> str:
        """The user has moved the focus; see `begin`."""
        self.watched_layers.note_move()
        return self.begin()

    def watch(self, ids: Iterable[int], *, replace: bool = False) -> None:
        """Watch further features, or exactly these; without a layer yet, from when there is one.

        Raises:
            UsageError: there is no such feature.
        """
        self.flush()
        self.watched_layers.watch(ids, replace=replace)
        self._follow()

    def unwatch(self, ids: Iterable[int]) -> None:
        """Stop watching features; their trajectories stay.

        Raises:
            UsageError: a feature is not watched.
        """
        self.flush()
        self.watched_layers.unwatch(ids)
        self._follow()

    def clear_trajectories(self) -> None:
        """Forget the trajectories; the watches stay."""
        self.flush()
        self.watches.clear_trajectories()

    def wants_metrics(self, tick: int) -> bool:
        """Return whether the metrics of this tick are to be recorded, or compared with those that are."""
        if self.known is not None and self.known.has_metrics(tick):
            return not self._failure
        return (self._at_each or tick % self.every == 0 or tick == 1) and not self._failure

    def needs_layer(self, tick: int) -> bool:
        """Return whether the step of this tick must be captured for its metrics: they are followed, and no rule's.

        Where nobody does, what a free run records now and then is what costs no capture: norms, and the cosine with
        the initial weights.
        """
        if self.known is not None and self.known.was_captured(tick):
            return True
        return self._layer.info is not None and self._at_each and self.rule() is None

    def next_metrics(self, tick: int) -> int:
        """Return the first tick after `tick` at which metrics are to be recorded, as far as is known now."""
        if self._has_none:
            return NEVER
        regular = tick + 1 if self._at_each or tick == 0 else (tick // self.every + 1) * self.every
        recorded = None if self.known is None else self.known.next_metrics(tick)
        return regular if recorded is None else min(regular, recorded)

    def record(self, timeline: int, steps: Sequence[Finished], *, metrics: bool) -> None:
        """Record finished steps, the last of them with metrics if that is asked for.

        Steps that history knows are compared with it, and not recorded again. What goes wrong with metrics ends their
        recording, never training.
        """
        known = self.known
        recorded = steps if known is None else [each for each in steps if each[0] > known.until]
        if known is not None:
            for finished in steps[: len(steps) - len(recorded)]:
                known.compare_loss(Position(*finished))
        pending = self.pending
        if recorded:
            pending.add(timeline, recorded)
        waits_already = known is None and steps and steps[-1][0] == pending.newest
        if metrics and not (waits_already or self._has_none):
            try:
                self._record_metrics(timeline, Position(*steps[-1]))
            except Exception as error:  # noqa: BLE001 - a rule's mistake must not end a training run
                self._has_no_metrics(error)
        if steps and not (known is None and pending.may_wait(steps[-1][-1])):
            pending.record(steps[-1][-1], self._ids, beside=known is None)

    def let_wait(self, timeline: int, finished: Finished) -> bool:
        """Let the metrics of a step of a free run wait that is to be recorded later; return whether it may be.

        If not, it is to be recorded at once, with metrics: `record` knows whether they wait already.
        """
        followed, pending = self._capture.followed, self.pending
        if followed is not None and pending.batch is followed.batch and followed.end_step():
            pending.wait_in(followed.batch, (timeline, finished, None))
            return not followed.batch.full
        at_hand = self._capture.at_hand
        is_alone = not self._panels and self._ids is None
        if at_hand is not None and pending.batch is at_hand.batch and is_alone and at_hand.put():
            pending.wait_in(at_hand.batch, (timeline, finished, None))
            return not at_hand.batch.full
        panel = self.rule()
        if (panel is None or self._ids is not None) and self._layer.has_another_form:
            return False
        try:
            batch = self._let_wait(panel)
        except Exception as error:  # noqa: BLE001 - as above
            self._has_no_metrics(error)
            return True
        if batch is None or batch.waiting == pending.in_batch:
            return False
        pending.wait_in(batch, (timeline, finished, None))
        return not batch.full

    def record_some(self, timeline: int, position: Position, names: tuple[str, ...], values: Sequence[Any]) -> None:
        """Record some metrics of a step, each [D], which somebody has looked at anyway, if no others are recorded."""
        if self._failure or position.tick <= self.pending.newest:
            return
        try:
            self.pending.some(timeline, names, len(values[0])).add(position, values)
        except (TypeError, ValueError) as error:  # a metric that is not one value a feature
            self._failure = f"metrics are not recorded any more: {error}"

    def flush(self) -> None:
        """Record all that waits: history and trajectories are complete then."""
        self.pending.flush(self._ids)

    def leave_out(self, timeline: int, steps: Sequence[Finished]) -> None:
        """Record finished steps, but of the last that it was left out, and why it is missing."""
        if steps[:-1]:
            self.record(timeline, steps[:-1], metrics=False)
        tick, step, *_ = steps[-1]
        self.history.leave_out(timeline, tick, step)

    def keep(self, timeline: int, position: Position) -> None:
        """Training may stop at its last finished step: all is recorded, this step too if it was left out."""
        self.flush()
        if position.tick > self.history.newest[0]:  # one that is not was taken again
            self.history.append_steps(timeline, [position])

    def rule(self) -> Panel | None:
        """Return what the rule of the focus layer has declared, if it has one; in any thread."""
        for panel in self._panels:
            if panel.layer == self._layer.name:
                return panel
        return None

    @property
    def _at_each(self) -> bool:
        """Whether the metrics of every step are recorded: features are watched, or a stop point needs them."""
        return self._ids is not None or self.dense

    @property
    def _has_none(self) -> bool:
        """Whether there are no metrics to record: no layer is in focus, or its metrics have failed."""
        return self._layer.info is None or self._failure != ""

    def _record_metrics(self, timeline: int, position: Position) -> None:
        panel = self.rule()
        known = self.known if self.known is not None and position.tick <= self.known.until else None
        differs = known is not None and panel is None and self._layer.captured != known.was_captured(position.tick)
        if differs and self._ids is None:
            return  # it was recorded with other metrics, or none, and nobody follows these
        batch = self._let_wait(panel)
        if batch is not None and batch.waiting == self.pending.in_batch:  # it has other metrics than those that wait
            self.flush()
            batch = self._let_wait(panel)
        place = (timeline, position, known)
        if batch is not None:
            self.pending.wait_in(batch, place)
            return
        names, block = self._metrics(panel)
        self.pending.wait(Waiting(place, names, block, self._watched_rows()))

    def _has_no_metrics(self, error: Exception) -> None:
        """A step has no metrics: the rule has not seen one yet or the layer had no gradient; or there will be none."""
        if not isinstance(error, LookupError | StateError):
            self.give_up(error)

    def give_up(self, error: Exception) -> None:
        """Record no metrics any more, because of what went wrong with them."""
        self._failure = f"metrics are not recorded any more: {in_words(error)}"

    def _let_wait(self, panel: Panel | None) -> Batch | None:
        """Let a step wait for its metrics; return where, though it does not if others wait there; None if none can.

        Raises:
            LookupError: the rule has seen no step yet.
        """
        if panel is None:
            return self._capture.let_wait(captured_only=self._ids is not None)
        if panel.recorded is None:
            return None
        parts = panel.recorded.parts()
        if not parts:
            raise LookupError
        batch = self._rule_batch
        if batch is None or not batch.fits(panel.recorded, parts):
            if batch is not None and batch.waiting:
                return batch
            batch = self._rule_batch = RuleBatch(panel.recorded, parts, self._row_shape())
        rows = batch.put(parts)
        if rows is not None and self._ids is not None:
            self._layer.copy_rows(self._ids, rows)
        return batch

    def append(self, some: Together) -> None:
        """Record steps, or compare those that are known."""
        (timeline, _, known), steps = some.places[0], some.steps()
        if known is not None:
            for (_, finished, _), block in zip(some.places, some.blocks, strict=True):
                known.compare_metrics(Position(*finished), some.names, block)
        else:
            self.history.append_metrics(timeline, steps, some.names, some.blocks)
        if some.rows is not None:
            self._append_watched(steps, some)

    def _append_watched(self, steps: Array, some: Together) -> None:
        self.watches.append(some.places[0][0], steps, some.rows, some.names, some.blocks[:, :, self._ids])

    def _metrics(self, panel: Panel | None) -> tuple[tuple[str, ...], Array]:
        """Return the metrics' names and their values now, [m, D]."""
        found = self._layer.metrics() if panel is None else panel.some_metrics(panel.columns)
        names = tuple(found) if panel is None else tuple(name for name in panel.columns if name in found)
        import torch

        return names, torch.stack([found[name] for name in names]).detach().float().cpu().numpy()

    def _row_shape(self) -> tuple[int, int] | None:
        """Return (w, F) of the weights of w watched features; None if there are none."""
        if self._ids is None or self._layer.info is None:
            return None
        return len(self._ids), prod(self._layer.info.row_shape)

    def _watched_rows(self) -> Array | None:
        """Return the weights [w, F] of the watched features now; None if there are none."""
        shape = self._row_shape()
        if self._ids is None or shape is None:
            return None
        return self._layer.copy_rows(self._ids, np.empty(shape, np.float32))

    def _follow(self) -> None:
        """Take from the steps ahead what is watched now; none wait in the rule's batch."""
        self._ids = self.watched_layers.ids
        self._rule_batch = None
