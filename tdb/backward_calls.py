"""Being called before and after every backward pass that is begun, from within which functions may come and go.

A step of a loop that updates by hand ends where the next pass begins, and somebody may want to know of that very pass:
so torch's function is replaced once for all who want to be called, and who comes while they are is called, too.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from tdb.autograd import never_compiled
from tdb.handle import Handle
from tdb.patches import Patches, passed_over

Before = Callable[[Any, Any], bool]
"""Called with the roots and the gradients that `torch.autograd.backward` is given; returns whether to call `After`."""

After = Callable[[], object]
"""Called when the pass is done, unless it raises or its functions were removed meanwhile."""

_told: list[tuple[Before, After]] = []
_under_way: set[int] = set()  # the threads that are in a backward pass
_patches = Patches()


def around_backward(before: Before, after: After) -> Handle:
    """Call two functions before and after each pass, in the order in which they came; those that are added in one, too.

    `Tensor.backward` is told of as well. A pass within another, as of a part that was checkpointed, is not.
    """
    if not _told:
        import torch

        _patches.replace(torch.autograd, "backward", _telling)
    pair = before, after
    _told.append(pair)
    return Handle(partial(_forget, pair))


def is_differentiating() -> bool:
    """Return whether this thread is in a backward pass of which somebody was told."""
    return threading.get_ident() in _under_way


def _forget(pair: tuple[Before, After]) -> None:
    _told[:] = [each for each in _told if each is not pair]
    if not _told:
        _patches.take_off()


def _telling(plain: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(plain)
    def backward(tensors: Any, grad_tensors: Any = None, *args: Any, **kwargs: Any) -> None:
        me = threading.get_ident()
        if me in _under_way:  # or the same call through torch's modes
            plain(tensors, grad_tensors, *args, **kwargs)
            return
        _under_way.add(me)
        interested: tuple[tuple[Before, After], ...] = ()
        try:
            for pair in _told:
                if pair[0](tensors, grad_tensors):
                    interested = (*interested, pair)
            plain(tensors, grad_tensors, *args, **kwargs)
        finally:
            _under_way.discard(me)
        for pair in interested:
            if any(each is pair for each in _told):
                pair[1]()

    return never_compiled(passed_over(backward))
