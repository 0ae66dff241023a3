"""The shell in a notebook: `%load_ext tdb`, and then any line of it in a cell, as `%tdb step 5` or `%tdb metrics`.

The loop that `tdb.attach` was told of trains in a thread of its own, and the cells look at it. Under `%%tdb` each line
of the cell is one of the shell.
"""

from __future__ import annotations

import io
import sys
import threading
from math import inf
from typing import TYPE_CHECKING, Any

from tdb.active import attached_controller
from tdb.commands import all_commands
from tdb.commands.flow import Quit
from tdb.errors import in_words
from tdb.front import PlainFront
from tdb.session import Session
from tdb.shell.figures import FigureSink
from tdb.shell.interpreter import Interpreter
from tdb.shell.show import Show
from tdb.shell.start import state_folder
from tdb.standing import CRASHED, FINISHED, OVER, RUNNING, STOPPED
from tdb.tokens import lines_of

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
    """Figures under the cell of a notebook."""

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
        self._crash: tuple[DebugController, BaseException] | None = None
        self._before = -1  # the steps that a loop of this thread had taken when the cell began

    def run(self, line: str, cell: str | None = None) -> None:
        """Run a line, or those of a cell, and print the answers, after what has happened since the last one."""
        controller = attached_controller()
        if controller is None:
            sys.stderr.write("*** nothing is attached: controller = tdb.attach(model, optimizer)\n")
            return
        is_new = controller is not self._controller
        if is_new:
            self._tell_left_behind()
            self._controller, self._interpreter = controller, self._open(controller)
        self._end_in_this_thread(controller)
        interpreter, was_reading = self._interpreter, self._interpreter.reads
        if not was_reading and controller.gate.status == RUNNING and controller.gate.granted == 0:
            # It will stop, as after `pause()` in the cell before.
            interpreter.session.front.wait(interpreter.session, None)
        if self._crash is not None and self._crash[0] is controller:
            interpreter.session.crashed(self._crash[1])
            self._crash = None
        try:
            if interpreter.stop_untold or (is_new and controller.gate.status in OVER):
                interpreter.tell_stop()
            lines = [line] if cell is None else [line, *lines_of(cell)]
            interpreter.session.typed_lines += [each.strip() for each in lines if each.strip()]
            if cell is None:
                interpreter.execute(line)
            else:
                interpreter.lines(lines, "cell")
        except Quit:
            controller.stop()
        if interpreter.reading is not None and not was_reading:
            prompt, last_line, _ = interpreter.reading
            interpreter.show.notice(f"{prompt.strip()} reads the next %tdb lines, up to `%tdb {last_line}`")

    def crashed(self, thread: threading.Thread | None, error: BaseException | None) -> None:
        """A thread ends with an exception; if it is the one that trains, training has crashed. Called in it."""
        controller = attached_controller()
        if controller is None or error is None or thread is None or thread is not controller.gate.thread:
            return
        if controller.gate.status not in OVER:
            self._crash = controller, error
            controller.finish(CRASHED, in_words(error))

    def cell_begins(self, _: Any = None) -> None:
        """A cell is about to run."""
        self._before = self._steps_here()

    def cell_ended(self, result: Any) -> None:
        """A cell has run; if it has trained, and an exception has ended it, training has crashed."""
        if self._steps_here() > self._before:
            self.crashed(threading.current_thread(), result.error_in_exec)

    def _steps_here(self) -> int:
        """Return how many steps a loop of this thread has taken; -1 if none is under way here."""
        controller = attached_controller()
        if controller is None or controller.gate.thread is not threading.current_thread():
            return -1
        return controller.position.tick if controller.gate.status == RUNNING else -1

    def _tell_left_behind(self) -> None:
        """Say that training which was attached before has not ended: its thread and its model stay."""
        left = self._controller
        if (
            left is not None
            and left.gate.status in (RUNNING, STOPPED)
            and left.gate.thread is not threading.main_thread()
        ):
            state = left.get_state()
            sys.stderr.write(
                f"the loop that was attached before is {state['status']} at step {state['step']}: "
                "`%tdb quit` before attaching anew ends it\n"
            )
            sys.stderr.flush()

    def _end_in_this_thread(self, controller: DebugController) -> None:
        """A loop that has trained in a cell of its own is over: this one runs."""
        if controller.gate.status == RUNNING and controller.gate.thread is threading.current_thread():
            controller.finish(FINISHED, "its cell has ended")

    def _open(self, controller: DebugController) -> Interpreter:
        session = Session(controller, all_commands(), CellFront())
        controller.awake(session.settings["record.every"])
        controller.when_begins(lambda: _warn_of_stops(controller))
        in_notebook = "ipykernel" in sys.modules  # and else in IPython's terminal, which reads lines, too
        sink = CellFigures("inline", out=sys.stdout) if in_notebook else FigureSink(out=sys.stdout, interactive=False)
        return Interpreter(session, Show(session, sink, sys.stdout, sys.stderr), state_folder() / "tdb.log")


def _warn_of_stops(controller: DebugController) -> None:
    """Say what a stop will be in a loop that trains in a cell itself: nothing else runs there to go on from it."""
    if controller.gate.may_stop and threading.current_thread() is threading.main_thread():
        sys.stderr.write(
            "this cell trains: where it stops, no other cell runs until it is interrupted. "
            "Train in a thread: threading.Thread(target=train).start()\n"
        )


_cells = Cells()


def load_ipython_extension(ipython: Any) -> None:
    """Make `%tdb LINE` and `%%tdb` work; called by `%load_ext tdb`."""
    from IPython.core.magic import no_var_expand

    @no_var_expand  # what is in braces belongs to the line, and is looked up where the loop stands
    def tdb(line: str, cell: str | None = None) -> None:
        _cells.run(line, cell)

    ipython.register_magic_function(tdb, "line_cell", "tdb")
    ipython.events.register("pre_run_cell", _cells.cell_begins)
    ipython.events.register("post_run_cell", _cells.cell_ended)
    _hear_crashes()


def _hear_crashes() -> None:
    """Let training that ends its thread with an exception have crashed; what is printed of it stays as it was."""
    before = threading.excepthook
    if getattr(before, "hears_for_tdb", False):
        return

    def excepthook(arguments: threading.ExceptHookArgs) -> None:
        _cells.crashed(arguments.thread, arguments.exc_value)
        before(arguments)

    excepthook.hears_for_tdb = True  # type: ignore[attr-defined]
    threading.excepthook = excepthook
