"""From updates to steps: when is a training step complete?

Every update of an optimizer is a tick. With one optimizer each tick is a step. With several, a step is a cycle of
them, such as the two updates of a GAN (AB) or the six of a Wasserstein GAN (AAAAAB):

    until the cycle is known   a step ends when every optimizer that takes part in it has had its turn
    three equal steps          are the cycle from then on
    no three equal steps       but a sequence that repeats: its period is the cycle (AABCBC of delayed policy updates)
    the first alone, others,   steps begin with the first: the second step also has what the first one lacked
    and the first again
    a tick out of turn         updates before it were left out; if it fits nowhere, the cycle is learned anew

An optimizer that has not had its turn for `PATIENCE` ticks of others, or in a whole pass over the data in which another
had each, is not waited for: it may be for another phase. Where passes are one optimizer's and then another's, each has
its phases: the one that comes back at the beginning of a pass is alone again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from collections.abc import Set as AbstractSet

PATIENCE = 8
LONGEST_CYCLE = 64
EQUAL_STEPS = 3


class StepRule:
    """Learns the cycle of optimizers; each is known by a number."""

    def __init__(self) -> None:
        self._word: list[int] = []  # the ticks of the step under way
        self._words: deque[tuple[int, ...]] = deque(maxlen=EQUAL_STEPS)
        self._idle: set[int] = set()
        self._together: set[int] = set()  # these have their turn in every step, whatever else it shows
        self._history: deque[int] = deque(maxlen=EQUAL_STEPS * LONGEST_CYCLE)
        self._in_pass: Counter[int] = Counter()  # how many ticks of each the pass over the data has that is under way
        self._cycle: tuple[int, ...] = ()
        self._next = 0  # which of the cycle is due

    @property
    def cycle(self) -> tuple[int, ...]:
        """The optimizers' updates that make one step; empty as long as that is not known."""
        return self._cycle

    @property
    def under_way(self) -> bool:
        """Whether there was an update since the last step was complete."""
        return bool(self._word) or self._next > 0

    def tick(self, optimizer: int, taking_part: Callable[[], AbstractSet[int]]) -> bool:
        """An optimizer has made its update; return whether that completes a step.

        Args:
            optimizer: which.
            taking_part: gives those that may be expected to have their turn in this step.
        """
        self._in_pass[optimizer] += 1
        if self._cycle and self._follow(optimizer):
            if self._next == len(self._cycle):
                self._next = 0
                return True
            return False
        self._history.append(optimizer)
        self._word.append(optimizer)
        returns = optimizer in self._idle and self._in_pass.total() == 1
        self._idle.discard(optimizer)
        missing = (taking_part() | self._together) - self._idle - set(self._word)
        if missing and (len(self._word) >= PATIENCE or returns):
            self._idle |= missing
            self._together.clear()
            missing = set()
        if not missing and self._begins_again(optimizer):
            self._words.clear()
            self._together, self._word = set(self._word), [optimizer]
            return False
        if not missing:
            self._words.append(tuple(self._word))
            self._word = []
        return self._learn(complete=not missing)

    def passed(self, count: int) -> None:
        """So many steps were taken, unseen, of the one optimizer that the cycle has."""
        (alone,) = self._cycle
        self._in_pass[alone] += count
        self._history.extend([alone] * min(count, LONGEST_CYCLE))

    def pass_ended(self, known: AbstractSet[int]) -> bool:
        """A pass over the data has ended; return whether that completes a step.

        Args:
            known: all optimizers that there are.
        """
        whole, self._in_pass = self._in_pass, Counter()
        if len(whole) != 1 or whole.total() == 1:  # one update may be one of a longer step's
            return False
        self._idle |= known - whole.keys()
        self._history.clear()
        self._together.clear()
        is_complete, self._word = bool(self._word), []
        return is_complete

    def _begins_again(self, optimizer: int) -> bool:
        """Return whether a turn of all begins with this update, which was taken for the end of one.

        As when the loop's very first update was taken for a step, because nothing of the others was known yet.
        """
        return len(self._words) == 1 and self._words[0] == (optimizer,) and len(self._word) > 1

    def _follow(self, optimizer: int) -> bool:
        """Go on in the cycle to this optimizer's update; False, and no cycle any more, if it has none left."""
        try:
            self._next = self._cycle.index(optimizer, self._next) + 1
        except ValueError:
            self._word = list(self._cycle[: self._next])
            self._together.clear()
            self._words.clear()
            if len(self._cycle) > 1:  # otherwise it may have been the beginning of a longer one
                self._history.clear()
                self._history.extend(self._word)
            self._cycle, self._next = (), 0
            return False
        self._history.append(optimizer)
        return True

    def _learn(self, *, complete: bool) -> bool:
        """See whether there is a cycle now; return whether the step is complete, which a longer cycle may deny."""
        if complete and len(self._words) == EQUAL_STEPS and len(set(self._words)) == 1:
            self._cycle = self._words[-1]
            return True
        if len(set(self._history)) == 1:
            return complete
        period = period_of(self._history)
        if period is None or (self._words and len(set(self._words)) == 1):
            return complete
        gone = _repeated(self._history, period) % period
        last = list(self._history)[-period:]
        self._cycle = tuple(last[period - gone :] + last[: period - gone])
        self._next, self._word = gone, []
        return gone == 0


def _repeated(ticks: deque[int], period: int) -> int:
    """Return how many of the last ticks belong to a stretch that repeats with a period."""
    seen = list(ticks)
    start = len(seen) - period
    while start > 0 and seen[start - 1] == seen[start - 1 + period]:
        start -= 1
    return len(seen) - start


def period_of(ticks: deque[int]) -> int | None:
    """Return the shortest period that the last ticks have repeated three times, or None.

    A stretch of one optimizer alone has no period: it may well be the beginning of a longer one.
    """
    seen = list(ticks)
    for period in range(2, len(seen) // EQUAL_STEPS + 1):
        tail = seen[-EQUAL_STEPS * period :]
        if len(set(tail)) > 1 and tail[period:] == tail[:-period]:
            return period
    return None
