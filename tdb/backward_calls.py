"""Being called before and after every backward pass that is begun, from within which functions may come and go.

A step of a loop that updates by hand ends where the next pass begins, and somebody may want to know of that very pass:
so torch's function is replaced once for all who want to be called, and who comes while they are is called, too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import Any, NamedTuple

from tdb.autograd import never_compiled
from tdb.handle import Handle
from tdb.patches import Patches, passed_over

Before = Callable[[Any, Any], bool]
"""Called with the roots and the gradients that `torch.autograd.backward` is given; returns whether to call `After`."""

After = Callable[[], object]
"""Called when the pass is done, unless it raises or its functions were removed meanwhile."""

Alone = Callable[[Any, Any], bool]
"""Called as `Before` is, and instead of it, while nobody else is told; returns whether that was all."""


class _Told(NamedTuple):
    before: Before
    after: After
    alone: Alone | None


_told: list[_Told] = []
_alone: Alone | None = None
_under_way: set[int] = set()  # the threads that are in a backward pass
_patches = Patches()


def around_backward(before: Before, after: After, alone: Alone | None = None) -> Handle:
    """Call two functions before and after each pass, in the order in which they came; those that are added in one, too.

    `Tensor.backward` is told of as well. A pass within another, as of a part that was checkpointed, is not.
    """
    if not _told:
        import torch

        _patches.replace(torch.autograd, "backward", _telling)
    told = _Told(before, after, alone)
    _told.append(told)
    _see_who_is_alone()
    return Handle(partial(_forget, told))


def is_differentiating() -> bool:
    """Return whether this thread is in a backward pass of which somebody was told."""
    return get_ident() in _under_way


def _forget(told: _Told) -> None:
    _told[:] = [each for each in _told if each is not told]
    _see_who_is_alone()
    if not _told:
        _patches.take_off()


def _see_who_is_alone() -> None:
    global _alone  # noqa: PLW0603 - torch's function is one for the process, too
    _alone = _told[0].alone if len(_told) == 1 else None


def _telling(plain: Callable[..., None]) -> Callable[..., None]:
    # Its own parameters by name: to hand on whatever comes costs two microseconds in the cold caches of each step.
    @functools.wraps(plain)
    def backward(
        tensors: Any,
        grad_tensors: Any = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        grad_variables: Any = None,
        inputs: Any = None,
    ) -> None:
        me, run = get_ident(), plain
        if grad_variables is not None:  # which torch has given up
            run = partial(plain, grad_variables=grad_variables)
        if me in _under_way:  # or the same call through torch's modes
            run(tensors, grad_tensors, retain_graph, create_graph, inputs=inputs)
            return
        _under_way.add(me)
        try:
            if _alone is not None and _alone(tensors, grad_tensors):
                interested: list[_Told] = []
            else:
                interested = _interested(tensors, grad_tensors)
            run(tensors, grad_tensors, retain_graph, create_graph, inputs=inputs)
        finally:
            _under_way.discard(me)
        for told in interested:
            if any(each is told for each in _told):
                told.after()

    return never_compiled(passed_over(backward))


def _interested(tensors: Any, grad_tensors: Any) -> list[_Told]:
    """Tell all of a pass; return those that want to be told when it is done."""
    interested = []
    for told in _told:
        if told.before(tensors, grad_tensors):
            interested.append(told)  # noqa: PERF401 - who is added meanwhile is told, too
    return interested
