"""The Python stack of training: of the loop where it waits, or of the exception that ended it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from traceback import walk_stack
from typing import TYPE_CHECKING

from tdb.breakpoint_hook import STOPS_HERE
from tdb.frames import innermost_of_user, is_library, is_own, place_of, stack_of, stack_of_error, user_frame
from tdb.selection import Selection, chain_of
from tdb.standing import CRASHED, RUNNING, STOPPED

if TYPE_CHECKING:
    from types import FrameType

    from tdb.frames import Place
    from tdb.gate import Gate


class Stack:
    """The user's frames of the training thread, and which of them is selected."""

    def __init__(self, gate: Gate, error: Callable[[], BaseException | None]) -> None:
        self._gate = gate
        self._error = error
        self._selection = Selection()
        self._selected_at: tuple[str, int] | None = None

    def frames(self) -> list[FrameType]:
        """Return the user's frames of the training thread, outermost first."""
        return [frame for frame, _ in self._lines()]

    def _lines(self) -> list[tuple[FrameType, int]]:
        """Return the frames, each with the line where it is, or was when the exception left it."""
        if self._gate.status == CRASHED and self._error() is not None:
            return stack_of_error(self.selection.error(self.errors()).__traceback__)
        frames = stack_of(self._gate.thread) if self._gate.status in (RUNNING, STOPPED) else []
        return [(frame, frame.f_lineno or 0) for frame in frames]  # none between two lines of a running thread

    def places(self) -> list[Place]:
        """Return where each of the frames is."""
        return [place_of(frame, line) for frame, line in self._lines()]

    def frame(self) -> FrameType | None:
        """Return the selected frame: the innermost of the user's own files, unless `up` or `down` moved it.

        Where training crashed, or the script itself has stopped it, it is the very frame, whoever's that is.
        """
        return self.selection.frame(self.frames())

    def of_loop(self) -> Iterator[FrameType]:
        """Give the innermost frame of the user's own files, then those of them that have led to it.

        Asked in the training thread; after a crash in any, and the selected frame is the first one then.
        """
        if self._gate.status == CRASHED:
            frames, selected = self.frames(), self.frame()
            inner = frames[frames.index(selected) :: -1] if selected in frames else []
        elif self._gate.status in (RUNNING, STOPPED) and self._gate.thread is threading.current_thread():
            innermost = user_frame()
            inner = [] if innermost is None else [frame for frame, _ in walk_stack(innermost)]
        else:
            inner = []
        yield from inner[:1]
        yield from (frame for frame in inner[1:] if not (is_own(frame) or is_library(frame)))

    def place(self) -> Place | None:
        """Return where the training thread is in the user's code: in the selected frame."""
        lines = self._lines()
        index = self.selection.index(lines)
        return place_of(*lines[index]) if index >= 0 else None

    @property
    def selection(self) -> Selection:
        """Which frame is selected; at another stop than before, the innermost is again."""
        stop = self._gate.status, self._gate.stops
        if stop != self._selected_at:
            self._selected_at, self._selection = stop, Selection(self._outside_of_user())
        return self._selection

    def _outside_of_user(self) -> int:
        """Return how many frames the one that is selected first is outside the innermost."""
        if self._gate.status == CRASHED or self._gate.reason in STOPS_HERE:
            return 0
        frames = stack_of(self._gate.thread)
        of_user = innermost_of_user(frames[-1]) if frames else None
        return frames[::-1].index(of_user) if of_user in frames else 0

    def errors(self) -> list[BaseException]:
        """Return the exception that ended training with those that led to it, the first cause first; or none."""
        error = self._error()
        return chain_of(error) if error is not None else []

    def error(self) -> BaseException | None:
        """Return the chosen one of these exceptions: the last, unless `exceptions` chose another."""
        errors = self.errors()
        return self.selection.error(errors) if errors else None

    def whereabouts(self) -> str:
        """Return where training is, in words: "in DataLoader.__next__, recipes/trainer.py(61) train"."""
        frames = stack_of(self._gate.thread)
        if not frames:
            return "starting"
        place = place_of(frames[-1])
        return f"in {frames[-1].f_code.co_qualname}, {place.file}({place.line})"
