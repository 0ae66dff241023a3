"""Which of a loop's events ends its steps: the one that `set step-on` says, or updates as they were learned to come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tdb.finder.steps import StepRule

if TYPE_CHECKING:
    from tdb.finder.discovery import Discovery
    from tdb.finder.hearing import Hearing

EVENTS = frozenset({"auto", "tick", "fetch", "backward"})


class Ends:
    """Says of each event whether it ends a step.

    Args:
        discovery: knows the optimizers.
        hearing: knows which modules the step under way has called.
        notify: tells something once at the prompt.

    Attributes:
        step_on: what a step is: "auto", "tick", "fetch", "backward" or the name of an optimizer that is known.
    """

    def __init__(self, discovery: Discovery, hearing: Hearing, notify: Callable[[str], None]) -> None:
        self.step_on = self._chosen = "auto"
        self._has_begun = False
        self._discovery = discovery
        self._optimizers = discovery.optimizers
        self._hearing = hearing
        self._notify = notify
        self._rule = StepRule()

    def begin(self) -> None:
        """A loop begins: how its updates come is to be learned."""
        self._rule = StepRule()
        self._has_begun = True
        self.choose(self._chosen)

    def choose(self, what: str) -> None:
        """Say what a step is; an optimizer that the loop turns out not to have is told of, and is as "auto"."""
        self._chosen = what
        why = self.misfit(what)
        if why:
            self._notify(f"step.on {what}: {why}: steps are found as with auto")
        self.step_on = "auto" if why else what

    def misfit(self, what: str) -> str:
        """Return why nothing of the loop is `what`, or nothing: it is not known before the loop begins."""
        names = self._discovery.names.values()
        if what in EVENTS or what in names or not self._has_begun:
            return ""
        return f"none of the optimizers ({', '.join(names)}) is named so" if names else "updates are made by hand"

    @property
    def are_learned(self) -> bool:
        """Whether it is known how updates come."""
        return bool(self._rule.cycle)

    @property
    def are_all_updates(self) -> bool:
        """Whether all updates are one optimizer's, as far as is known, and each ends a step."""
        return len(self._rule.cycle) == 1 and self.step_on in ("auto", "tick")

    @property
    def is_fetch(self) -> bool:
        """Whether a step ends where the next batch is drawn."""
        return self.step_on == "fetch"

    @property
    def is_backward(self) -> bool:
        """Whether each backward pass ends a step."""
        return self.step_on == "backward"

    @property
    def is_clearing(self) -> bool:
        """Whether a step that was updated by hand ends where gradients are cleared."""
        return self.step_on in ("auto", "tick")

    @property
    def is_next_backward(self) -> bool:
        """Whether a step that was updated by hand ends with the next backward pass, if nothing else is seen of it."""
        return self.step_on == "auto"

    def updated(self, optimizer: Any) -> bool:
        """An optimizer has made its update; return whether that ends the step."""
        if self.step_on == "auto":
            return self._rule.tick(self._optimizers.number(optimizer), self._taking_part)
        if self.step_on in EVENTS:
            return self.step_on == "tick"
        return self._discovery.names.get(id(optimizer)) == self.step_on

    def passed(self, count: int) -> None:
        """So many updates were made and not told, each of which has ended a step."""
        self._rule.passed(count)

    def pass_ended(self) -> bool:
        """A pass over the data has ended that steps are taken on; return whether that ends the step under way."""
        return self.step_on == "auto" and self._rule.pass_ended(self._optimizers.all())

    def _taking_part(self) -> set[int]:
        hearing = self._hearing
        return self._optimizers.taking_part(hearing.called) if hearing.is_possible else self._optimizers.all()
