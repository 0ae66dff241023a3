"""History: loss, epoch and wall time of every step, and the metrics of the steps that recorded them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.captures import number
from tdb.counted import counted, size_in_words
from tdb.history.metrics import Metrics
from tdb.history.recorded import STEP, Recorded

if TYPE_CHECKING:
    from tdb.results import Array
    from tdb.step import Finished


class History(Recorded):
    """What every boundary left behind: appended here by the training thread, read as `Recorded` by any.

    Steps are keyed by (timeline, tick).

    Args:
        budget_bytes: what all recorded steps and metrics, and whatever else shares `budget`, may take.

    Raises:
        UsageError: the budget is below 64 KiB.
    """

    def focus(self, layer: str) -> None:
        """Let the metrics that come from now on belong to `layer`; those of other layers stay readable."""
        self._focus = layer
        self._features = self._layers.get(layer)

    def append_steps(self, timeline: int, steps: Sequence[Finished]) -> None:
        """Record boundaries in their order.

        Args:
            timeline: the branch of the run.
            steps: what is known of each. A loss on an accelerator is copied there and fetched when somebody reads it,
                or with the rest of its chunk: the training thread does not wait for the device.
        """
        ticks, numbers, epochs, losses, wall_times = zip(*steps, strict=True)
        rows = np.empty(len(steps), STEP)
        rows["tick"], rows["step"], rows["wall_time"], rows["timeline"] = ticks, numbers, wall_times, timeline
        rows["epoch"] = [-1 if epoch is None else epoch for epoch in epochs] if None in epochs else epochs
        are_numbers = set(map(type, losses)) == {float}
        rows["loss"] = losses if are_numbers else [_on_host(loss) for loss in losses]
        if are_numbers or not any(map(_is_on_device, losses)):
            self._steps.extend(rows)
        else:
            for number, loss in enumerate(losses):
                if _is_on_device(loss):
                    self._steps.room().leave_on_device(loss)
                self._steps.extend(rows[number : number + 1])
        self.timeline = timeline
        self._last = ticks[-1], numbers[-1]
        self.appended += len(steps)

    def leave_out(self, timeline: int, tick: int, step: int) -> None:
        """Take note that a step is not recorded because tdb kept out of it: no thinning, and nothing was lost."""
        self._left_out.append((tick, step, timeline))

    def mark(self, step: int, word: str, tick: int | None = None) -> None:
        """Pin a recorded step, so that thinning never takes it, and remember why: "stop", "breakpoint 2".

        Args:
            step: the step.
            word: why.
            tick: its boundary, where it is known.

        Raises:
            UsageError: the step is not in history.
        """
        if tick is None:
            tick, newest = self._last
            if step != newest:
                tick = int(self._row_of(step)["tick"])
        if word not in self._words:
            self._words.append(word)
        self.budget.marks.append((tick, step, self.timeline, self._words.index(word)))

    def append_metrics(self, timeline: int, places: Array, names: tuple[str, ...], blocks: Array) -> None:
        """Record metrics [k, m, D] of k steps whose ticks and steps are `places` [k, 2], in the order of the steps.

        They may come later than the steps do.
        """
        features = self._features_for(names, blocks[0])
        if features is not None:
            features.append(timeline, places, names, blocks)

    def _features_for(self, names: tuple[str, ...], block: Array) -> Metrics | None:
        features = self._features
        if features is None or block.shape[1:] != features.shape:
            features = self._begin_features(names, block)
        return features

    def _begin_features(self, names: tuple[str, ...], block: Array) -> Metrics | None:
        """Return where blocks of this size go: a set of its own if the layer has changed its size."""
        layer = self._focus
        if layer in self._layers and self._layers[layer].shape != block.shape[1:]:
            layer = f"{layer} ({counted(block.shape[1], 'feature')})"
        if layer not in self._layers:
            if not self.budget.holds(4 * block.size):
                self._refused = f"metrics are not recorded: one step of them takes {size_in_words(4 * block.size)}"
                return None
            self._layers[layer] = Metrics(self.budget, names, block.shape[1:])
        self._features = self._layers[layer]
        return self._features


def _is_on_device(loss: Any) -> bool:
    """Return whether a loss is to be fetched later: a tensor with one element on an accelerator."""
    return not (getattr(loss, "is_cpu", True) or loss.is_meta) and loss.numel() == 1


def _on_host(loss: Any) -> float:
    """Return a loss as it is recorded: NaN where the loop told none, or it is still to be fetched."""
    value = None if _is_on_device(loss) else number(loss)
    return np.nan if value is None else value
