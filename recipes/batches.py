"""Batches epoch after epoch, with a position that can be told and gone back to."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sized
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor


class Loader(Sized, Protocol):
    """Gives an epoch's batches (images, labels) each time it is iterated over."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Begin an epoch."""


class Batches:
    """The batches of a loader without an end.

    The position is the epoch, how many of its batches were given, and the random generators as they stood when the
    epoch began: from these the loader draws the same order again.

    Attributes:
        epoch: of the last batch; epochs count from 1, 0 is before the first.
    """

    def __init__(self, loader: Loader, epoch: int = 0) -> None:
        self.loader = loader
        self.epoch = epoch
        self._given = 0
        self._seam: Generators | None = None
        self._batches: Iterator[tuple[Tensor, Tensor]] | None = None

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        while True:
            if self._batches is None:
                self.epoch += 1
                self._begin()
            assert self._batches is not None
            for batch in self._batches:
                self._given += 1
                return batch
            self._batches = None

    def state(self) -> dict[str, Any]:
        """Return the position."""
        begun = self._batches is not None
        return {"epoch": self.epoch, "given": self._given, "seam": self._seam, "begun": begun}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to a position that `state` has told; the random generators are then as they stood when its epoch began."""
        self.close()
        self.epoch = state["epoch"]
        if state["begun"]:
            state["seam"].put_back()
            self._begin()
            assert self._batches is not None
            skip(self._batches, state["given"])
            self._given = state["given"]

    def close(self) -> None:
        """Let the loader's worker processes go; the next batch begins a new epoch.

        Left to the garbage collector, each of them makes it wait for five seconds.
        """
        self._batches = None

    def _begin(self) -> None:
        self._given, self._seam = 0, Generators.now()
        self._batches = iter(self.loader)


class Generators(NamedTuple):
    """The states of the random generators that data may be drawn with; never changed."""

    python: Any
    numpy: Any
    torch: Tensor

    @classmethod
    def now(cls) -> Generators:
        """Return them as they stand."""
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state())

    def put_back(self) -> None:
        """Make the generators what they were."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)


def skip(batches: Iterator[Any], count: int) -> None:
    """Pass over batches; a loader without worker processes only draws their indices, and fetches nothing."""
    only_indices = getattr(batches, "_next_index", None) if getattr(batches, "_num_workers", None) == 0 else None
    for _ in range(count):
        if only_indices is None:
            next(batches)
        else:
            only_indices()
