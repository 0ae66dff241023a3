"""Which of the random generators something has drawn from: seen cheaply, because it is asked at every batch."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Pair = tuple[Callable[[], Any], Callable[[Any], None]]
Jump = list[tuple[Callable[[Any], None], Any]]
"""What puts a generator into a state, and the state, of those that were drawn from."""

MT19937_BYTES = 625 * 4  # numpy's state: 624 words and the place of the next


class Draws:
    """Looks at the generators before and after something, and returns what it has left them at.

    numpy's state takes longer to read than a small training step: until it is first drawn from, a look at its memory
    says whether it was. A normal deviate that numpy keeps for later is not in there, but whoever takes one has drawn.

    Args:
        pairs: what reads and what writes the state of each generator that may be drawn from.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs
        self._before: list[Any] = []
        self._numpy_is_used = False

    def look(self) -> None:
        """Something is about to happen."""
        self._before = self._now()

    def jump(self) -> Jump | None:
        """It has happened: return the states of the generators that it has drawn from, None if there are none."""
        after = self._now()
        changed = [pair for pair, was, now in zip(self._pairs, self._before, after, strict=True) if was != now]
        if not changed:
            return None
        self._numpy_is_used |= any(read is np.random.get_state for read, _ in changed)
        return [(write, read()) for read, write in changed]

    def _now(self) -> list[Any]:
        return [self._seen(read) for read, _ in self._pairs]

    def _seen(self, read: Callable[[], Any]) -> Any:
        memory = _memory_of_numpy() if read is np.random.get_state and not self._numpy_is_used else None
        if memory is not None:
            return memory
        state = read()
        return state.numpy().tobytes() if hasattr(state, "numpy") else repr(state)


def put(jump: Jump | None) -> None:
    """Leave the generators where something has left them."""
    for write, state in jump or []:
        write(state)


def generators_of(batches: Any) -> list[Pair]:
    """Return the generators that a DataLoader and its samplers have of their own."""
    holders = [batches, getattr(batches, "sampler", None), getattr(batches, "batch_sampler", None)]
    holders.append(getattr(holders[-1], "sampler", None))
    found: dict[int, Any] = {id(each): each for each in (getattr(holder, "generator", None) for holder in holders)}
    return [(each.get_state, each.set_state) for each in found.values() if hasattr(each, "get_state")]


def _memory_of_numpy() -> bytes | None:
    """Return numpy's state as it lies in memory; None if it is not the kind of generator that numpy begins with."""
    bits = np.random.get_bit_generator()  # type: ignore[attr-defined]  # numpy's own stubs forget it
    if type(bits) is not np.random.MT19937:
        return None
    return ctypes.string_at(bits.ctypes.state_address, MT19937_BYTES)
