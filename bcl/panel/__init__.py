"""What tdb shows of the rule, and the commands that the rule brings: the only part of bcl that knows tdb."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from bcl.attach import BCL
from bcl.health import BCLHealthTracker
from bcl.panel.attached import BCLPanel, LossOfImages
from bcl.panel.health import health
from bcl.panel.images import image, images
from bcl.panel.trace import trace
from bcl.vital_signs import DEAD_BELOW, WINNER_ABOVE
from tdb.panel import Recorded, StatusRule

__all__ = ["COMMANDS", "BCLPanel", "bcl_panel"]

COMMANDS = (trace, image, images, health)


def bcl_panel(bcl: BCL, tracker: BCLHealthTracker | None = None, loss: LossOfImages | None = None) -> BCLPanel:
    """Return the panel of one attached rule, for `controller.add_panel`.

    Args:
        bcl: the rule.
        tracker: the tracker that is told of every step, so that it goes back in time with the rule.
        loss: gives the loss [B] of each of the images [B, F] that the layer takes; without a gradient.
    """
    pulls = bcl.rule.pulls
    targets = ("som_targets", *bcl.rule.targets, "som_delta") if pulls else ()

    def state() -> dict[str, Any]:
        return {"rule": bcl.state(), "config": bcl.config, "health": tracker and tracker.state()}

    def restore(state: Mapping[str, Any]) -> None:
        bcl.restore(state["rule"])
        bcl.config = state["config"]
        if tracker is not None:
            tracker.restore(state["health"])

    def settings() -> dict[str, Any]:
        return {name: value for name, value in asdict(bcl.config).items() if name != "rule"}

    def change(name: str, value: Any) -> None:
        bcl.config = replace(bcl.config, **{name: value})

    return BCLPanel(
        name="bcl",
        layer=bcl.name,
        metrics=bcl.get_step_metrics,
        recorded=Recorded(bcl.recorded_parts, bcl.recorded_metrics),
        step_data={"bcl_metrics": bcl.get_step_metrics, "bcl_tensors": bcl.step_tensors},
        columns=("win_rate", "grad_magnitude", *(("som_magnitude",) if pulls else ()), *bcl.rule.metrics),
        status=StatusRule("win_rate", dead_below=DEAD_BELOW, winner_above=WINNER_ABOVE),
        sources={name: partial(bcl.step_tensor, name) for name in targets},
        forces={"som": partial(bcl.step_tensor, "som_delta")} if pulls else {},
        scatter=("grad_magnitude", "som_magnitude" if pulls else "mean_activation", "win_rate"),
        commands=COMMANDS,
        inert=bcl.inert,
        state=state,
        restore=restore,
        settings=settings,
        change=change,
        bcl=bcl,
        tracker=tracker,
        image_loss=loss,
    )
