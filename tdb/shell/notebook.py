"""The shell in a notebook: `%load_ext tdb`, and then any line of it in a cell, as `%tdb step 5` or `%tdb metrics`.

The loop that `tdb.attach` was told of trains in a thread of its own, and the cells look at it.
"""

from __future__ import annotations

import io
import sys
from math import inf
from typing import TYPE_CHECKING, Any

from tdb.active import attached_controller
from tdb.commands import all_commands
from tdb.commands.flow import Quit
from tdb.front import PlainFront
from tdb.session import Session
from tdb.shell.figures import FigureSink
from tdb.shell.interpreter import Interpreter
from tdb.shell.show import Show
from tdb.shell.start import state_folder

if TYPE_CHECKING:
    from tdb.controller import DebugController
    from tdb.front import Meanwhile
    from tdb.results import Picture


class CellFront(PlainFront):
    """A cell that waits while training runs; interrupting it pauses training, as Ctrl-C does at the prompt."""

    def wait(
        self, session: Session, goal: int | None, seconds: float = inf, *, meanwhile: Meanwhile | None = None
    ) -> None:
        """Block until training does not run, or so long.

        Raises:
            KeyboardInterrupt: the cell was interrupted again before training came to the end of a step.
        """
        try:
            super().wait(session, goal, seconds, meanwhile=meanwhile)
        except KeyboardInterrupt:
            session.pause()
            super().wait(session, goal, seconds, meanwhile=meanwhile)


class CellFigures(FigureSink):
    """Figures under the cell."""

    def _inline(self, picture: Picture, name: str) -> list[str]:
        from IPython.display import Image, display

        del name
        buffer = io.BytesIO()
        self._drawn(picture).savefig(buffer, format="png")
        display(Image(data=buffer.getvalue()))  # type: ignore[no-untyped-call]
        return []


class Cells:
    """The shell for the controller that was attached last."""

    def __init__(self) -> None:
        self._controller: DebugController | None = None
        self._interpreter: Interpreter

    def run(self, line: str) -> None:
        """Run a line and print its answer, after what has happened since the last one."""
        controller = attached_controller()
        if controller is None:
            sys.stderr.write("*** nothing is attached: controller = tdb.attach(model, optimizer)\n")
            return
        if controller is not self._controller:
            self._controller, self._interpreter = controller, self._open(controller)
        try:
            if self._interpreter.stop_untold:
                self._interpreter.tell_stop()
            self._interpreter.execute(line)
        except Quit:
            controller.stop()

    def _open(self, controller: DebugController) -> Interpreter:
        session = Session(controller, all_commands(), CellFront())
        controller.awake(session.settings["record.every"])
        sink = CellFigures("inline", out=sys.stdout)
        return Interpreter(session, Show(session, sink, sys.stdout, sys.stderr), state_folder() / "tdb.log")


def load_ipython_extension(ipython: Any) -> None:
    """Make `%tdb LINE` work; called by `%load_ext tdb`."""
    ipython.register_magic_function(Cells().run, "line", "tdb")
