"""Whose doing it is what torch is seen to do: the loop's, or that of another thread, another process, tdb itself."""

from __future__ import annotations

import threading


class LoopThread:
    """The thread that the loop is in: there is one loop at a time.

    Attributes:
        aside: the thread in which somebody types at the prompt: what happens there is no training.
        ident: the loop's; 0 as long as there is none, and in a child process that goes its own way.
        is_followed: the loop is looked for, or at.
        is_busy: tdb itself is at work in the loop's thread.
    """

    def __init__(self) -> None:
        self.aside = threading.get_ident()
        self.ident = 0
        self.is_followed = self.is_busy = False
        self._thread: threading.Thread | None = None
        self._is_child = False

    def is_here(self) -> bool:
        """Return whether what happens here is the loop's doing."""
        return threading.get_ident() == self.ident and self.is_followed and not self.is_busy

    def may_be_here(self) -> bool:
        """Return whether what happens here may be the doing of the loop, or of the next one."""
        other = self._thread is not None and self._thread is not threading.current_thread() and self._thread.is_alive()
        return not other and self.is_of_the_script()

    def is_beside(self) -> bool:
        """Return whether the loop is in another thread, and what happens here is not the loop's doing but as it."""
        return self.ident != 0 and self.is_of_the_script()

    def is_of_the_script(self) -> bool:
        """Return whether what happens here is the doing of the script that is debugged, in whichever thread."""
        return self.is_followed and not (self.is_busy or self._is_child) and threading.get_ident() != self.aside

    def begin_here(self) -> None:
        """A loop begins in this thread."""
        self._thread, self.ident = threading.current_thread(), threading.get_ident()

    def left_behind(self) -> None:
        """This process was forked from the one that is debugged: what happens in it is nobody's business."""
        self.ident, self._is_child = 0, True

    def follow(self) -> None:
        """This forked process goes on as the script, in the thread that forked it: its loop is here."""
        self.begin_here()
        self._is_child = False
