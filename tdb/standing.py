"""How a training loop stands, and in which threads.

    READY --first step--> RUNNING <--> STOPPED --> FINISHED | CRASHED | ENDED (told to stop)

Plain state and its rules, without a lock: the gate guards it, and waits where it says so.
"""

from __future__ import annotations

import threading

READY, RUNNING, STOPPED = "ready", "running", "stopped"
FINISHED, CRASHED, ENDED = "finished", "crashed", "ended"
OVER = frozenset({FINISHED, CRASHED, ENDED})


class Standing:
    """One loop, or the one that follows it.

    Attributes:
        status: one of the above.
        reason: why training stopped last.
        stops: how many times it has.
        unwinding: the loop was told to stop, and its thread has not said that it is done.
        thread: in which the loop was last seen.
        server: the thread that waits at the gate, and runs what is queued there.
        launched: the script's thread, in which the loop may be.
    """

    def __init__(self) -> None:
        self.status = READY
        self.reason = ""
        self.stops = 0
        self.unwinding = False
        self.thread: threading.Thread | None = None
        self.server: threading.Thread | None = None
        self.launched: threading.Thread | None = None

    @property
    def is_here(self) -> bool:
        """Whether the calling thread is the one in which the loop was last seen."""
        return threading.current_thread() is self.thread

    @property
    def thread_lives(self) -> bool:
        """Whether the training thread is alive, or has yet to be started."""
        return self.thread is not None and (self.thread.ident is None or self.thread.is_alive())

    @property
    def has_lost_thread(self) -> bool:
        """Whether the thread in which the loop was last seen has ended."""
        return self.thread is not None and not self.thread_lives

    def enter(self, thread: threading.Thread) -> None:
        """A loop takes its steps in a thread."""
        self.thread = thread
        self.status = RUNNING
        self.server = None
        self.unwinding = False

    def halt(self, reason: str) -> None:
        """Training stops."""
        self.status, self.reason = STOPPED, reason
        self.stops += 1
        self.server = self.thread

    def go_on(self) -> None:
        """Training goes on if it is stopped; its thread may still be at the gate."""
        if self.status == STOPPED:
            self.status = RUNNING

    def leave(self) -> None:
        """The training thread leaves the gate."""
        self.server = None
        self.status = RUNNING

    def end(self, status: str, reason: str) -> None:
        """Training is over."""
        self.status, self.reason = status, reason
        self.unwinding = False
        self.server = None

    def expect(self) -> None:
        """Another loop will follow."""
        self.status, self.reason, self.thread = READY, "", None

    def has_ended_without_a_word(self) -> bool:
        """Look after the training thread; return whether training is over because that has died."""
        if not self.thread_lives and self.launched is not None and self.launched.is_alive():
            self.thread = self.launched  # the loop had a thread of its own, and the script goes on without it
        if not self.has_lost_thread:
            return False
        self.server = None
        return self.status in (RUNNING, STOPPED)
