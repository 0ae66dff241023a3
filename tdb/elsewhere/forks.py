"""The route of a copy set aside, as the front takes it: wakes the copy that waits before the step, and forwards to it.

A copy holds what nobody could put back: frames, locals, iterators. A woken one stays where it is and sends on a copy of
itself, so that it can be woken again. `tdb.elsewhere.keeper` sets them aside.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from typing import TYPE_CHECKING

from tdb.elsewhere.carried import Carried
from tdb.elsewhere.channel import Channel
from tdb.elsewhere.link import Link
from tdb.elsewhere.way import LedElsewhere
from tdb.errors import StateError
from tdb.travel.thinning import missed_least

if TYPE_CHECKING:
    from tdb.session import Session
    from tdb.travel.route import Landing

NAME = "fork"
ANSWER_SECONDS = 10.0


@dataclass
class Parked:
    """A copy that waits.

    Attributes:
        step: the step at whose boundary it waits.
        process: its number.
        connection: to it.
    """

    step: int
    process: int
    connection: Connection

    def end(self) -> None:
        """Let nothing be left of it."""
        with suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.process, 0)
        self.connection.close()


class Fork(LedElsewhere):
    """Going to a step in a copy that was set aside before it.

    Attributes:
        parked: the copies that wait, by step; only the front has any.
        limit: how many there may be.
    """

    name = NAME

    def __init__(self) -> None:
        self.parked: list[Parked] = []
        self.limit = 0
        self.why_not = ""

    def refusal(self, session: Session, step: int) -> str:
        """Return why a step cannot be reached this way, empty if it can."""
        del session
        if not self.limit:
            return "no copies are set aside: `set checkpoints.forks 8` before the steps are taken"
        if any(each.step < step for each in self.parked):
            return ""
        return self.why_not or f"no copy was set aside before step {step}"

    def reach(self, session: Session, step: int, carried: Carried, before: int | None = None) -> tuple[Link, Landing]:
        """Take a copy to the boundary of a step; see `tdb.elsewhere.way.Reaching`."""
        lost: list[str] = []
        while candidates := [each for each in self.parked if each.step < (step if before is None else before)]:
            nearest = max(candidates, key=lambda each: each.step)
            link = self._woken(session, nearest, step, carried)
            if link is None:
                lost.append(f"the copy set aside at step {nearest.step} has gone (killed?)")
                self._forget(nearest)
                continue
            landing = link.arrived()
            return link, landing._replace(notes=[*lost, *landing.notes])
        anew = session.route("re-run")
        if refusal := anew.refusal(session, step):
            raise StateError(f"cannot go to step {step}", "; ".join([*lost, f"{anew.name}: {refusal}"]))
        link, landing = anew.reach(session, step, carried)
        return link, landing._replace(notes=[*lost, *landing.notes])

    def adopt(self, step: int, process: int, connection: Connection) -> None:
        """Take a copy in that has been set aside, and let one go if there are too many."""
        self.parked = sorted([*self.parked, Parked(step, process, connection)], key=lambda each: each.step)
        while len(self.parked) > self.limit:
            self._forget(self.parked[missed_least([each.step for each in self.parked], self.parked[-1].step)])

    def copies(self) -> list[int]:
        """Return the steps at which copies wait."""
        return [each.step for each in self.parked]

    def drop_after(self, step: int) -> None:
        """Let the copies go that wait at steps which are to be taken otherwise now."""
        for each in [each for each in self.parked if each.step > step]:
            self._forget(each)

    def close(self) -> None:
        """Let all go."""
        for each in list(self.parked):
            self._forget(each)

    def _forget(self, parked: Parked) -> None:
        self.parked.remove(parked)
        parked.end()

    def _woken(self, session: Session, parked: Parked, step: int, carried: Carried) -> Link | None:
        """Wake a copy; None if it is there no more."""
        ours, theirs = Pipe()
        try:
            parked.connection.send(("wake", step, carried, session.front.captures))
            send_handle(parked.connection, theirs.fileno(), parked.process)
            if not parked.connection.poll(ANSWER_SECONDS):
                return None
            process: int = parked.connection.recv()
        except (OSError, EOFError):
            return None
        finally:
            theirs.close()
        return Link(session, Channel(ours), process)
