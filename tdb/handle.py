"""What is given to those who want to be called."""

from __future__ import annotations

from collections.abc import Callable


class Handle:
    """A function that is called from now on; `remove` ends that."""

    def __init__(self, remove: Callable[[], object]) -> None:
        self._remove = remove

    def remove(self) -> None:
        """Call it no more."""
        self._remove()
