"""Processes that the script starts: tdb follows none of them, and says so.

A forked child inherits every hook; there they must do nothing. A spawned one has none. Workers of a DataLoader only
load data, and are not worth a word.
"""

from __future__ import annotations

import functools
import multiprocessing.process
import os
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from tdb.patches import Patches


class Parent(Protocol):
    """Who follows the process that is debugged."""

    def left_behind(self) -> None:
        """This process was forked from that one."""

    def notify(self, text: str) -> None:
        """Tell something once at the prompt."""


_parents: weakref.WeakSet[Any] = weakref.WeakSet()


def _in_child() -> None:
    for parent in list(_parents):
        parent.left_behind()


os.register_at_fork(after_in_child=_in_child)  # for good: Python has no way to take it back


class Children:
    """Notices that the script starts processes."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._patches = Patches()
        self._told = False

    def put_on(self) -> None:
        """Notice from now on."""
        _parents.add(self._parent)
        self._patches.replace(multiprocessing.process.BaseProcess, "start", self._telling)

    def take_off(self) -> None:
        """Leave multiprocessing as it was."""
        _parents.discard(self._parent)
        self._patches.take_off()

    def _telling(self, plain: Callable[[Any], None]) -> Callable[[Any], None]:
        @functools.wraps(plain)
        def start(process: Any) -> None:
            target = getattr(process, "_target", None)  # it is gone once the process has started
            plain(process)
            if not str(getattr(target, "__module__", "")).startswith("torch.utils.data"):
                if not self._told:
                    self._parent.notify(
                        f"the script starts processes ({process.name} first): tdb follows this one, what they train is "
                        "not seen"
                    )
                self._told = True

        return start
