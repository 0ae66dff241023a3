"""The way to other steps in other processes, as the front goes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from tdb.elsewhere.carried import carried_from
from tdb.travel.branches import named, parted_at
from tdb.travel.route import best

if TYPE_CHECKING:
    from tdb.elsewhere.carried import Carried
    from tdb.elsewhere.link import Link
    from tdb.results import Result
    from tdb.session import Session
    from tdb.travel.route import Landing, Route

NAMES = ("fork", "re-run")


class Reaching(Protocol):
    """A route that leads to another process."""

    def reach(self, session: Session, step: int, carried: Carried, before: int | None = None) -> tuple[Link, Landing]:
        """Take another process to the boundary of a step.

        Args:
            session: the front's.
            step: the step.
            carried: what was carried out of the process in which training went on so far.
            before: set out before this step.

        Raises:
            StateError: it did not arrive.
        """


class Elsewhere:
    """Goes to other steps in other processes, the last of which is the one that training goes on in.

    Args:
        carried: what goes along.
    """

    def __init__(self, carried: Carried) -> None:
        self._carried = carried

    def goto(self, session: Session, step: int, before: int | None = None) -> Landing:
        """Go on in another process at the boundary of a step; see `tdb.travel.route.Way`.

        Raises:
            StateError: it did not arrive; training stands where it stood.
        """
        link, landing = _reached(session, step, self._carried, before)
        left, session.elsewhere = session.elsewhere, link
        if left is not None:
            left.close(unwind=False)
        session.route("fork").drop_after(landing.step)
        return landing

    def switch(self, session: Session, name: str) -> Landing:
        """Go on at the last step of another branch.

        Raises:
            UsageError: there is none of this name.
            StateError: training did not arrive there; it stands where it stood.
        """
        branches = self._carried.branches
        branch = named(branches, name)
        session.route("fork").drop_after(parted_at(branches, branch, branches[0]))
        ordered = [branch, *(each for each in branches if each is not branch)]
        self._carried = replace(self._carried, branches=ordered, is_whole=True)
        return self.goto(session, branch.last)

    def ask(self, session: Session, condition: str) -> Landing:
        """Take all steps so far again in a process of its own, asking each; see `tdb.travel.route.Way`.

        Where the run cannot be taken anew, those after the first copy that was set aside.

        Raises:
            TdbError: no step can be taken again, or the condition has a value at none of them.
        """
        here, copies = session.state()["step"], session.route("fork").copies()
        refusal = session.route("re-run").refusal(session, here)
        first = min(copies, default=0) if refusal else 0
        link, landing = _reached(session, here, replace(self._carried, asks=condition), first + 1)
        link.close(unwind=False)
        notes = [f"steps up to {first} were not asked: {refusal}"] if refusal else []
        notes += [f"interrupted: steps after {landing.step} were not asked"] if landing.step < here else []
        return landing._replace(notes=[*notes, *landing.notes])


class LedElsewhere:
    """What the routes that lead to other processes have in common."""

    def lead(self, session: Session, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return `function(session, way, *arguments)`: this process is the front."""
        return function(session, Elsewhere(carried_from(session)), *arguments)


def _reached(session: Session, step: int, carried: Carried, before: int | None) -> tuple[Link, Landing]:
    routes: list[Route] = [session.route(name) for name in NAMES]
    route: Any = best(routes, session, step if before is None else before)
    reached: tuple[Link, Landing] = route.reach(session, step, carried, before)
    return reached
