"""The journal of a session: every line that was run, with where training stood when it had been.

`record` writes it to a file, and a run that is taken anew repeats from it what the user has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdb.settings import is_setting
from tdb.standing import OVER, READY, STOPPED

if TYPE_CHECKING:
    from tdb.session import Session

PAUSED_BY_HAND = "pause"


@dataclass(frozen=True)
class Standing:
    """Where training stands.

    Attributes:
        stops: how many times it has stopped so far; it tells two stops at the same step apart.
        phase: where inside the step after `step`; "boundary" if nowhere.
    """

    status: str
    reason: str
    tick: int
    step: int
    epoch: int | None
    loss: float | None
    stops: int
    phase: str

    @property
    def is_still(self) -> bool:
        """Whether training stands where nothing but a command moves it."""
        return self.status == STOPPED or self.status in OVER


def standing(session: Session) -> Standing:
    """Return where training stands."""
    state = session.state()
    names = ("status", "reason", "tick", "step", "epoch", "loss", "stops", "phase")
    return Standing(*(state[name] for name in names))


@dataclass(frozen=True)
class Entry:
    """A line that was run, or a stop that came by itself.

    Attributes:
        text: one command, aliases replaced; empty where training stopped in the background.
        before: where training stood when it was typed.
        after: where it stood when the line had been run.
        error: what was wrong, empty if nothing was.
        changes: it may have changed training itself: a run that is taken anew repeats it.
        is_elsewhere: training was or is in another process, so that in this one nothing has changed.
    """

    text: str
    before: Standing
    after: Standing
    error: str = ""
    changes: bool = False
    is_elsewhere: bool = False

    @property
    def has_moved(self) -> bool:
        """Whether training stands at another stop than before, or has ended."""
        before, after = ((each.status, each.stops, each.tick, each.step) for each in (self.before, self.after))
        return self.after.is_still and after != before


@dataclass(frozen=True)
class Change:
    """What the user has done to training itself, and where.

    Attributes:
        step: the last finished step.
        has_begun: whether training had begun: it tells step 0 from before the start.
        phase: where inside the step that followed; "boundary" if nowhere.
    """

    step: int
    has_begun: bool
    phase: str
    text: str


class Journal:
    """The entries of a session, in order.

    Attributes:
        changes: those of them that a run which is taken anew has to repeat: going back to a step takes back what was
            done there and later.
        notices: what a listener had to say; shown with the next answer.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.changes: list[Change] = []
        self.notices: list[str] = []
        self._said: set[str] = set()
        self._listeners: list[Callable[[Entry], None]] = []

    def add(self, entry: Entry) -> None:
        """Add an entry and tell the listeners."""
        self.entries.append(entry)
        if not entry.is_elsewhere:
            self._note(entry)
        for listener in list(self._listeners):
            listener(entry)

    def _note(self, entry: Entry) -> None:
        if entry.has_moved and entry.after.step < entry.before.step:
            kept = entry.after.step
            self.changes = [change for change in self.changes if change.step < kept or not change.has_begun]
        elif entry.changes and not entry.error and not is_setting(entry.text):
            self.changes.append(Change(entry.before.step, entry.before.status != READY, entry.before.phase, entry.text))

    def on_entry(self, listener: Callable[[Entry], None]) -> None:
        """Call `listener(entry)` for each entry from now on."""
        self._listeners.append(listener)

    def no_longer(self, listener: Callable[[Entry], None]) -> None:
        """Stop calling a listener."""
        self._listeners.remove(listener)

    def first(self, what: str) -> bool:
        """Return whether this is asked for the first time: what has to be said once."""
        is_first = what not in self._said
        self._said.add(what)
        return is_first

    def take_notices(self) -> list[str]:
        """Return the notices and forget them."""
        notices, self.notices = self.notices, []
        return notices
