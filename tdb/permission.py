"""What a training loop is allowed to do: to run freely, to take so many steps, to stop, to end.

Plain state and its rules, without a thread or a lock: the gate guards it, and waits where it says so.
"""

from __future__ import annotations


class Permission:
    """What others have asked of one loop, as of now.

    Attributes:
        paused: training is to stop, or has stopped.
        pause_due: a pause was asked for, and its stop has not come yet.
        granted: steps that may still be begun while paused.
        ending: training is to end at its next boundary.
        stop_at_begin: it is to stop before the first step of a loop that has not begun.
        passes_breakpoints: it runs freely, past each `breakpoint()` of the script as well.
        status: the exit status that training is to end with, if one was asked for.
    """

    def __init__(self) -> None:
        self.paused = self.pause_due = self.ending = self.stop_at_begin = False
        self.granted = 0
        self.passes_breakpoints = False
        self.status: int | None = None
        self._pause_reason = ""

    @property
    def wants_stop(self) -> bool:
        """Whether training is to stop where it stands, if it may stop there."""
        return self.paused and self.granted == 0 and not self.ending

    @property
    def wants_first_stop(self) -> bool:
        """Whether a loop that has not begun is to stop once it has."""
        return self.paused or self.stop_at_begin

    @property
    def wants_boundary(self) -> bool:
        """Whether the next boundary is to be looked at, for any of these reasons."""
        return self.paused or self.stop_at_begin or self.ending

    def pause(self, reason: str = "pause", *, stopped: bool) -> None:
        """Stop at the end of the next whole step, whatever was granted beyond it; `stopped`: it has stopped already."""
        self.passes_breakpoints = False
        if not self.paused:
            self.paused, self.pause_due, self._pause_reason = True, not stopped, reason
        self.granted = min(self.granted, 1)

    def resume(self, *, past_breakpoints: bool = False) -> None:
        """Run freely; granted steps are part of that."""
        self.paused = self.pause_due = False
        self.granted = 0
        self.passes_breakpoints = past_breakpoints

    def stop(self, status: int | None = None) -> None:
        """End training, with an exit status if one is given; overrides a pause."""
        self.resume()
        self.ending, self.status = True, status

    def grant(self, count: int) -> None:
        """Allow `count` steps more to a loop that is under way."""
        self.granted += count

    def grant_from_start(self, count: int) -> None:
        """Allow `count` steps to a loop that has not begun."""
        self.stop_at_begin = False
        if self.paused:
            self.granted += count
        else:
            self.paused = True
            self.granted = count - 1  # the first step begins by itself

    def hold_first(self) -> None:
        """Stop before the first step, whatever was granted."""
        self.stop_at_begin = True
        self.granted = 0

    def begins(self) -> bool:
        """A loop begins; return whether it is to stop before its first step."""
        hold, self.stop_at_begin = self.stop_at_begin, False
        if hold or self.ending:
            self.paused, self.pause_due = hold, False
        return hold

    def arrives(self, whole: bool, hit: str) -> str:
        """A step is complete; return why training would stop here: `hit`, the start, a pause, or its last step.

        Args:
            whole: it was captured from its start, so that a pause may stop here.
            hit: why training must stop here in any case, or nothing.
        """
        if self.stop_at_begin and whole:
            hit, self.stop_at_begin = hit or "start", False
        if hit:
            self.paused, self.pause_due, self.granted = True, False, 0
            return hit
        reason = self._pause_reason if self.pause_due else "step"
        if whole:
            self.pause_due = False
        return reason

    def leaves(self) -> bool:
        """Training goes on; return whether the step ahead may be the last before a stop."""
        if self.granted and not self.pause_due:
            self.granted -= 1
        return self.stop_at_begin or (self.paused and (self.pause_due or self.granted == 0))

    def ends(self) -> None:
        """Training is over: nothing is asked of a loop that may follow, but to stop before its first step."""
        self.resume()
        self.ending = False

    def only_stop(self) -> None:
        """Stop here, and forget what else was asked."""
        self.stop_at_begin = self.ending = False
        self.paused, self.pause_due, self.granted = True, False, 0
