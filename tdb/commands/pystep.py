"""One training step under pdb."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

from tdb.commands import command
from tdb.errors import StateError
from tdb.results import Result, Text
from tdb.standing import RUNNING
from tdb.stopping import StopReport, stop_report
from tdb.under_pdb import StepDebugger

if TYPE_CHECKING:
    from tdb.session import Session

Value = TypeVar("Value")


@command(changes=True)
def pystep(session: Session) -> Result:
    """Take the next training step under the real pdb, line by line.

    pdb begins at the line of the selected frame that runs next, in the training thread, and every command of pdb works.
    At the end of the step training stops as after `step`, and the prompt is tdb's again: `c` or `q` goes there at once.
    Ctrl-C interrupts what pdb lets run. In a script the lines that follow are pdb's until then. What is evaluated in
    pdb is not guarded: a random number drawn there is one that training does not get.

    Example:
        pystep
    """
    if session.shell.answers_json:
        raise StateError("pystep is a conversation with pdb, which does not answer in JSON", "`step` takes the step")
    session.need_boundary()
    frames = session.stack.frames()
    selected = session.stack.frame()
    if selected is None:
        raise StateError("there is no frame for pdb to begin in", "`step` takes the step")
    debugger = StepDebugger(lambda: session.controller.gate.is_ending)
    session.armed.aim(None)
    session.controller.gate.call(lambda: debugger.attach(frames[: frames.index(selected) + 1]))
    session.controller.step()
    lines = LinesOfPdb(session, debugger)
    report = lines.run()
    if not lines.done:
        session.shell.take_lines(lines)
    return report


class LinesOfPdb:
    """Reads lines for pdb, and waits for what it does with each."""

    last_line = "q"
    line_if_abandoned: str | None = None  # it never is

    def __init__(self, session: Session, debugger: StepDebugger) -> None:
        self.done = False
        self.prompt = ""
        self._session = session
        self._debugger = debugger

    def run(self) -> Result:
        """Wait until pdb asks for a line, or the step is over; return what pdb has said, and where training stands."""
        session, debugger = self._session, self._debugger
        session.front.wait(session, None, meanwhile=self)
        text, self.prompt = debugger.words_out.take()
        said = [Text(text.rstrip("\n"))] if text.strip() else []
        if session.status == RUNNING:
            return Result(said, {"said": text, "prompt": self.prompt})
        self.done = True
        session.controller.gate.call(debugger.detach)
        report = stop_report(session)
        return StopReport([*said, *report.parts], {**(report.data or {}), "said": text}, report.notes)

    # ---- while training runs: see `tdb.front.Meanwhile` ------------------------------------------------------------

    @property
    def is_answered(self) -> bool:
        """Whether pdb asks for a line."""
        return self._debugger.commands_in.wanted.is_set()

    def interrupt(self) -> str:
        """Let Ctrl-C stop pdb at the next line."""
        self._debugger.interrupt()
        return "interrupting what pdb runs"

    # ---- lines: see `tdb.front.Reader` -----------------------------------------------------------------------------

    def read(self, line: str) -> Result:
        """Hand a line to pdb."""
        self._debugger.commands_in.put(f"{line}\n")
        return self.run()

    def completions(self, line: str) -> Iterable[str]:
        """Return what pdb would complete the last word of a line to."""
        return self._debugger.completions(line)

    def end(self) -> Result:
        """Tell pdb that its input has ended: it leaves, and the step runs to its end; or `interact` leaves."""
        self._debugger.commands_in.put("")
        return self.run()

    def abandon(self) -> None:
        """Ctrl-C clears the line, and pdb stays."""
