"""What is recorded at every boundary: the history of the run, and the trajectories of watched features.

The training thread alone writes; any thread reads, through `tdb.history` and `tdb.watches`, which never make it wait.
The loss is recorded at every step; the metrics of the focus layer at every step in which training is being looked at,
or a feature is watched, or a stop point needs them, and otherwise every `every` steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from tdb.errors import StateError, TdbError
from tdb.history import History
from tdb.layer_metrics import in_host_memory
from tdb.watches import Watches

if TYPE_CHECKING:
    from torch import Tensor

    from tdb.layer import FocusLayer
    from tdb.panel import Panel
    from tdb.results import Array
    from tdb.step import Position
    from tdb.travel.known import Known

EVERY = 10
LONGEST_WAIT = 0.25
"""Seconds after which metrics are computed, although more steps could do so together."""


class Waiting(NamedTuple):
    """A finished step whose metrics are to be recorded, or compared with what is `known` of it."""

    timeline: int
    position: Position
    wall_time: float
    known: Known | None


class Recorder:
    """Records one run; `every` is how seldom metrics are recorded while nobody looks.

    Args:
        layer: the focus layer, for its metrics and weights.
        panels: what rules have declared; the one of the focus layer says which metrics are recorded.
    """

    MEASURED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "metrics": ("_metrics", "_record_metrics", "_waiting_metrics"),
        "watches": ("_append_watched",),
        "history": ("record", "flush", "_append"),
    }

    def __init__(self, layer: FocusLayer, panels: Sequence[Panel]) -> None:
        self.history = History()
        self.every = EVERY
        self.dense = False
        self.known: Known | None = None  # training has gone back: what is recorded of the steps ahead
        self._layer = layer
        self._panels = panels
        self._watches: dict[str, Watches] = {}
        self._early: list[int] = []  # watched before there was a layer
        self._names: tuple[str, ...] = ()
        self._index: Tensor | None = None
        self._failure = ""
        self._waiting: list[Waiting] = []

    # ---- any thread ------------------------------------------------------------------------------------------------

    @property
    def watches(self) -> Watches:
        """The watched features of the focus layer."""
        return self._watches.setdefault(self._layer.name, Watches(self.history.budget, self.history.of_branch))

    def watched(self) -> list[int]:
        """Return the watched features, in the order in which they were added."""
        return list(self._early) if self._layer.info is None else self.watches.get_watched()

    @property
    def failure(self) -> str:
        """Why metrics are not recorded any more, empty if they are."""
        return self._failure

    # ---- the training thread ---------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A loop begins, or the focus has moved: what comes from now on belongs to the focus layer."""
        self._waiting = []  # all was recorded before the focus moved
        self.history.focus(self._layer.name)
        self._failure = ""
        if self._layer.info is not None:
            early, self._early = self._early, []
            self._watching()  # the layer that comes into focus has watches of its own
            try:
                self.watch(early)
            except TdbError as error:  # named before anybody knew how many there are
                self._failure = f"nothing is watched: {error}"

    def watch(self, ids: Iterable[int], *, replace: bool = False) -> None:
        """Watch further features, or exactly these; without a layer yet, from when there is one.

        Raises:
            UsageError: there is no such feature.
        """
        if self._layer.info is None:
            self._early = list(dict.fromkeys([*([] if replace else self._early), *ids]))
            return
        self.flush()
        weights = self._layer.weights()
        if replace:
            self.watches.replace(ids, weights)
        else:
            self.watches.add(ids, weights)
        self._watching()

    def unwatch(self, ids: Iterable[int]) -> None:
        """Stop watching features; their trajectories stay.

        Raises:
            UsageError: a feature is not watched.
        """
        gone = list(ids)
        if self._layer.info is None:
            self._early = [feature for feature in self._early if feature not in gone]
            return
        self.flush()
        self.watches.remove(gone)
        self._watching()

    def clear_trajectories(self) -> None:
        """Forget the trajectories; the watches stay."""
        self.flush()
        self.watches.clear_trajectories()

    def wants_metrics(self, tick: int) -> bool:
        """Return whether the metrics of this tick are to be recorded, or compared with those that are."""
        if self.known is not None and self.known.has_metrics(tick):
            return not self._failure
        return (self._index is not None or self.dense or tick % self.every == 0 or tick == 1) and not self._failure

    def needs_layer(self, tick: int) -> bool:
        """Return whether the step of this tick must be captured for its metrics: they are followed, and no rule's.

        Where nobody does, what a free run records now and then is what costs no capture: norms, and the cosine with
        the initial weights.
        """
        if self.known is not None and self.known.was_captured(tick):
            return True
        followed = self._layer.info is not None and (self.dense or self._index is not None)
        return followed and not any(panel.layer == self._layer.name for panel in self._panels)

    def next_metrics(self, tick: int) -> int:
        """Return the first tick after `tick` at which metrics are to be recorded, as far as is known now."""
        if self.wants_metrics(tick + 1):
            return tick + 1
        regular = (tick // self.every + 1) * self.every
        recorded = self.known.next_metrics(tick) if self.known is not None else None
        return regular if recorded is None else min(regular, recorded)

    def record(self, timeline: int, steps: Sequence[tuple[Position, float]], *, metrics: bool) -> None:
        """Record finished steps with their wall times, the last of them with metrics if that is asked for.

        Steps that history knows are compared with it, and not recorded again. What goes wrong with metrics ends their
        recording, never training.
        """
        known = self.known
        recorded = steps if known is None else [each for each in steps if each[0].tick > known.until]
        if known is not None:
            for position, _ in steps[: len(steps) - len(recorded)]:
                known.compare_loss(position)
        for (tick, step, epoch, loss), wall_time in recorded:
            self.history.append_step(timeline, tick, step, epoch, wall_time, loss)
        if metrics and self._layer.info is not None and not self._failure:
            try:
                self._record_metrics(timeline, *steps[-1])
            except (LookupError, StateError):
                pass  # not in this step: the rule has not seen one yet, or the layer had no gradient
            except Exception as error:  # noqa: BLE001 - a rule's mistake must not end a training run
                self._failure = f"metrics are not recorded any more: {type(error).__name__}: {error}"

    def flush(self) -> None:
        """Compute the metrics of the steps that wait for them: history and trajectories are complete then."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            names, blocks, weights = self._waiting_metrics()
            for step, block, rows in zip(waiting, blocks, weights, strict=True):
                self._append(step, names, block, rows)
        except Exception as error:  # noqa: BLE001 - as above
            self._failure = f"metrics are not recorded any more: {type(error).__name__}: {error}"

    def leave_out(self, timeline: int, steps: Sequence[tuple[Position, float]]) -> None:
        """Record finished steps, but of the last that it was left out, and why it is missing."""
        if steps[:-1]:
            self.record(timeline, steps[:-1], metrics=False)
        tick, step, *_ = steps[-1][0]
        self.history.leave_out(timeline, tick, step)

    def keep(self, timeline: int, position: Position) -> None:
        """Training may stop at its last finished step: all is recorded, this step too if it was left out."""
        self.flush()
        tick, step, epoch, loss = position
        if tick > self.history.newest[0]:  # one that is not was taken again
            self.history.append_step(timeline, tick, step, epoch, time.time(), loss)

    def _record_metrics(self, timeline: int, position: Position, wall_time: float) -> None:
        panel = next((panel for panel in self._panels if panel.layer == self._layer.name), None)
        known = self.known if self.known is not None and position.tick <= self.known.until else None
        if known is not None and panel is None and self._layer.captured != known.was_captured(position.tick):
            return  # it was recorded with other metrics
        step = Waiting(timeline, position, wall_time, known)
        batch = self._layer.let_wait() if panel is None else None
        if batch is None:
            self.flush()
            self._append(step, *self._metrics(panel), None)
            return
        if batch.waiting == len(self._waiting):  # it has other metrics than those that wait
            self.flush()
            self._layer.let_wait()
        self._waiting.append(step)
        if batch.full or known is not None or wall_time - self._waiting[0].wall_time > LONGEST_WAIT:
            self.flush()

    def _append(self, step: Waiting, names: tuple[str, ...], block: Array, weights: Array | None) -> None:
        position = step.position
        if names != self._names:
            self._names = names  # history is fastest with the very same tuple each time
        if step.known is not None:
            step.known.compare_metrics(position, self._names, block)
        else:
            self.history.append_metrics(step.timeline, position.tick, position.step, self._names, block)
        if self._index is not None:
            self._append_watched(self._index, step, block, weights)

    def _append_watched(self, index: Tensor, step: Waiting, block: Array, weights: Array | None) -> None:
        ids = self.watches.get_watched()
        rows = self._layer.rows_of(index) if weights is None else weights[ids]
        position = step.position
        self.watches.append(step.timeline, position.tick, position.step, rows, self._names, block[:, ids])

    def _metrics(self, panel: Panel | None) -> tuple[tuple[str, ...], Array]:
        """Return the metrics' names and their values now, [m, D]."""
        of_weights = self._layer.metrics_of_weights() if panel is None else None
        if of_weights is not None:
            return of_weights
        found = self._layer.metrics() if panel is None else panel.some_metrics(panel.columns)
        names = tuple(found) if panel is None else tuple(name for name in panel.columns if name in found)
        if all(in_host_memory(found[name]) for name in names):
            return names, np.array([found[name].detach().numpy() for name in names], np.float32)
        import torch

        return names, torch.stack([found[name] for name in names]).float().cpu().numpy()

    def _waiting_metrics(self) -> tuple[tuple[str, ...], Array, Array]:
        """Return names, values [n, m, D], and weights [n, D, F] of the steps that wait, which do so no more."""
        batch = self._layer.batch
        names, blocks = batch.metrics()
        weights = batch.weights()
        batch.release()
        return names, blocks, weights

    def _watching(self) -> None:
        import torch

        ids = self.watches.get_watched()
        self._index = torch.tensor(ids, device=self._layer.weights().device) if ids else None
