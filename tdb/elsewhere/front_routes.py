"""The routes that only the front can take, as the process in which training goes on sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from tdb.elsewhere.serving import HandOver, asked
from tdb.elsewhere.way import NAMES

if TYPE_CHECKING:
    from tdb.elsewhere.channel import Channel
    from tdb.results import Result
    from tdb.session import Session
    from tdb.travel.route import Route


class FrontRoute:
    """A route that leads to yet another process."""

    def __init__(self, name: str, channel: Channel) -> None:
        self.name = name
        self._channel = channel

    def refusal(self, session: Session, step: int) -> str:
        """Return why the front cannot reach a step this way, empty if it can."""
        del session
        return str(asked(self._channel, "refusal", self.name, step))

    def lead(self, session: Session, function: Callable[..., Result], *arguments: Any) -> NoReturn:
        """Leave it to the front.

        Raises:
            HandOver: always.
        """
        del session
        raise HandOver(function, arguments)

    def copies(self) -> list[int]:
        """Return the steps at which copies wait."""
        return list(asked(self._channel, "copies"))

    def drop_after(self, step: int) -> None:
        """Let the front drop the copies that wait at later steps."""
        self._channel.send("drop", step)


def routes_of_the_front(channel: Channel, routes: Sequence[Route]) -> list[Route]:
    """Return the routes of a process that the front has started: those that only the front can take lead to it."""
    return [FrontRoute(route.name, channel) if route.name in NAMES else route for route in routes]
