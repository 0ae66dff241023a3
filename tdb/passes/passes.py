"""Where a branch of the run is in its data, and the batches from there on: new ones, or those of before once more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tdb.passes.draws import Pair, generators_of
from tdb.passes.seams import Look, Seam
from tdb.passes.sources import Shelf, Source, is_one_shot, source_of

if TYPE_CHECKING:
    from tdb.travel.state import State


class Place(NamedTuple):
    """Where a branch is in its data: pass, batches given of it, and the states of the loaders' own generators."""

    number: int
    given: int
    states: list[Any]


LEFT_ON_THE_WAY = (
    "the loop has left its batches while steps were taken again, for its own counters do not go back: "
    "what follows is not as it was"
)


class Call(NamedTuple):
    """What the loop went over: its batches, and its number of the epoch."""

    batches: Iterable[Any]
    epoch: int


@dataclass
class Pass:
    """One pass over the batches.

    Attributes:
        until: how many of its batches belong to steps, once it has ended.
        is_drawn_out: it has ended because there was no further batch.
    """

    source: Source
    epoch: int
    until: int | None = None
    is_drawn_out: bool = False


class Begun(NamedTuple):
    """A pass as a branch has begun it: what changed just before it, and the pass."""

    seam: Seam | None
    its: Pass


class Passes:
    """The data of one loop.

    Passes that are begun on a branch are its own; those before are shared with the branch it was forked from.

    Attributes:
        number: of the pass of the last batch, from 0.
        given: how many batches of it were given.
        is_here: training stands where the next batch is drawn, so it can go on with any.
        is_under_way: the loop goes over batches now.
        why_not: why no batch can be given again after all; empty if they can.
    """

    def __init__(self, state: State, tell: Callable[[str], object], timeline: int, budget: int) -> None:
        self.number = self.given = 0
        self.is_here = self.is_under_way = False
        self.why_not = ""
        self.shelf = Shelf(budget)
        self._state = state
        self._tell = tell
        self._calls: list[Call] = []
        self._now: list[Begun] = []
        self._lists = {timeline: self._now}
        self._seams: dict[int, Seam] = {}  # what the loop did itself, by the number of the pass before
        self._before: Look | None = None
        self._began = 0.0

    # ---- what a loop over `controller.steps` calls -----------------------------------------------------------------

    def enter(self, batches: Iterable[Any], epoch: int) -> Iterator[tuple[int, Any]]:
        """The loop goes over batches: return them, those of earlier passes first, each with its epoch."""
        self._calls.append(Call(batches, epoch))
        last = len(self._calls) - 1
        if self.number == last - 1 and self._has_ended and self._before is not None:
            seam = Seam(self._before, Look(self._state, self._began, self._before))
            self._seams[self.number] = seam
            self.number, self.given = last, 0
        else:
            seam = None
        self._before = None
        self.is_under_way = True
        if self.number == last:
            self._now.append(Begun(seam, self._begun(last)))
        return iter(self._all())

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Training stands, while the context lasts, where the next batch is drawn."""
        self.is_here = True
        try:
            yield
        finally:
            self.is_here = False

    def left(self, *, unused: bool) -> None:
        """The loop goes over them no longer: `unused` says that the last batch was none of a step's."""
        self.is_under_way = False
        if self.number < len(self._calls) - 1 or self.given < self._here.source.given:
            self._tell(LEFT_ON_THE_WAY)
        if unused:
            self.given -= 1
        if self.number == len(self._calls) - 1:
            self._here.until = self.given
            self._before = Look(self._state, self._began)

    def _all(self) -> Iterator[tuple[int, Any]]:
        while True:
            here = self._here
            if self.given < (here.source.given if here.until is None else here.until):
                batch = here.source.again(self.given)
            elif self._has_ended:
                if here.is_drawn_out:
                    here.source.end()
                if self.number == len(self._calls) - 1:
                    break
                self._cross()
                continue
            else:
                try:
                    batch = here.source.draw()
                except StopIteration:
                    here.until, here.is_drawn_out = self.given, True
                    continue
            self.given += 1
            yield here.epoch, batch
        self.left(unused=False)

    # ---- time travel -----------------------------------------------------------------------------------------------

    def place(self) -> Place:
        """Return where the present branch is in its data."""
        return Place(self.number, self.given, [read() for read, _ in self._generators()])

    def seek(self, place: Place) -> None:
        """Go on from another place."""
        self.number, self.given, states = place
        for (_, write), state in zip(self._generators(), states, strict=False):
            write(state)

    def follow(self, timeline: int) -> None:
        """Training is on another branch; a new one has what the present one has had so far."""
        self._now = self._lists.setdefault(timeline, self._now[: self.number + 1])

    def can_go_on_from(self, place: Place, timeline: int) -> bool:
        """Return whether all batches from a place of a branch on can be given again."""
        if self.why_not:
            return False
        there = self._lists.get(timeline, self._now)[place.number :]
        return all(each.its.source.first <= (0 if later else place.given) for later, each in enumerate(there))

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _generators(self) -> list[Pair]:
        """Return the loaders' own generators, those of loaders that came later last."""
        loaders = {id(each.batches): each.batches for each in self._calls}
        return [pair for each in loaders.values() for pair in generators_of(each)]

    @property
    def _here(self) -> Pass:
        return self._now[self.number].its

    @property
    def _has_ended(self) -> bool:
        until = self._here.until
        return until is not None and self.given >= until

    def _begun(self, number: int) -> Pass:
        self._began = time.perf_counter()
        call = self._calls[number]
        if is_one_shot(call.batches):
            shared = next((each[number].its for each in self._lists.values() if len(each) > number), None)
            if shared is not None:
                return shared
        return Pass(source_of(call.batches, self.shelf), call.epoch)

    def _cross(self) -> None:
        """Go on with the pass after this one, which the loop has begun already."""
        state, number = self._state, self.number + 1
        if number < len(self._now):
            seam = self._now[number].seam
            if seam is not None:
                seam.pass_again(state, as_known=True)
        else:
            before, seam = Look(state, self._began), self._seams.get(self.number)
            missed = seam.pass_again(state, as_known=False) if seam is not None else []
            if missed:
                self._tell(
                    f"after epoch {self._here.epoch} the loop itself changed {', '.join(missed)}: that is not done "
                    "again on a branch where it was another"
                )
            self._now.append(Begun(Seam(before, Look(state, self._began, before)), self._begun(number)))
        self.number, self.given = number, 0
