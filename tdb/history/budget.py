"""The bytes that all recorded columns share, and the ticks that thinning never takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.errors import UsageError
from tdb.history.series import Series

if TYPE_CHECKING:
    from tdb.results import Array

MIB = 2**20
SMALLEST_BUDGET = 64 * 2**10

MARK = np.dtype([("tick", "i8"), ("step", "i8"), ("timeline", "i4"), ("word", "i4")])


class Budget:
    """The bytes that several series share; the largest of them gives way when a new chunk needs room.

    Attributes:
        limit: bytes that all chunks together may take.
        used: bytes that they take now.
        marks: the steps that thinning never takes, with a word each.

    Raises:
        UsageError: the limit is below 64 KiB.
    """

    def __init__(self, limit: int) -> None:
        self.used = 0
        self._series: list[Series] = []
        self.resize(limit)
        self.marks = Series(self, MARK)

    def resize(self, limit: int) -> None:
        """Set another limit; what exceeds it is thinned at once. Training thread only."""
        if limit < SMALLEST_BUDGET:
            raise UsageError(f"a budget of {limit} bytes holds no history", "Give 64KiB or more, e.g. 256MiB")
        self.limit = limit
        for series in self._series:
            series.seal()
        self.make_room(0)

    def make_room(self, size: int) -> None:
        """Thin the largest series until `size` more bytes fit, or nothing is left that could go."""
        while self.used + size > self.limit:
            # Marks say what must stay, so they go only where they themselves are what fills the budget.
            giving = [series for series in self._series if series is not self.marks or 8 * series.nbytes > self.limit]
            largest_first = sorted(giving, key=lambda series: series.nbytes, reverse=True)
            least = max((series.nbytes for series in giving), default=0) / 16
            large = [series for series in largest_first if series.nbytes >= least]
            small = largest_first[len(large) :]
            # What takes next to nothing, as the losses beside wide metrics, gives way only where that is enough.
            if sum(series.nbytes for series in small) < self.used + size - self.limit:
                small = []
            # The newer halves give way only where no older half has anything left, as after a much smaller limit.
            if not any(series.thin(share) for some in (large, small) for share in (0.5, 1.0) for series in some):
                return

    def holds(self, row_bytes: int) -> bool:
        """Tell whether rows of this size leave room for a history worth the name: sixteen of them."""
        return 16 * row_bytes <= self.limit

    @property
    def chunk_bytes(self) -> int:
        """Bytes of the largest chunks: 1 MiB, so that thinning two of them takes less than a millisecond."""
        return min(MIB, self.limit // 64)

    def rows_in_a_chunk(self, dtype: np.dtype[Any]) -> int:
        """Return how many rows the largest chunks hold."""
        return max(1, self.chunk_bytes // dtype.itemsize)

    def allocate(self, count: int, dtype: np.dtype[Any]) -> Array:
        """Return `count` rows of memory.

        Chunks that are all but full take the same number of bytes whatever is in them, so that the memory one gives
        back fits the next: without that the heap of a long run was a fifth larger than what it held.
        """
        most = self.chunk_bytes
        if most * 15 < count * dtype.itemsize * 16 <= most * 16:
            block = np.empty(most, np.uint8)
            return block[: count * dtype.itemsize].view(dtype)
        return np.empty(count, dtype)

    def admit(self, series: Series) -> None:
        """Count `series` in from now on."""
        self._series.append(series)

    def release(self, series: Series) -> None:
        """Forget `series`: its bytes are free again."""
        self._series.remove(series)
        self.used -= series.nbytes
