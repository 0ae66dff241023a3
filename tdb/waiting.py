"""Steps that wait to be recorded: with the metrics that are left to be computed, for many of them together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tdb.some_metrics import SomeMetrics

if TYPE_CHECKING:
    from tdb.results import Array
    from tdb.step import Position
    from tdb.travel.known import Known


class Waiting(NamedTuple):
    """A finished step with metrics to be recorded, or compared with what is `known` of it.

    Attributes:
        names: of the metrics.
        block: their values [m, D]; None if they are still to be computed: `later`, or else from what waits in the
            layer's batch.
        later: by their names, each [D], or what gives it.
        rows: the weights [n, F] of the watched features, if they are known already.
    """

    timeline: int
    position: Position
    known: Known | None
    names: tuple[str, ...] = ()
    block: Array | None = None
    later: Mapping[str, Any] | None = None
    rows: Any = None

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return self.block.nbytes if self.block is not None else 0


class Together(NamedTuple):
    """Steps one after another of one branch with the same m metrics, all of them computed.

    Attributes:
        steps: k of them.
        names: of the metrics.
        blocks: [k, m, D], their values.
        rows: [k, n, F], the weights of the watched features; None if nothing is watched.
    """

    steps: Sequence[Waiting]
    names: tuple[str, ...]
    blocks: Array
    rows: Array | None

    def places(self) -> Array:
        """Return ticks and steps [k, 2]."""
        return np.array([step.position[:2] for step in self.steps], np.int64)


def computed(waiting: Sequence[Waiting | SomeMetrics]) -> Iterator[Together | SomeMetrics]:
    """Give what waits, with all computed that was left for later: an accelerator is waited for once, not each step."""
    for kind, some in groupby(waiting, key=_kind):
        steps = []
        for each in some:
            if isinstance(each, Waiting):
                steps.append(each)
            else:
                yield each
        if kind is not None:
            rows = None if steps[0].rows is None else np.stack([step.rows for step in steps])
            yield Together(steps, steps[0].names, _blocks(steps), rows)


def _kind(each: Waiting | SomeMetrics) -> tuple[Any, ...] | None:
    """Return in what steps are alike that are recorded together."""
    if isinstance(each, Waiting):
        return each.timeline, each.names, each.later is None, each.rows is None
    return None


def _blocks(steps: Sequence[Waiting]) -> Array:
    """Return the metrics [k, m, D] of steps that have the same."""
    if steps[0].later is None:
        return np.stack([step.block for step in steps if step.block is not None])
    import torch

    values = [value() if callable(value) else value for step in steps for value in (step.later or {}).values()]
    blocks: Array = torch.stack(values).detach().float().cpu().numpy()
    return blocks.reshape(len(steps), len(steps[0].names), -1)
