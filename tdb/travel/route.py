"""The ways to another step: the best one that does not refuse is taken, and named in the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tdb.counted import counted
from tdb.errors import StateError
from tdb.travel.known import Difference

if TYPE_CHECKING:
    from tdb.results import Array, Result
    from tdb.session import Session


class Landing(NamedTuple):
    """How another step was reached.

    Attributes:
        route: the way: "in place", "fork" or "re-run".
        step: where training stands now.
        goal: where it was to go.
        checkpoint: the step from which steps were taken again; None if there was no copy to set out from.
        replayed: how many steps were taken again.
        losses: how many losses were compared with history.
        metrics: how many sets of metrics were.
        differences: what came out otherwise; the first of them.
        differing: how many differences there are in all.
        notes: what has to be said of the way.
        hits: the steps that were taken again at which stop points would have stopped, with what they would have said.
        asked: of a condition that was asked on the way, steps [n] and whether it held there [n], where it had a value.
    """

    route: str
    step: int
    goal: int
    checkpoint: int | None = None
    replayed: int = 0
    losses: int = 0
    metrics: int = 0
    differences: Sequence[Difference] = ()
    differing: int = 0
    notes: Sequence[str] = ()
    hits: Sequence[tuple[int, str]] = ()
    asked: tuple[Array, Array] | None = None

    def __str__(self) -> str:
        """In one line."""
        origin = "the start" if self.checkpoint is None else f"the checkpoint of step {self.checkpoint}"
        way = f"{self.route}: {counted(self.replayed, 'step')} from {origin}"
        if not self.losses and not self.metrics:
            return way
        compared = " and ".join(
            [
                *([counted(self.losses, "loss", "losses")] if self.losses else []),
                *([f"{counted(self.metrics, 'set')} of metrics"] if self.metrics else []),
            ]
        )
        if self.differing:
            return f"{way}; of {compared}, {counted(self.differing, 'value')} came out otherwise: {self.differences[0]}"
        return f"{way}; {compared} as before, bit for bit"


class Way(Protocol):
    """Goes to other steps, as often as it takes."""

    def goto(self, session: Session, step: int, before: int | None = None) -> Landing:
        """Go to the boundary of a step, and stop there; set out before the step `before`, if one is given."""

    def ask(self, session: Session, condition: str) -> Landing:
        """Take all steps so far again, asking each whether a condition holds; training stands where it stood."""


class Route(Protocol):
    """A way to another step, and whether it can be taken."""

    @property
    def name(self) -> str:
        """What it is called: "in place", "fork", "re-run"."""

    def refusal(self, session: Session, step: int) -> str:
        """Return why a step cannot be reached this way, empty if it can."""

    def lead(self, session: Session, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return `function(session, way, *arguments)`, from the process that can take this way."""


def by_best(session: Session, step: int, function: Callable[..., Result], *arguments: Any) -> Result:
    """Return `function(session, way, *arguments)` with the best way to a step.

    It runs wherever that way is taken from: the function is one that any process finds under its name, and what it is
    given is plain data.

    Raises:
        StateError: no way leads there.
    """
    return best(session.routes, session, step).lead(session, function, *arguments)


def capabilities(routes: Iterable[Route], session: Session, step: int) -> dict[str, str]:
    """Return each route's name with why it cannot reach a step, empty if it can."""
    return {route.name: route.refusal(session, step) for route in routes}


def best(routes: Iterable[Route], session: Session, step: int) -> Route:
    """Return the first route that can reach a step.

    Raises:
        StateError: none can; it says why each cannot.
    """
    reasons = []
    for route in routes:
        reason = route.refusal(session, step)
        if not reason:
            return route
        reasons.append(f"{route.name}: {reason}")
    raise StateError(f"cannot go to step {step}", "; ".join(reasons))
