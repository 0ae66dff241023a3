"""The tap on data: everybody who listens sees each batch that a script draws from a DataLoader.

All iterators of `torch.utils.data.DataLoader` share one `__next__`, and only that is replaced while a tap is on. The
script keeps its own loaders and iterators: nothing is wrapped that it might pickle, copy, measure or compare.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tdb.patches import Patches, passed_over

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

ON_ITERATOR = "_tdb_pass"  # on the iterator itself: it lives as long as its pass


class Fetch(NamedTuple):
    """One batch, drawn from a loader.

    Attributes:
        loader: whose it is.
        epoch: how many passes over this loader had been begun, this one included.
        number: the batch's number in its pass, from 0.
        batch: what the script receives; the same object.
    """

    loader: DataLoader[Any]
    epoch: int
    number: int
    batch: Any


class Listener(Protocol):
    """Who listens; called in the thread that draws the batch."""

    def fetching(self, loader: DataLoader[Any], epoch: int, number: int) -> None:
        """Batch `number` of a pass is about to be drawn, or it will turn out that the pass has ended."""

    def fetched(self, fetch: Fetch) -> None:
        """A batch was drawn; the script does not have it yet."""

    def exhausted(self, loader: DataLoader[Any], epoch: int) -> None:
        """A pass has ended: the loader has no further batch in it."""


class Pass:
    """A pass over a loader, as far as it has come.

    Attributes:
        loader: gives the loader, None if it is there no more.
        epoch: as in `Fetch`.
        number: the number of the batch ahead.
        quiet: its batches are told to nobody: they wait here to be asked for. Its end is told.
        batch: the last of those.
        draw: gives the iterator's next batch in place of the iterator's own method, which it is given, too.
    """

    def __init__(self, loader: DataLoader[Any], epoch: int) -> None:
        # A loader with lasting workers keeps its iterator: a reference back would keep both from being freed at once.
        lasting = loader.num_workers > 0 and loader.persistent_workers
        self.loader: Callable[[], DataLoader[Any] | None] = weakref.ref(loader) if lasting else lambda: loader
        self.epoch = epoch
        self.number = 0
        self.quiet = False
        self.batch: Any = None
        self.draw: Callable[[Any, Callable[[Any], Any]], Any] | None = None

    def take(self, number: int) -> Fetch | None:
        """Return the batch that nobody was told of, which has this number, if there is one, and forget it."""
        batch, self.batch = self.batch, None
        loader = self.loader()
        return None if batch is None or loader is None else Fetch(loader, self.epoch, number, batch)


class Tap:
    """Reports every batch to its listeners, from `put_on` to `take_off`.

    Attributes:
        listeners: who is told, in this order; to be replaced as a whole.
        begun: is told of each pass that begins, with its iterator and what gives an iterator's next batch.
    """

    def __init__(self) -> None:
        self.listeners: tuple[Listener, ...] = ()
        self.begun: Callable[[Any, Pass, Callable[[Any], Any]], None] | None = None
        self._following: Callable[[Any], Any] = next
        self._last: weakref.ref[Pass] | None = None
        self._patches = Patches()
        self._begun: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def put_on(self) -> None:
        """Report from now on; iterators that exist already are not seen until they begin another pass."""
        from torch.utils.data import dataloader

        iterators = dataloader._BaseDataLoaderIter  # noqa: SLF001 - the one class that all of them derive from
        self._patches.replace(iterators, "__init__", lambda plain: _Beginning(plain, self._reporting_begin(plain)))
        for kind in (dataloader._SingleProcessDataLoaderIter, dataloader._MultiProcessingDataLoaderIter):  # noqa: SLF001
            self._patches.replace(kind, "__init__", self._reporting_begin)
        self._patches.replace(iterators, "_reset", self._reporting_reset)
        self._patches.replace(iterators, "__next__", self._reporting_next)

    def take_off(self) -> None:
        """Leave the loaders as they were."""
        self._patches.take_off()

    @property
    def last(self) -> Pass | None:
        """The pass that the last batch was of which somebody was told, if it is still under way."""
        return self._last() if self._last is not None else None

    def _reporting_begin(self, plain: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(plain)
        def __init__(iterator: Any, loader: DataLoader[Any], *args: Any, **kwargs: Any) -> None:  # noqa: N807
            self._begin(iterator, loader)
            plain(iterator, loader, *args, **kwargs)

        return __init__

    def _reporting_reset(self, plain: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(plain)
        def _reset(iterator: Any, loader: DataLoader[Any], first_iter: bool = False) -> None:
            if not first_iter:  # lasting workers: the same iterator passes over the data once more
                self._begin(iterator, loader)
            plain(iterator, loader, first_iter)

        return _reset

    def _reporting_next(self, plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
        self._following = plain

        @passed_over
        @functools.wraps(plain)
        def __next__(iterator: Any) -> Any:  # noqa: N807
            under_way: Pass | None = getattr(iterator, ON_ITERATOR, None)
            if under_way is None:
                return plain(iterator)
            if not under_way.quiet:
                return self._told(under_way, iterator, plain)
            draw = under_way.draw
            try:
                under_way.batch = batch = plain(iterator) if draw is None else draw(iterator, plain)
            except StopIteration:
                self._tell_end(under_way)
                raise
            under_way.number += 1
            return batch

        return __next__

    @passed_over
    def _told(self, under_way: Pass, iterator: Any, plain: Callable[[Any], Any]) -> Any:
        """Return the next batch, after everybody who listens was told of it."""
        loader = under_way.loader()
        if loader is None:
            return plain(iterator)
        epoch, number, listeners = under_way.epoch, under_way.number, self.listeners
        for listener in listeners:
            listener.fetching(loader, epoch, number)
        try:
            batch = plain(iterator) if under_way.draw is None else under_way.draw(iterator, plain)
        except StopIteration:
            self._tell_end(under_way)
            raise
        under_way.number += 1
        self._last = weakref.ref(under_way)  # not the pass: it would keep the loader and its data
        fetch = Fetch(loader, epoch, number, batch)
        for listener in listeners:
            listener.fetched(fetch)
        return batch

    def _tell_end(self, under_way: Pass) -> None:
        loader = under_way.loader()
        if loader is not None:
            for listener in self.listeners:
                listener.exhausted(loader, under_way.epoch)

    def _begin(self, iterator: Any, loader: DataLoader[Any]) -> None:
        epoch = self._begun[loader] = self._begun.get(loader, 0) + 1
        under_way = Pass(loader, epoch)
        setattr(iterator, ON_ITERATOR, under_way)
        if self.begun is not None:
            self.begun(iterator, under_way, self._following)


class _Beginning:
    """An `__init__` that reports the pass, or is the plain one if that was done.

    torch warns there, in the name of what calls it: of the loader, as in a plain run, if nothing comes in between.
    """

    def __init__(self, plain: Callable[..., None], reporting: Callable[..., None]) -> None:
        self._plain = plain
        self._reporting = reporting

    def __get__(self, iterator: Any, kind: Any = None) -> Any:
        is_done = iterator is not None and ON_ITERATOR in vars(iterator)
        return (self._plain if is_done else self._reporting).__get__(iterator, kind)
