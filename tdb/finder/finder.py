"""Puts everything on that finds the loop of a script as it runs, and takes it off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdb.active import when_explicit
from tdb.errors import in_words
from tdb.finder.arrival import Arrival
from tdb.finder.children import Children
from tdb.finder.discovery import Discovery
from tdb.finder.follower import Follower
from tdb.finder.loop_thread import LoopThread
from tdb.finder.onlooker import Onlooker
from tdb.tap import Tap

if TYPE_CHECKING:
    from tdb.controller import DebugController

SAYS_ITSELF = "the loop says itself where its steps end"


class Finder:
    """Has the loop followed, or, where the script says itself where its steps end, looked on at.

    Attributes:
        tap: the batches that the script draws; others may listen, too.
        thread: which one the loop is in, and which ones it is not.
    """

    def __init__(self, controller: DebugController) -> None:
        self.tap = Tap()
        self.thread = LoopThread()
        self._controller = controller
        self._told: set[str] = set()
        self._step_on = "auto"
        self._explicit = False  # the script says itself where its steps end
        discovery = Discovery()
        self._follower = Follower(controller, self.tap, self.thread, discovery, self.notify, self._give_up)
        self._onlooker = Onlooker(controller, discovery)
        self._arrival = Arrival("torch", self._put_on_now)
        self._children = Children(self)
        controller.when_stands(self._follower.stands)

    # ---- any thread ------------------------------------------------------------------------------------------------

    def put_on(self) -> None:
        """Find the loop of what runs from now on."""
        self.thread.is_followed = True
        self._children.put_on()
        self._arrival.wait()
        when_explicit(self._stand_aside)

    def take_off(self) -> None:
        """Leave everything as it was."""
        self.thread.is_followed = False
        self._arrival.give_up()
        self._onlooker.take_off()
        self._follower.take_off()
        self._children.take_off()

    def step_on(self, what: str) -> None:
        """Say what a step is: "auto", "tick", "fetch", "backward" or the name of an optimizer."""
        self._step_on = what
        self._follower.step_on(what)

    def misfit(self, what: str) -> str:
        """Return why `step_on` cannot say this of the loop that is there, or nothing."""
        if self._explicit:
            return "" if what == "auto" else SAYS_ITSELF
        return self._follower.misfit(what)

    def notify(self, text: str) -> None:
        """Tell something once at the prompt."""
        if text not in self._told:
            self._told.add(text)
            self._controller.notify(text)

    def left_behind(self) -> None:
        """This process was forked from the one that is debugged."""
        self.thread.left_behind()
        self._follower.look_closely()

    def _stand_aside(self) -> None:
        self.take_off()
        self._explicit = True
        if why := self.misfit(self._step_on):
            self.notify(f"step.on {self._step_on}: {why}")
        self._arrival.wait()

    def _put_on_now(self) -> None:
        if self._explicit:
            self._onlooker.put_on()
        elif self.thread.is_followed:
            self._follower.put_on()

    def _give_up(self, error: Exception) -> None:
        self.take_off()
        self.notify(f"tdb cannot find the loop of this script: {in_words(error)}")

    # ---- the script's thread ---------------------------------------------------------------------------------------

    def end(self) -> None:
        """The script has come to its end: a step whose end only the next one would have shown is complete.

        Raises:
            TrainingStopped: somebody called `stop`.
        """
        self._follower.end()

    def crashed(self) -> None:
        """The script has raised: hand over what the step under way was taken on."""
        self._follower.crashed()
