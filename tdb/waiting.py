"""Steps that wait to be recorded: with their metrics, or in a batch in which those are computed for all together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from tdb.some_metrics import SomeMetrics

if TYPE_CHECKING:
    from tdb.results import Array
    from tdb.step import Finished
    from tdb.travel.known import Known


Computed: TypeAlias = "tuple[tuple[str, ...], Array, Array | None]"
"""Of n steps the names of their m metrics, the values [n, m, D], and the weights [n, w, F] of the watched features."""


class Batch(Protocol):
    """Where steps wait for their metrics, to be computed together."""

    @property
    def waiting(self) -> int:
        """How many steps wait."""

    @property
    def full(self) -> bool:
        """Whether no other step may wait."""

    @property
    def is_large(self) -> bool:
        """Whether computing takes so long that it is better done beside training."""

    def take(self, ids: Array | None) -> Callable[[], Computed]:
        """Let the steps that wait go, and return what computes what was missing of them.

        To be called before another step waits here; if the batch is large, before `take` is called once more.

        Args:
            ids: [w], the watched features; None if there are none.
        """


Place: TypeAlias = "tuple[int, Finished, Known | None]"
"""Timeline and position of a finished step, and what is known of it if it is to be compared instead of recorded."""


class Waiting(NamedTuple):
    """A finished step with its m metrics.

    Attributes:
        place: which step.
        names: of the metrics.
        block: [m, D], their values.
        rows: the weights [w, F] of the watched features; None if there are none.
    """

    place: Place
    names: tuple[str, ...]
    block: Array
    rows: Array | None

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return self.block.nbytes + (0 if self.rows is None else self.rows.nbytes)


class Together(NamedTuple):
    """Steps of one branch with the same m metrics.

    Attributes:
        places: of k steps.
        names: of the metrics.
        blocks: [k, m, D], their values.
        rows: [k, w, F], the weights of the watched features; None if nothing is watched.
    """

    places: Sequence[Place]
    names: tuple[str, ...]
    blocks: Array
    rows: Array | None

    def steps(self) -> Array:
        """Return ticks and steps [k, 2]."""
        return np.array([finished[:2] for _, finished, _ in self.places], np.int64)


def in_order(
    waiting: Sequence[Waiting | SomeMetrics | Place], batch: Computed | None
) -> Iterator[Together | SomeMetrics]:
    """Give what waits in its order, steps together that follow each other and are alike.

    Args:
        waiting: the steps; of those in a batch only which they are.
        batch: what was computed of the latter, if there are any.
    """
    taken = 0
    for kind, some in groupby(waiting, key=_kind):
        steps: list[Any] = list(some)
        if kind is SomeMetrics:
            yield from steps
        elif kind is None and batch is not None:
            (names, all_blocks, all_rows), part = batch, slice(taken, taken + len(steps))
            taken = part.stop
            yield Together(steps, names, all_blocks[part], None if all_rows is None else all_rows[part])
        else:
            rows = None if steps[0].rows is None else np.stack([step.rows for step in steps])
            places, blocks = [step.place for step in steps], np.stack([step.block for step in steps])
            yield Together(places, steps[0].names, blocks, rows)


def _kind(each: Waiting | SomeMetrics | Place) -> Any:
    """Return in what steps are alike that are recorded together; None of those in a batch."""
    if isinstance(each, Waiting):
        return each.place[0], each.names, each.block.shape, each.rows is None
    return SomeMetrics if isinstance(each, SomeMetrics) else None
