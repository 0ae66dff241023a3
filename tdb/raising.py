"""What a signal handler of the script raises: it belongs into the script's thread, and handlers run in the main one."""

from __future__ import annotations

import ctypes
import threading
from typing import TYPE_CHECKING, Any

from tdb.standing import RUNNING

if TYPE_CHECKING:
    from tdb.gate import Gate

# Most steps are shorter; whoever is in none within that time is interrupted where it is.
BOUNDARY_SECONDS = 1.0


def raise_in_script(gate: Gate, error: Exception) -> None:
    """Raise `error` in the training thread: where it is stopped when it goes on, or at the next boundary.

    Outside a loop, and in a step that takes long, it is raised at the next line of Python that the thread runs.
    """
    raised = threading.Event()

    def fail() -> None:
        raised.set()
        raise error

    gate.interrupt(fail)
    if gate.status == RUNNING and not raised.wait(BOUNDARY_SECONDS) and gate.take_back_interruption():
        raise_in_thread(gate.thread, _class_of(error))


def raise_in_thread(thread: threading.Thread | None, raised: type[BaseException]) -> None:
    """Raise an exception at the next line of Python that a thread runs."""
    if thread is not None and thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(raised))


def _class_of(error: Exception) -> type[Exception]:
    """Return a class that makes `error` itself when it is raised: Python raises nothing but a class in a thread."""

    class Raised(type(error)):  # type: ignore[misc]
        def __new__(cls, *_arguments: Any) -> Any:
            return error

    return Raised
