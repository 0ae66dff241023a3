"""What tdb shows of the rule: the only part of bcl that knows tdb."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from bcl.attach import BCL
from bcl.health import BCLHealthTracker
from bcl.vital_signs import DEAD_BELOW, WINNER_ABOVE
from tdb.panel import Panel, StatusRule


def bcl_panel(bcl: BCL, health: BCLHealthTracker | None = None) -> Panel:
    """Return the panel of one attached rule, for `controller.add_panel`.

    Args:
        bcl: the rule.
        health: the tracker that is told of every step, so that it goes back in time with the rule.
    """
    pulls = bcl.rule.pulls
    targets = ("som_targets", *bcl.rule.targets, "som_delta") if pulls else ()

    def state() -> dict[str, Any]:
        return {"rule": bcl.state(), "health": health and health.state()}

    def restore(state: Mapping[str, Any]) -> None:
        bcl.restore(state["rule"])
        if health is not None:
            health.restore(state["health"])

    return Panel(
        name="bcl",
        layer=bcl.name,
        metrics=bcl.get_step_metrics,
        columns=("win_rate", "grad_magnitude", *(("som_magnitude",) if pulls else ()), *bcl.rule.metrics),
        status=StatusRule("win_rate", dead_below=DEAD_BELOW, winner_above=WINNER_ABOVE),
        sources={name: partial(bcl.step_tensor, name) for name in targets},
        forces={"som": partial(bcl.step_tensor, "som_delta")} if pulls else {},
        scatter=("grad_magnitude", "som_magnitude" if pulls else "mean_activation", "win_rate"),
        inert=bcl.inert,
        state=state,
        restore=restore,
    )
