"""What of the loop under way can be gone back to, and if nothing can, why."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tdb.errors import StateError
from tdb.passes.data import LoopData
from tdb.target import Training, model_of, optimizers_of
from tdb.travel.state import Part, State

if TYPE_CHECKING:
    from tdb.loop_side import LoopSide
    from tdb.passes.passes import Passes


class Reach:
    """All that one loop's training consists of, as far as it goes back; used in the training thread but for `register`.

    Args:
        loop: the loop's side of the controller.

    Attributes:
        state: everything that is copied and put back; None if the loop cannot go back in place.
        why_not: why it cannot; empty if it can.
        data: what is known of the loop's data.
        requested: somebody wants a script's loop to go back in place, too, though its variables do not.
    """

    def __init__(self, loop: LoopSide) -> None:
        self.state: State | None = None
        self.why_not = "training has not begun"
        self.requested = False
        self._loop = loop
        self._registered: dict[str, Part] = {}
        self.data = LoopData(self._registered)

    def register(self, name: str, save: Callable[[], Any], load: Callable[[Any], Any]) -> None:
        """Let a state of the user's own go back with the rest."""
        self._registered[name] = Part(save, load)

    def need(self) -> State:
        """Return everything that is copied and put back.

        Raises:
            StateError: the loop cannot go back in place.
        """
        if self.state is None:
            raise StateError(f"training cannot go back in place: {self.why_not}")
        return self.state

    @property
    def leaves_locals(self) -> bool:
        """Whether the loop has variables of its own that do not go back."""
        return self.data.passes is not None or (self.state is not None and isinstance(self._loop.target, Training))

    def begin(self, target: Any) -> None:
        """A loop over `target` is about to begin."""
        self.data.forget()
        self.why_not, self.state = _refusal(target), None
        if not self.why_not:
            self._set(target)

    def begin_passes(self, timeline: int, budget: int) -> bool:
        """Return whether a loop goes back because its batches come through `controller.steps` from its first on."""
        target = self._loop.target
        if model_of(target) is None and not optimizers_of(target):
            return False
        self.why_not = ""
        state = self._set(target)
        if state is not None:
            self.data.begin(state, self._loop.notices.append, timeline, budget)
        return state is not None

    def begin_on_request(self, timeline: int, budget: int) -> bool:
        """Return whether a script's loop goes back from the boundary on at which training stands."""
        target, tell = self._loop.target, self._loop.notices.append
        if not isinstance(target, Training) or target.feed is None:
            return False
        state = self._set(target)
        if state is None:
            return False

        def passes() -> Passes:
            return self.data.begin(state, tell, timeline, budget)

        self.why_not = target.feed(passes)
        if self.why_not:
            self.state = None
        return self.state is not None

    def _set(self, target: Any) -> State | None:
        state = State(target, self._loop.panels, self._registered)
        self.why_not = state.lacks()
        self.state = None if self.why_not else state
        return self.state


def _refusal(target: Any) -> str:
    """Return why a target cannot be put back, or nothing."""
    if target is None:
        return "the loop has not said what it trains: controller.begin(trainer)"
    if isinstance(target, Training) and target.feed is not None:
        return "`set checkpoints.in_place on` makes the loop go back so, from the next step on"
    if isinstance(target, Training):
        return "only a loop over `controller.steps(loader)`, or a trainer with state() and restore(state), can"
    if not (hasattr(target, "state") and hasattr(target, "restore")):
        return f"{type(target).__name__} has no state() and restore(state), so its data and counters would not go back"
    return ""
