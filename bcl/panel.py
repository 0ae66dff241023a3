"""What tdb shows of the rule: the only part of bcl that knows tdb."""

from __future__ import annotations

from functools import partial

from bcl.attach import BCL
from tdb.panel import Panel, StatusRule

COLUMNS = (
    "win_rate",
    "grad_magnitude",
    "som_magnitude",
    "feature_novelty",
    "effective_win",
    "gradient_weight",
    "contender_weight",
    "attraction_weight",
)
SOURCES = ("som_targets", "local_target", "global_target", "som_delta")


def bcl_panel(bcl: BCL) -> Panel:
    """Return the panel of one attached rule, for `controller.add_panel`."""
    return Panel(
        name="bcl",
        layer=bcl.name,
        metrics=bcl.get_step_metrics,
        columns=COLUMNS,
        status=StatusRule("win_rate", dead_below=0.01, winner_above=0.05),
        sources={name: partial(bcl.step_tensor, name) for name in SOURCES},
        forces={"som": partial(bcl.step_tensor, "som_delta")},
        scatter=("grad_magnitude", "som_magnitude", "win_rate"),
        inert=bcl.inert,
        state=bcl.state,
        restore=bcl.restore,
    )
