"""One pass over a loop's batches, each of which can be given again: as it is, drawn anew, or kept."""

from __future__ import annotations

import array
import copy
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from tdb.captures import is_tensor, own
from tdb.guard import generators
from tdb.passes.draws import Draws, Jump, generators_of, put

MOST_KEPT = 1000


class Source(Protocol):
    """The batches of one pass.

    Attributes:
        given: how many were drawn so far.
        first: the number of the first that can still be given again.
    """

    given: int
    first: int

    def draw(self) -> Any:
        """Return the next batch that nobody has had yet.

        Raises:
            StopIteration: there is none.
        """

    def again(self, number: int) -> Any:
        """Return a batch that was drawn before, and leave the random generators as drawing it left them."""

    def end(self) -> None:
        """Leave the generators as finding that there is no further batch left them."""


class Indexed:
    """The entries of a list, which are there to be taken at any time."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self.given = self.first = 0
        self._batches = batches

    def draw(self) -> Any:
        """Return the next entry."""
        if self.given >= len(self._batches):
            raise StopIteration
        self.given += 1
        return self._batches[self.given - 1]

    def again(self, number: int) -> Any:
        """Return an entry."""
        return self._batches[number]

    def end(self) -> None:
        """Nothing was drawn."""


class Drawn:
    """A DataLoader without workers: a batch is fetched again from the indices that its sampler gave.

    The generators jump to where the sampler has left them, before the fetch, so that what the fetch itself draws comes
    again: a seed for the order at the beginning of a pass, or whatever a sampler of the user's own draws.
    """

    def __init__(self, loader: Any) -> None:
        self.given = self.first = 0
        self._indices: list[Any] = []
        self._jumps: dict[int, Jump] = {}
        self._again: int | None = None
        every, its_own = generators(), generators_of(loader)
        self._first = Draws([*every, *its_own])
        self._later = Draws(its_own if _draws_at_the_start_alone(loader) else [*every, *its_own])
        self._first.look()
        self._iterator = iter(loader)
        self._sampler = self._iterator._sampler_iter  # noqa: SLF001 - the one place that all indices come through
        self._iterator._sampler_iter = self  # noqa: SLF001

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """Return the indices of the batch that is being fetched."""
        if self._again is not None:
            put(self._jumps.get(self._again))
            return _unpacked(self._indices[self._again])
        draws, number = self._later if self._indices else self._first, len(self._indices)
        if number:
            draws.look()
        try:
            indices = next(self._sampler)
            self._indices.append(_packed(indices))
            return indices
        finally:
            jump = draws.jump()
            if jump is not None:
                self._jumps[number] = jump

    def draw(self) -> Any:
        """Fetch the next batch."""
        batch = next(self._iterator)
        self.given += 1
        return batch

    def again(self, number: int) -> Any:
        """Fetch a batch again."""
        self._again = number
        try:
            return next(self._iterator)
        finally:
            self._again = None

    def end(self) -> None:
        """Leave the generators as the sampler's end left them: torch's own draws once more."""
        put(self._jumps.get(len(self._indices)))


class Shelf:
    """Batches that cannot be drawn again, the last of them.

    Attributes:
        limit: bytes that they may take.
        used: bytes that they take.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._owners: deque[tuple[Kept, int]] = deque()

    def keep(self, owner: Kept, nbytes: int) -> None:
        """A batch more is kept: the oldest go when there is no room for it."""
        self._owners.append((owner, nbytes))
        self.used += nbytes
        while self._owners and (self.used > self.limit or len(self._owners) > MOST_KEPT):
            oldest, size = self._owners.popleft()
            oldest.forget()
            self.used -= size


class Kept:
    """Whatever else can be iterated over: its last batches are kept, with where each has left the generators."""

    def __init__(self, batches: Iterable[Any], shelf: Shelf) -> None:
        self.given = self.first = 0
        self._shelf = shelf
        self._batches: dict[int, tuple[Any, Jump | None]] = {}
        self._end: Jump | None = None
        self._draws = Draws([*generators(), *generators_of(batches)])
        self._draws.look()
        self._iterator = iter(batches)

    def draw(self) -> Any:
        """Return the next batch."""
        if self.given:
            self._draws.look()
        try:
            batch = next(self._iterator)
        except StopIteration:
            self._end = self._draws.jump()
            raise
        self._batches[self.given] = copied(batch), self._draws.jump()
        self.given += 1
        self._shelf.keep(self, size(batch))
        return batch

    def again(self, number: int) -> Any:
        """Return a copy of a batch."""
        batch, jump = self._batches[number]
        put(jump)
        return copied(batch)

    def end(self) -> None:
        """Leave the generators as the iterator's end left them."""
        put(self._end)

    def forget(self) -> None:
        """Let the oldest batch go."""
        self._batches.pop(self.first, None)
        self.first += 1


def source_of(batches: Iterable[Any], shelf: Shelf) -> Source:
    """Begin a pass over batches."""
    if isinstance(batches, list | tuple | range):
        return Indexed(batches)
    return Drawn(batches) if _is_plain_loader(batches) else Kept(batches, shelf)


def is_one_shot(batches: Iterable[Any]) -> bool:
    """Return whether a pass over batches cannot be begun beside another one, which it would disturb."""
    return hasattr(batches, "__next__") or bool(getattr(batches, "persistent_workers", False))


def _is_plain_loader(batches: Any) -> bool:
    """Return whether these are the batches of a DataLoader that fetches by index in this process."""
    data = sys.modules.get("torch.utils.data")
    if data is None or not isinstance(batches, data.DataLoader) or batches.num_workers:
        return False
    is_mapped = not isinstance(batches.dataset, data.IterableDataset)
    return is_mapped and type(batches).__iter__ is data.DataLoader.__iter__


def _draws_at_the_start_alone(loader: Any) -> bool:
    """Return whether the indices come from samplers of torch's own, which draw when a pass begins and not later."""
    from torch.utils import data

    samplers = [loader.batch_sampler, loader.sampler]
    if loader.batch_sampler is not None:
        samplers.append(getattr(loader.batch_sampler, "sampler", None))
    own_kinds = (
        data.BatchSampler,
        data.RandomSampler,
        data.SequentialSampler,
        data.SubsetRandomSampler,
        data.WeightedRandomSampler,
        data.DistributedSampler,
    )
    return all(each is None or type(each) in own_kinds or type(each).__name__ == "_FakeSampler" for each in samplers)


def _packed(indices: Any) -> Any:
    """Return a list of whole numbers in a tenth of its memory."""
    if type(indices) is list and all(type(each) is int for each in indices):
        try:
            return array.array("i", indices)
        except OverflowError:
            return array.array("q", indices)
    return copy.copy(indices)


def _unpacked(indices: Any) -> Any:
    return indices.tolist() if isinstance(indices, array.array) else copy.copy(indices)


PLAIN = (list, tuple, dict, int, float, str, type(None))


def copied(batch: Any) -> Any:
    """Return a copy of a batch that is of the same kind, down to its containers."""
    parts = batch.values() if type(batch) is dict else batch if type(batch) in (list, tuple) else ()
    if is_tensor(batch) or (type(batch) in PLAIN and all(is_tensor(each) or type(each) in PLAIN[3:] for each in parts)):
        return own(batch)
    return copy.deepcopy(batch)


def size(batch: Any) -> int:
    """Return how many bytes the tensors and arrays in a batch take."""
    if hasattr(batch, "nbytes"):
        return int(batch.nbytes)
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    if not parts and hasattr(batch, "__dict__"):
        parts = vars(batch).values()
    return sum(size(each) for each in parts)
