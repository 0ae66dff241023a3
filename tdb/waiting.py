"""Steps that wait to be recorded: with the metrics that are left to be computed, for many of them together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

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


def computed(waiting: Sequence[Waiting | SomeMetrics]) -> Iterator[Waiting | SomeMetrics]:
    """Give what waits, with all computed that was left for later: an accelerator is waited for once, not each step."""
    for names, some in groupby(waiting, key=lambda each: each.names if _is_left(each) else ()):
        if not names:
            yield from some
            continue
        import torch

        steps = [each for each in some if isinstance(each, Waiting)]
        values = [value() if callable(value) else value for each in steps for value in (each.later or {}).values()]
        blocks = torch.stack(values).detach().float().cpu().numpy()
        for step, block in zip(steps, blocks.reshape(len(steps), len(names), -1), strict=True):
            yield step._replace(block=block)


def _is_left(each: Waiting | SomeMetrics) -> bool:
    return isinstance(each, Waiting) and each.later is not None
