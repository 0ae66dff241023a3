"""The updates that optimizers are making: one may make another, as that of a wrapper or of a subclass does."""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Any

# Where torch wraps each optimizer's `step` in what calls the hooks.
_OPTIMIZER_FILE = os.path.join("torch", "optim", "optimizer.py")  # noqa: PTH118 - the end of a path


class Updates:
    """The updates that have begun, less those known to have ended: one that raises does not say so."""

    def __init__(self) -> None:
        self._under_way: list[int] = []  # by the optimizers' identities, the outer one first

    @property
    def any(self) -> bool:
        """Whether one is under way."""
        return bool(self._under_way)

    def is_around(self) -> bool:
        """Return whether this is called from inside one: from its closure."""
        return bool(self._under_way) and _around(sys._getframe()) > 0  # noqa: SLF001 - what a debugger reads

    def begun(self, optimizer: Any) -> None:
        """An optimizer is about to make its update, inside of those under way."""
        if self._under_way:  # or they have ended by an exception
            self._keep_around(sys._getframe())  # noqa: SLF001 - as above
        self._under_way.append(id(optimizer))

    def noted(self, optimizer: Any) -> None:
        """The same, of an update that began some time ago."""
        self._under_way.append(id(optimizer))

    def ended(self) -> bool:
        """An update was made; return whether that was the outermost one."""
        if len(self._under_way) > 1:
            self._keep_around(sys._getframe())  # noqa: SLF001 - as above
            if self._under_way:  # the outer one is still to come
                return False
        self._under_way.clear()
        return True

    def forget(self) -> None:
        """None is under way: the one that was is left out."""
        self._under_way.clear()

    def _keep_around(self, frame: FrameType) -> None:
        """Keep those that are around the one of which a hook has called."""
        del self._under_way[_around(frame) - 1 :]


def _around(frame: FrameType | None) -> int:
    """Return in how many updates of optimizers a frame is."""
    count = 0
    while frame is not None:
        code = frame.f_code
        count += code.co_name == "wrapper" and code.co_filename.endswith(_OPTIMIZER_FILE)
        frame = frame.f_back
    return count
