"""Histories for tests, recorded step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tdb.history import History


def append(
    history: History,
    timeline: int,
    tick: int,
    step: int,
    epoch: int | None,
    wall_time: Any,
    loss: Any,
    metrics: Mapping[str, Any] | None = None,
    stopped: bool = False,
) -> None:
    """Record one boundary: with metrics, name -> [D], if it has any, and marked if training stops there."""
    if metrics:
        block = np.stack([np.asarray(values, np.float32) for values in metrics.values()])
        history.append_metrics(timeline, np.array([[tick, step]]), tuple(metrics), block[None])
    history.append_steps(timeline, [(tick, step, epoch, loss, wall_time)])
    if stopped:
        history.mark(step, "stop")
