"""The batches of a script's loop, through `tdb.passes`: each can be given again when training goes back in place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tdb.passes.passes import Passes
from tdb.tap import Pass

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

Next = Callable[[Any], Any]


class Feed:
    """Stands between one loader's iterators and the loop, in the thread that makes it.

    Attributes:
        passes: where training is in its data.
        loader: whose batches they are.
        epoch: of the last batch, as the steps count them.
    """

    def __init__(self, passes: Passes, loader: DataLoader[Any], epoch: int) -> None:
        self.passes = passes
        self.loader = loader
        self.epoch = epoch
        self._thread = threading.get_ident()
        self._given: Iterator[tuple[int, Any]] | None = None
        self._is_used = True  # a step was taken on the last batch

    def join(self, under_way: Pass) -> None:
        """Give what is left of a pass that the loop is in."""
        under_way.draw = self._draw

    def begun(self, iterator: Any, under_way: Pass, following: Next) -> None:
        """The loop goes over the batches once more.

        Args:
            iterator: the pass's own.
            under_way: the pass.
            following: gives the next batch of an iterator.
        """
        if under_way.loader() is not self.loader or threading.get_ident() != self._thread:
            return
        if self._given is not None:  # the loop has left the pass before its end
            self.passes.left(unused=not self._is_used)
        self._enter(iterator, following, self.epoch + 1)
        self.join(under_way)

    def step_is_complete(self) -> None:
        """A step has been taken on what was drawn."""
        self._is_used = True

    def _enter(self, iterator: Any, following: Next, epoch: int) -> None:
        self._given = self.passes.enter(Rest(iterator, following, self.loader), epoch)

    def _draw(self, iterator: Any, following: Next) -> Any:
        if threading.get_ident() != self._thread:
            return following(iterator)
        if self._given is None:
            self._enter(iterator, following, self.epoch)
        assert self._given is not None
        try:
            self.epoch, batch = next(self._given)
        except StopIteration:
            self._given = None
            raise
        self._is_used = False
        return batch


class Rest:
    """What is left of a pass, with the generators that its loader draws from."""

    def __init__(self, iterator: Any, following: Next, loader: DataLoader[Any]) -> None:
        self.generator = loader.generator
        self.sampler = loader.sampler
        self.batch_sampler = loader.batch_sampler
        self._iterator = iterator
        self._following = following

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return self._following(self._iterator)
        except StopIteration:
            self._iterator = iter(())  # it may hold processes
            self._following = next
            raise
