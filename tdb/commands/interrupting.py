"""`interrupt`: the Ctrl-C of a plain run, for scripts that save when it comes."""

from __future__ import annotations

import signal
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from tdb.commands import command
from tdb.commands.flow import go
from tdb.errors import StateError
from tdb.raising import BOUNDARY_SECONDS, raise_in_thread
from tdb.results import Result
from tdb.standing import OVER, READY, RUNNING

if TYPE_CHECKING:
    from tdb.session import Session


@command(running="yes", moves=True)
def interrupt(session: Session, *, background: bool = False) -> Result:
    """Send the script the KeyboardInterrupt of a Ctrl-C in a plain run, and let it run on.

    It is raised at the boundary where training stands, or at the next one; outside a loop, at the next line of Python
    that the script runs. A script that has a handler of its own for SIGINT gets that called instead.

    Example:
        interrupt
        interrupt &
    """
    if session.status in {READY, *OVER}:
        session.need_stopped()
    if _handler(session) == signal.SIG_IGN:
        raise StateError("the script ignores SIGINT", "`quit` ends training")
    gate = session.controller.gate
    gate.interrupt(partial(_interrupt_at_boundary, session))
    gate.resume()
    session.front.wait(session, None, BOUNDARY_SECONDS)
    if session.status == RUNNING and gate.take_back_interruption():
        _interrupt_between_boundaries(session, gate.thread)
    return go(session, None, background=background)


def _handler(session: Session) -> Any:
    """Return what a SIGINT would call in a plain run of the script as it stands now."""
    run = session.run
    in_main_thread = run is not None and run.in_main_thread
    handler = signal.getsignal(signal.SIGINT) if in_main_thread else session.main_thread.interrupt_handler
    return signal.default_int_handler if handler in (signal.SIG_DFL, None) else handler


def _interrupt_at_boundary(session: Session) -> None:
    handler = _handler(session)
    if callable(handler):
        handler(signal.SIGINT, sys._getframe())  # noqa: SLF001 - what Python itself gives a handler


def _interrupt_between_boundaries(session: Session, thread: threading.Thread | None) -> None:
    if _handler(session) is not signal.default_int_handler:
        _interrupt_at_boundary(session)
    else:
        raise_in_thread(thread, KeyboardInterrupt)
