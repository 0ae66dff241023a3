"""Sets copies of the process aside, in the thread that trains, each to wait at its boundary until it is woken.

Where that can be done, and what is done just before, is in `tdb.elsewhere.copying`.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import TYPE_CHECKING, Any

from tdb.active import set_active_controller
from tdb.elsewhere.arriving import arrive_and_serve
from tdb.elsewhere.carried import Carried
from tdb.elsewhere.channel import Channel, end_with, flush_streams, front_handle
from tdb.elsewhere.copying import exact_copy, release_openmp, why_not
from tdb.elsewhere.forks import NAME, Fork
from tdb.elsewhere.front_routes import routes_of_the_front
from tdb.elsewhere.serving import SentFront, SentShow, unmute
from tdb.elsewhere.streams import SentStream
from tdb.shell.line_ends import note_line_ends
from tdb.travel.pace import LEAST_STEPS, Pace

if TYPE_CHECKING:
    from tdb.session import Session
    from tdb.step import Finished, Position

WOKEN = "a copy goes on here"
REAP_SECONDS = 1.0
RESTING_SECONDS = 0.5
"""Where training is being stepped, copies are this far apart at least."""


class Keeper:
    """Sets copies aside, in the thread that trains; see `tdb.loop_side.LoopSide.keeper`.

    Args:
        session: the session that a copy goes on with.
        register: takes step, process and connection of a copy in, wherever the front is.
        front: the front's process, this one if none is given.

    Attributes:
        due: the tick from which a boundary has something to do here.
    """

    def __init__(
        self, session: Session, register: Callable[[int, int, Connection], object], front: int | None = None
    ) -> None:
        self.due = 0
        self.register = register
        self.front = front or os.getpid()
        self._session = session
        self._handle = front_handle(self.front)
        self._pace = Pace()
        self._last = 0.0
        self._next = 0
        self._children: list[int] = []

    def arrive(self, position: Position, before: Finished, *, is_stepped: bool) -> str:
        """Set a copy aside if one is due; return why training stops here, which it does in a copy that was woken."""
        tick, began = position.tick, time.perf_counter()
        is_due = tick >= self._next or (is_stepped and began - self._last > RESTING_SECONDS)
        if tick < self.due and not is_due:
            return ""
        if not is_stepped:
            self._pace.arrived(position, before)
        woken = self._keep(position, began) if is_due else ""
        self._pace.left(tick, time.time())
        self.due = self._next
        return woken

    def _keep(self, position: Position, began: float) -> str:
        route = self._session.route(NAME)
        reason = why_not()
        if isinstance(route, Fork):
            route.why_not = reason
        if reason:
            self._next = position.tick + LEAST_STEPS
            return ""
        woken = self._set_aside(position)
        if not woken:
            self._last = time.perf_counter()
            self._pace.took(self._last - began)
            self._next = position.tick + self._pace.interval
        return woken

    def _set_aside(self, position: Position) -> str:
        ours, theirs = Pipe()
        flush_streams()
        release_openmp()
        process = exact_copy()
        if process == 0:
            ours.close()
            return self._wait(theirs)
        theirs.close()
        self._children = [each for each in self._children if not _reaped(each)] + [process]
        self.register(position.step, process, ours)
        return ""

    # ---- in the copy -----------------------------------------------------------------------------------------------

    def _wait(self, connection: Connection) -> str:
        """Wait to be woken; a copy of this copy returns from here, and goes on."""
        signal.set_wakeup_fd(-1)
        self._leave_the_front()
        ends: list[Any] = [connection] if self._handle is None else [connection, self._handle]
        children: list[int] = []
        while True:
            ready = select.select(ends, [], [], REAP_SECONDS)[0]
            children = [each for each in children if not _reaped(each)]
            if self._handle in ready:
                os._exit(0)
            if connection not in ready:
                continue
            try:
                _, step, carried, captures = connection.recv()
                channel = Channel(Connection(recv_handle(connection)))
            except (EOFError, OSError):
                os._exit(0)
            process = exact_copy()
            if process == 0:
                connection.close()
                return self._go_on(channel, step, carried, captures=captures)
            channel.close()
            children.append(process)
            connection.send(process)

    def _leave_the_front(self) -> None:
        """Close this copy's ends of what only the front may hold: whoever waits there would never see the front end."""
        route, link = self._session.route(NAME), self._session.elsewhere
        if isinstance(route, Fork):
            for each in route.parked:
                each.connection.close()
            route.parked = []
        if link is not None:
            link.leave()

    def _go_on(self, channel: Channel, step: int, carried: Carried, *, captures: bool) -> str:
        """Make this process the one in which training goes on."""
        session, interpreter = self._session, self._session.shell
        end_with(self.front, self._handle)
        unmute()
        show = SentShow(session, channel)
        session.front.divert(show.output)
        session.go_on_alone(SentFront(channel))
        interpreter.show = show  # type: ignore[attr-defined]
        session.routes[:] = routes_of_the_front(channel, session.routes)
        self.register = lambda at, process, ours: channel.send_with(ours, "parked", at, process)
        self._children = []
        self._next = 0  # the first boundary here sets a copy aside
        for number, stream in enumerate(("stdout", "stderr"), 1):
            fresh = open(number, "w", closefd=False, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
            note_line_ends(fresh)
            setattr(sys, f"__{stream}__", fresh)
            setattr(sys, stream, SentStream(fresh, show.output) if captures else fresh)
        set_active_controller(session.controller)
        finder = session.run.finder if session.run is not None else None
        if finder is not None:
            finder.thread.follow()

        def work() -> None:
            if finder is not None:
                finder.thread.aside = threading.get_ident()
            arrive_and_serve(interpreter, channel, NAME, step, carried)  # type: ignore[arg-type]
            os._exit(1)

        threading.Thread(target=work, name="tdb-serving", daemon=True).start()
        return WOKEN


def _reaped(process: int) -> bool:
    """Return whether a child has ended, and take note of it."""
    try:
        return os.waitpid(process, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def keep_forks(session: Session, limit: int) -> None:
    """Set up to `limit` copies aside from now on; 0 sets none aside and lets go of those there are."""
    route = session.route(NAME)
    if not isinstance(route, Fork):
        return  # the front's keeper counts
    if not limit:
        route.close()
    if bool(limit) != bool(route.limit):
        session.controller.keep_with(Keeper(session, route.adopt) if limit else None)
    route.limit = limit
