"""The stop points that are set: numbered as in pdb, switched, and asked once a step."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tdb.errors import TdbError
from tdb.expressions import Expression, Memory
from tdb.results import Table
from tdb.stops.kinds import Moment, Stop
from tdb.stops.point import Hit, StopPoint

if TYPE_CHECKING:
    from numpy.typing import NDArray


class StopPoints:
    """All stop points.

    Attributes:
        last_number: the number of the one set last, `$_bpnum`; 0 before the first.
        names: the names of the namespace that the next check may ask for.
        groups: the groups of tensors that the next check may ask for.
        notes: what has to be said once without stopping; `take_notes` takes them.
    """

    def __init__(self) -> None:
        self.last_number = 0
        self.names: frozenset[str] = frozenset()
        self.groups: frozenset[str] = frozenset()
        self._points: dict[int, StopPoint] = {}
        self._enabled: tuple[StopPoint, ...] = ()
        self.notes: list[str] = []

    def __len__(self) -> int:
        return len(self._points)

    def __iter__(self) -> Iterator[StopPoint]:
        return iter(tuple(self._points.values()))

    def add(self, stop: Stop, *, temporary: bool = False) -> StopPoint:
        """Set a stop point and return it."""
        self.last_number += 1
        point = StopPoint(self.last_number, stop, temporary, condition=stop.condition)
        self._points[point.number] = point
        self._refresh()
        return point

    def get(self, number: int) -> StopPoint:
        """Return a stop point.

        Raises:
            TdbError: there is none of this number.
        """
        if number not in self._points:
            known = f"Set: {', '.join(map(str, self._points))}" if self._points else "None is set"
            raise TdbError(f"no stop point {number}", known)
        return self._points[number]

    def remove(self, *numbers: int) -> None:
        """Remove stop points, or none of them if one does not exist (TdbError)."""
        for point in self._all(numbers):
            self._points.pop(point.number, None)
        self._refresh()

    def enable(self, *numbers: int) -> None:
        """Look at stop points again, or at none of them if one does not exist (TdbError)."""
        for point in self._all(numbers):
            point.enabled = True
        self._refresh()

    def disable(self, *numbers: int) -> None:
        """Keep stop points but do not look at them; none of them if one does not exist (TdbError)."""
        for point in self._all(numbers):
            point.enabled = False
        self._refresh()

    def ignore(self, number: int, count: int) -> None:
        """Pass over the next `count` hits of a stop point; 0 passes over none. TdbError if it does not exist."""
        self.get(number).ignored = max(count, 0)

    def set_condition(self, number: int, condition: Expression | None) -> None:
        """Let a stop point hit only if an expression is true as well; None: always. TdbError if it does not exist."""
        self.get(number).condition = condition
        self._refresh()

    def set_commands(self, number: int, lines: Sequence[str]) -> None:
        """Replace the lines that run when a stop point stops training. TdbError if it does not exist."""
        self.get(number).commands = list(lines)

    def check(
        self,
        namespace: Mapping[str, Any],
        step: int,
        epoch: int | None,
        tensors: Mapping[str, Mapping[str, NDArray[Any]]] | None = None,
        boundary: int | None = None,
        *,
        thorough: bool = True,
    ) -> list[Hit]:
        """Return the hits at one step, in the order of their numbers. To be called once a step; never raises.

        Args:
            namespace: what expressions see; only `names` are asked for. "step" has to be in it.
            step: the step.
            epoch: the epoch it belongs to; None if the loop does not say.
            tensors: what event stops see, see `Moment`; only `groups` are asked for.
            boundary: how many boundaries training has passed, for loops whose step numbers do not grow by one.
            thorough: somebody may read the notes now: look whether NaN keeps a condition from being true. In a free
                run that is looked at now and then.
        """
        points = self._enabled
        if not thorough:
            points = tuple(point for point in points if not point.is_plainly_false(namespace))
        moment = Moment(namespace, step, epoch, tensors or {}, boundary)
        hits = [hit for point in points if (hit := point.check(moment, self.notes)) is not None]
        for hit in hits:
            if hit.temporary:
                self.remove(hit.number)
        return hits

    def rehearse(self, moment: Moment) -> list[Hit]:
        """Return the hits there would have been at a step that is taken again; nothing is counted. Never raises."""
        return [hit for point in self._enabled if (hit := point.rehearse(moment, self.notes)) is not None]

    def remembered(self) -> dict[int, tuple[Memory, tuple[int, int] | None]]:
        """Return a copy of what the stop points remember, by their numbers."""
        return {point.number: point.remembered() for point in self._enabled}

    def remember(self, memories: Mapping[int, tuple[Memory, tuple[int, int] | None]], *, at_start: bool) -> None:
        """Let the stop points go on from what `remembered` has returned; those not in it know of no step before.

        Args:
            memories: by the stop points' numbers.
            at_start: there is no step before.
        """
        for point in self:
            memory, held = memories.get(point.number, (Memory(), None))
            point.remember(copy.deepcopy(memory), held, follows=at_start or point.number in memories)

    def preview(
        self,
        number: int,
        namespace: Mapping[str, Any],
        step: int,
        epoch: int | None,
        tensors: Mapping[str, Mapping[str, NDArray[Any]]] | None = None,
        boundary: int | None = None,
    ) -> Hit | None:
        """Return the hit there would have been at the step where training stands, for a stop point just set.

        Nothing is counted, and it is no first look: what is true now still stops the next step. Only what looks back
        begins to remember here. The arguments are those of `check`.

        Raises:
            TdbError: there is no stop point of this number.
        """
        return self.get(number).preview(Moment(namespace, step, epoch, tensors or {}, boundary), self.notes)

    def take_notes(self) -> list[str]:
        """Return what has to be said once without stopping, and forget it."""
        notes, self.notes = self.notes, []
        return notes

    def table(self) -> Table:
        """Return the stop points, one a row."""
        points = list(self)
        return Table(
            {
                "number": [point.number for point in points],
                "type": ["catch" if point.stop.kind == "catch" else "break" for point in points],
                "keep": ["no" if point.temporary else "yes" for point in points],
                "enabled": ["yes" if point.enabled else "no" for point in points],
                "hits": [point.hits for point in points],
                "ignore": [point.ignored for point in points],
                "stop": [point.said for point in points],
                "commands": ["; ".join(point.commands) for point in points],
                "waits for": [point.waiting_for for point in points],
            },
            note="" if points else "no stop points",
        )

    def _all(self, numbers: Iterable[int]) -> list[StopPoint]:
        return [self.get(number) for number in numbers]

    def _refresh(self) -> None:
        self._enabled = tuple(point for point in self._points.values() if point.enabled)
        self.names = frozenset(name for point in self._enabled for name in point.names)
        self.groups = frozenset(group for point in self._enabled for group in point.stop.groups)
