"""The way to other steps in other processes, as the front goes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from tdb.elsewhere.carried import carried_from
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
