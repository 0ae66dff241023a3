"""Being called after a gradient scaler has made a larger loss of one, from within which functions may come and go.

What hears of a step by itself, as the phases of one that stops inside, comes and goes while others listen: each with a
replacement of its own, the one that went first would have left it there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

from tdb.handle import Handle
from tdb.patches import Patches, passed_over

Function = Callable[[Any, Any], object]

_told: list[Function] = []
_patches = Patches()


def after_scaling(function: Function) -> Handle:
    """Call `function(loss, scaled)` after each call of `scale`, unless it raises."""
    if not _told:
        import torch

        _patches.replace(torch.amp.GradScaler, "scale", _telling)
    _told.append(function)
    return Handle(partial(_forget, function))


def _forget(function: Function) -> None:
    _told.remove(function)
    if not _told:
        _patches.take_off()


def _telling(plain: Callable[..., Any]) -> Callable[..., Any]:
    @passed_over
    @functools.wraps(plain)
    def scale(scaler: Any, outputs: Any) -> Any:
        scaled = plain(scaler, outputs)
        for function in _told.copy():
            function(outputs, scaled)
        return scaled

    return scale
