"""pdb for one training step: it traces the loop's own frames, from one boundary to the next."""

from __future__ import annotations

import os
import pdb
import sys
import threading
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, cast

from tdb.frames import HERE, frames_of_threads, is_own
from tdb.interruptible import Interruptible
from tdb.under_pdb.streams import CommandsOfPdb, PythonInPdb, WordsOfPdb

if TYPE_CHECKING:
    from types import FrameType

# What a proxy passes on to is the user's own: its data set, which pdb may well step into.
SEEN_THROUGH = f"{HERE}tap.py"


if TYPE_CHECKING:
    PlainPdb = pdb.Pdb
else:
    # A notebook's kernel puts IPython's in its place, which writes colours and reads its own settings.
    PlainPdb = next(kind for kind in pdb.Pdb.__mro__ if kind.__module__ == pdb.__name__)


class StepDebugger(PlainPdb):
    """pdb for one training step; leaving it lets the step run to its end, and never raises in training."""

    def __init__(self, is_ending: Callable[[], bool]) -> None:
        self.commands_in = CommandsOfPdb(is_ending)
        self.words_out = WordsOfPdb()
        super().__init__(stdin=cast("IO[str]", self.commands_in), stdout=cast("IO[str]", self.words_out), nosigint=True)
        self._process = os.getpid()
        self._trace_before: Any = None
        self._frames: list[FrameType] = []
        self._thread = 0
        self._hidden: FrameType | None = None  # tdb's frame in which the thread is: nothing in there is the user's
        self._has_begun = False
        self._has_left = False
        self._is_interrupted = False
        self._interruptible = Interruptible()

    # ---- the training thread, at a boundary ------------------------------------------------------------------------

    def attach(self, frames: list[FrameType]) -> None:
        """Trace the frames, outermost first, and stop at the next line of the last."""
        self.reset()
        self._frames, self.botframe = frames, frames[0]
        self._thread = threading.get_ident()
        self._trace_frames(frames)
        self.set_next(frames[-1])
        self._trace_before = sys.gettrace()
        sys.settrace(self.trace_dispatch)

    def detach(self) -> None:
        """Let the thread run untraced again."""
        self._has_left = True
        sys.settrace(self._trace_before)
        frame: FrameType | None = sys._getframe()  # noqa: SLF001 - as bdb does
        while frame is not None:  # a frame of tdb that is under way would else tell this debugger of its return
            frame.f_trace = None
            frame = frame.f_back
        self._frames = []

    # ---- any thread ------------------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Do what Ctrl-C does in pdb: end the command that runs, or stop the program at its next call or line."""
        if not self._interruptible.interrupt():
            self._is_interrupted = True
            # What `c` and `n` run through is not traced line by line, and may never call anything.
            frames = [] if self._hidden is not None else frames_above(self._thread, self._frames)
            self._trace_frames(frames)

    def completions(self, line: str) -> list[str]:
        """Return what pdb's own completion offers for the last word of a line."""
        word = line[line.rfind(" ") + 1 :]
        begin = len(line) - len(word)
        command, _, _ = self.parseline(line)
        complete: Callable[..., list[str] | None] = self.completenames
        if begin > 0:
            complete = getattr(self, f"complete_{command}", self.completedefault) if command else self.completedefault
        return list(complete(word, line, begin, len(line)) or []) if self.curframe is not None else []

    # ---- the training thread: commands -----------------------------------------------------------------------------

    def interaction(self, *arguments: Any) -> None:
        """Read and run commands; a Ctrl-C that comes as they end must not reach training."""
        self._interruptible.begin()
        try:
            try:
                super().interaction(*arguments)
            finally:
                self._interruptible.end()
        except KeyboardInterrupt:
            self._interruptible.end()

    # ---- the trace -------------------------------------------------------------------------------------------------

    def trace_dispatch(self, frame: FrameType, event: str, arg: Any) -> Any:
        """Hide tdb's frames and all that runs in them; pass everything else on to pdb."""
        if self._has_left or os.getpid() != self._process:  # a worker that was forked in this step is none of pdb's
            sys.settrace(None)
            return None
        if not self._has_begun:
            if frame not in self._frames:
                return None
            self._has_begun = True
        if self._hidden is not None:
            if frame is self._hidden and event == "return":
                self._hidden = None
            return self.trace_dispatch if frame is self._hidden else None
        if is_own(frame):
            if event != "call" or frame.f_code.co_filename.startswith(SEEN_THROUGH):
                return None
            self._hidden = frame
            return self.trace_dispatch
        if self._is_interrupted:
            self._is_interrupted = False
            self.message("\nProgram interrupted. (Use 'cont' to resume).")
            self._trace_frames(self._frames)
            self.set_step()
        traced = super().trace_dispatch(frame, event, arg)
        if event == "return" and frame is self.botframe:
            self._has_left = True  # what comes now is the end of the thread
        return traced

    def set_continue(self) -> None:
        """Run on, still traced, so that Ctrl-C can stop it."""
        super().set_continue()
        if not self._has_left:
            sys.settrace(self.trace_dispatch)

    def _trace_frames(self, frames: list[FrameType]) -> None:
        for frame in frames:
            frame.f_trace = self.trace_dispatch

    # ---- what is said, and Python that is typed --------------------------------------------------------------------

    def message(self, msg: str) -> None:
        """Show a line."""
        self.words_out.write(f"{msg}\n")

    def error(self, msg: str) -> None:
        """Show what is wrong."""
        self.words_out.write(f"*** {msg}\n")

    def default(self, line: str) -> None:
        """Run Python, with the process's own stdin and stdout left as they are: the main thread uses them now."""
        kept = self.stdin, self.stdout
        self.stdin, self.stdout = sys.stdin, sys.stdout
        try:
            super().default(line)
        finally:
            self.stdin, self.stdout = kept

    # ---- commands that end a program, or read the terminal themselves ----------------------------------------------

    def do_quit(self, arg: str) -> bool:
        """q(uit): leave pdb; the step runs to its end, and training stops there in tdb."""
        del arg
        self._has_left = True
        self.set_continue()
        return True

    do_q = do_exit = do_quit

    def do_EOF(self, arg: str) -> bool:  # noqa: N802 - cmd's name for it
        """EOF: as quit."""
        self.message("")
        return self.do_quit(arg)

    def do_run(self, arg: str) -> None:
        """run: tdb's business."""
        del arg
        self.error("training is not restarted from here: q comes back to tdb")

    do_restart = do_run

    def do_interact(self, arg: str) -> None:
        """interact: a Python prompt with the frame's variables."""
        del arg
        variables = {**self.curframe.f_globals, **self.curframe_locals}  # type: ignore[union-attr]
        PythonInPdb(variables, self.commands_in, self.words_out).interact("*interactive*", "")


def frames_above(thread: int, frames: list[FrameType]) -> list[FrameType]:
    """Return the frames of a thread that were called from some of its frames."""
    above = []
    frame = frames_of_threads().get(thread)
    while frame is not None and frame not in frames:
        above.append(frame)
        frame = frame.f_back
    return above
