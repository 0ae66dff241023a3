"""`tdb.set_trace()`: the shell where the script is, as pdb's."""

from __future__ import annotations

import builtins
import sys
from bdb import BdbQuit

from tdb.active import current_controller
from tdb.breakpoint_hook import SET_TRACE, is_refused
from tdb.errors import TrainingStopped


def set_trace() -> None:
    """Stop here, and open the shell.

    Under `tdb SCRIPT` it is the shell that is there already. In a plain run it opens at the first call; `step`,
    `until` and stop points then work with a loop that `tdb.attach` knows, and `continue` runs to the next `set_trace`.
    In a worker of a DataLoader or another process of multiprocessing it says that it cannot, and goes on.

    Raises:
        TrainingStopped: the user has left.
        BdbQuit: the same at Python's own prompt, which a SystemExit would end, too.
    """
    if is_refused(SET_TRACE):
        return
    controller = current_controller()
    if controller is None:
        from tdb.shell.beside import open_beside

        controller = open_beside()
    if controller.gate.passes_breakpoints:
        return
    try:
        controller.stop_here(SET_TRACE)
    except TrainingStopped:
        # IPython has a first prompt, too, and survives a SystemExit without a word.
        if hasattr(sys, "ps1") and not hasattr(builtins, "__IPYTHON__"):
            raise BdbQuit from None
        raise
