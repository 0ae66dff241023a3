"""What a rule goes on from, and what of it can be changed under way: for whoever stops a run or takes it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from bcl.attach import BCL
from bcl.health import BCLHealthTracker


@dataclass(frozen=True)
class Upkeep:
    """The upkeep of one attached rule, and of the tracker of its features' health if there is one."""

    bcl: BCL
    tracker: BCLHealthTracker | None

    def state(self) -> dict[str, Any]:
        """Return all that both go on from, as a copy that later steps do not change."""
        return {"rule": self.bcl.state(), "config": self.bcl.config, "health": self.tracker and self.tracker.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, as `state()` gave it; the state stays its own."""
        self.bcl.restore(state["rule"])
        self.bcl.config = state["config"]
        if self.tracker is not None:
            self.tracker.restore(state["health"])

    def settings(self) -> dict[str, int | float]:
        """Return the rule's constants by name; which rule it is cannot be changed under way."""
        return {name: value for name, value in asdict(self.bcl.config).items() if name != "rule"}

    def change(self, name: str, value: Any) -> None:
        """Set one of the constants, from the next forward pass on.

        Raises:
            ValueError: it is out of its range.
        """
        self.bcl.config = replace(self.bcl.config, **{name: value})
