"""Whose calls are heard: the modules of what is trained, and which of them the step under way has called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from tdb.finder.events import Events
from tdb.finder.models import parts_of

if TYPE_CHECKING:
    from torch import nn

    from tdb.finder.models import Root


class Hearing:
    """Listens to the outermost modules, and to parts of them that the loop may call by themselves.

    Args:
        events: tells when modules are called.

    Attributes:
        is_possible: calls can be heard at all; not those of a model that was compiled whole.
        is_on: they are.
        called: the modules, by their ids, that the step under way has called.
    """

    def __init__(self, events: Events) -> None:
        self.is_possible = self.is_on = False
        self.called: set[int] = set()
        self._events = events
        self._outermost: list[nn.Module] = []
        self._parts: dict[int, tuple[nn.Module, nn.Module]] = {}

    def begin(self, roots: Iterable[Root], parts: Mapping[int, tuple[nn.Module, nn.Module]], *, compiled: bool) -> None:
        """A loop begins.

        Args:
            roots: what it trains.
            parts: those that several optimizers share, each with the outermost module it is of, by the part's id.
            compiled: some of the roots are.
        """
        self._outermost = [root.outer for root in roots if not compiled or root.outer is not root.module]
        self._parts = {} if compiled else dict(parts)
        self.is_on = self.is_possible = bool(self._outermost)
        self._listen()

    def hear_parts_around(self, module: nn.Module) -> None:
        """Hear the parts beside the first module that was called: it may be a part of one that the loop never calls."""
        for root in self._outermost:
            if root is not module and any(each is module for each in root.modules()):
                self._parts.update({id(part): (part, root) for part in parts_of(root, module)})
        self._listen()

    def note(self, module: nn.Module) -> bool:
        """A module is called; return whether that is by the loop itself, as far as is known: by none around it."""
        self.called.add(id(module))
        _, root = self._parts.get(id(module), (None, None))
        return root is None or id(root) not in self.called

    def stop(self) -> None:
        """Their calls are of no more use: batches and steps are known without."""
        self.is_on = False
        self._events.listen_to(())

    def _listen(self) -> None:
        self._events.listen_to([*self._outermost, *(part for part, _ in self._parts.values())])
