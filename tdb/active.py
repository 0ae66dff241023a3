"""The controller of the script that runs under tdb in this process, and whether the script drives it by itself.

A script that asks for the controller is explicit: it says itself where its steps end, and whatever finds that out for
other scripts stands aside, so that no step is counted twice.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tdb.controller import DebugController

_active: DebugController | None = None
_process = 0
_plain: tuple[int, DebugController] | None = None
_attaching: threading.Thread | None = None
_one_at_a_time = threading.Lock()
_explicit = False
_stand_aside: list[Callable[[], None]] = []


def active_controller() -> DebugController | None:
    """Return the controller of this process if its script was started by tdb, else None.

    Whoever asks is going to call `capture_batch` and `wait_if_paused`: tdb does not look for the loop any more.
    """
    controller = current_controller()
    if controller is not None:
        become_explicit()
    return controller


def current_controller() -> DebugController | None:
    """Return the same controller for those who do not drive it; None in child processes, which nobody controls."""
    return _active if os.getpid() == _process else None


def plain_controller() -> DebugController:
    """Return the controller of a process that tdb has not started; another one while the last one's loop still runs.

    Threads that train beside each other may ask before any of their loops has begun: each has one of its own.
    """
    global _plain, _attaching  # noqa: PLW0603 - one script a process is what pdb has, too
    from tdb.controller import DebugController

    with _one_at_a_time:
        if _plain is None or _plain[0] != os.getpid() or _belongs_to_another_thread(_plain[1]):
            controller = DebugController()
            controller.rest()
            _plain = os.getpid(), controller
        _attaching = threading.current_thread()
        return _plain[1]


def _belongs_to_another_thread(controller: DebugController) -> bool:
    """Return whether another thread trains with a controller, or has asked for it and will."""
    from tdb.standing import RUNNING, STOPPED

    here, gate = threading.current_thread(), controller.gate
    if gate.status in (RUNNING, STOPPED):
        return gate.thread is not here
    asked = _attaching
    return asked is not None and asked.is_alive() and asked not in (here, threading.main_thread())


def attached_controller() -> DebugController | None:
    """Return the controller that `tdb.attach` has returned last, here or under tdb; None if there is none."""
    if _plain is not None and _plain[0] == os.getpid():
        return _plain[1]
    return current_controller()


def set_active_controller(controller: DebugController | None) -> None:
    """Make `controller` the one that the script finds; called by the launcher.

    A forked child that goes on as the script calls it again: any other child has no controller.
    """
    global _active, _process, _explicit  # noqa: PLW0603 - one script a process is what pdb has, too
    if controller is None or controller is not _active:
        _explicit = False
        _stand_aside.clear()
    _active, _process = controller, os.getpid()


def is_explicit() -> bool:
    """Return whether the script drives the controller by itself."""
    return _explicit


def become_explicit() -> None:
    """Note that the script drives the controller by itself, and tell those who would otherwise do it."""
    global _explicit  # noqa: PLW0603 - as above
    if not _explicit:
        _explicit = True
        for function in [*_stand_aside]:
            function()
        _stand_aside.clear()


def when_explicit(stand_aside: Callable[[], None]) -> None:
    """Call `stand_aside` once, in the script's thread, when the script asks for its controller; at once if it has."""
    if _explicit:
        stand_aside()
    else:
        _stand_aside.append(stand_aside)
