"""Steps that wait for the metrics of their learning rule, and for what is watched of the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from tdb.panel import Recorded
    from tdb.results import Array
    from tdb.waiting import Computed

MOST_STEPS = 64
MOST_BYTES = 2**20


class RuleBatch:
    """Steps of one rule; used in the training thread only.

    Args:
        recorded: how the rule's metrics are computed.
        parts: n tensors [D], such as every step leaves them.
        row_shape: (w, F), if w features are watched.

    Attributes:
        waiting: how many steps wait.
        is_large: see `tdb.waiting.Batch`.
    """

    is_large = False

    def __init__(self, recorded: Recorded, parts: Sequence[Tensor], row_shape: tuple[int, int] | None) -> None:
        self.waiting = 0
        self._recorded = recorded
        self._count, self._shape = len(parts), parts[0].shape
        self._parts: list[Tensor] = []  # of all steps that wait, one after the other
        size = sum(part.nbytes for part in parts) + (4 * prod(row_shape) if row_shape is not None else 0)
        self._size = min(MOST_STEPS, max(1, MOST_BYTES // size))
        self._rows: Array | None = np.empty((self._size, *row_shape), np.float32) if row_shape is not None else None

    @property
    def full(self) -> bool:
        """Whether no other step may wait."""
        return self.waiting == self._size

    def fits(self, recorded: Recorded, parts: Sequence[Tensor]) -> bool:
        """Return whether a step that left `parts` can wait together with those that do."""
        return recorded is self._recorded and len(parts) == self._count and parts[0].shape == self._shape

    def put(self, parts: Sequence[Tensor]) -> Array | None:
        """Let a step wait; return where the rows [w, F] of its watched features go, None if nothing is watched."""
        self._parts += parts
        self.waiting += 1
        return None if self._rows is None else self._rows[self.waiting - 1]

    def take(self, ids: Array | None) -> Callable[[], Computed]:
        """Let the steps that wait go, see `tdb.waiting.Batch`."""
        del ids
        parts, rows = self._parts, None if self._rows is None else self._rows[: self.waiting]
        waiting, self.waiting, self._parts = self.waiting, 0, []
        return partial(self._computed, waiting, parts, rows)

    def _computed(self, waiting: int, kept: list[Tensor], rows: Array | None) -> Computed:
        import torch

        parts = torch.stack(kept).detach()
        found = self._recorded.columns(parts.reshape(waiting, self._count, -1))
        blocks: Array = torch.stack(list(found.values()), dim=1).float().cpu().numpy()
        return tuple(found), blocks, rows
