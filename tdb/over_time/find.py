"""When did a condition hold? Exact where history is dense, otherwise between which recorded steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from tdb.counted import counted
from tdb.errors import UsageError
from tdb.history import between
from tdb.results import Table

if TYPE_CHECKING:
    from tdb.history import History
    from tdb.results import Array

Which = Literal["first", "last", "all"]
Within: TypeAlias = "tuple[int | None, int | None]"
"""The first and the last step that count; None where all do."""

EVERYWHERE: Within = (None, None)


def recorded(
    history: History, names: Iterable[str], first: int | None = None, last: int | None = None
) -> tuple[Array, dict[str, Array]]:
    """Return (steps [n], name -> [n] or [n, D]) at the steps that recorded all of `names`.

    Args:
        history: where to look.
        names: step, epoch, loss, wall_time, or metrics.
        first: the first step wanted.
        last: the last step wanted.

    Raises:
        UsageError: a name is not recorded.
    """
    scalars = history.range(first, last)
    found: dict[str, tuple[Array, Array]] = {}
    for name in names:
        if name in scalars:
            found[name] = (scalars["step"], scalars[name])
        else:
            found[name] = history.metric(name, first=first, last=last)
    steps = scalars["step"] if not found else next(iter(found.values()))[0]
    for own, _ in found.values():
        steps = np.intersect1d(steps, own)
    return steps, {name: values[_last_of_each(own, steps)] for name, (own, values) in found.items()}


def nothing_recorded(what: str, first: int | None, last: int | None) -> UsageError:
    """Return what is to be raised where nothing of `what` is recorded from one step to another."""
    if first is None and last is None:
        return UsageError(f"no {what} is recorded", "step, then ask again")
    return UsageError(f"no {what} is recorded from step {first or 0} to {'the last' if last is None else last}")


def _last_of_each(own: Array, steps: Array) -> Array:
    """Return where in `own` each of `steps` stands last: a step that was taken again counts as it went then."""
    order = np.argsort(own, kind="stable")
    positions: Array = order[np.searchsorted(own[order], steps, side="right") - 1]
    return positions


@dataclass(frozen=True)
class Stretch:
    """Recorded steps in a row at which a condition held.

    Attributes:
        first: the first of them.
        last: the last of them.
        before: the recorded step before it, at which the condition did not hold; None if there is none.
        after: the recorded step after it, likewise.
        count: how many recorded steps it has.
        is_cut: whether the condition held at `before`, too, and whether at `after`: they lie beyond what was asked for.
    """

    first: int
    last: int
    before: int | None
    after: int | None
    count: int
    is_cut: tuple[bool, bool] = (False, False)

    @property
    def began(self) -> str:
        """When it began to hold, as exactly as history knows."""
        if self.is_cut[0]:
            return f"before step {self.first}"
        if self.before is None:
            return f"step {self.first}" if self.first <= 1 else f"step {self.first} or earlier"
        return f"step {self.first}" if self.first - self.before <= 1 else f"between step {self.before} and {self.first}"

    @property
    def ended(self) -> str:
        """When it held for the last time, as exactly as history knows."""
        if self.is_cut[1]:
            return f"after step {self.last}"
        if self.after is None:
            return f"holds at step {self.last}, the last recorded"
        return f"step {self.last}" if self.after - self.last <= 1 else f"between step {self.last} and {self.after}"


def stretches(steps: Array, held: Array, which: Which = "all", within: Within = EVERYWHERE) -> list[Stretch]:
    """Return the stretches of recorded `steps` [n] at which `held` [n] bool is True, or only the first or last one.

    What lies beyond `within` makes no stretch, but tells when one began and ended.

    Raises:
        ValueError: there is not one truth value for each step.
    """
    if held.shape != steps.shape or held.dtype != bool:
        raise ValueError(f"held is {held.dtype} {list(held.shape)}, expected bool {list(steps.shape)}")
    edges = np.flatnonzero(np.diff(held & between(steps, *within), prepend=False, append=False))
    begins, ends = edges[::2], edges[1::2] - 1
    chosen = {"first": slice(0, 1), "last": slice(-1, None), "all": slice(None)}[which]
    return [
        Stretch(
            first=int(steps[begin]),
            last=int(steps[end]),
            before=int(steps[begin - 1]) if begin > 0 else None,
            after=int(steps[end + 1]) if end + 1 < len(steps) else None,
            count=int(end - begin + 1),
            is_cut=(bool(begin > 0 and held[begin - 1]), bool(end + 1 < len(steps) and held[end + 1])),
        )
        for begin, end in zip(begins[chosen], ends[chosen], strict=True)
    ]


def find(
    steps: Array,
    held: Array,
    which: Which = "all",
    within: Within = EVERYWHERE,
    left_out: Sequence[int] | Array = (),
) -> Table:
    """Return when a condition held: a row for each stretch of steps, or only the first or the last.

    Columns `began` and `ended` say when in words, `first` and `last` are the recorded steps, `steps` their number. What
    happened between recorded steps is not known: where steps are missing, the note says how many places that are.

    Args:
        steps: [n], the recorded steps.
        held: [n] bool, whether the condition held at each.
        which: "first", "last" or "all".
        within: the first and the last step that count, None if all do.
        left_out: [k], the steps that were left out by `overhead`.
    """
    found = stretches(steps, held, which, within)
    columns: dict[str, Sequence[Any]] = {
        "began": [stretch.began for stretch in found],
        "ended": [stretch.ended for stretch in found],
        "first": [stretch.first for stretch in found],
        "last": [stretch.last for stretch in found],
        "steps": [stretch.count for stretch in found],
    }
    return Table(columns, note=_note(steps, held, within, np.asarray(left_out, np.int64)))


def _note(every: Array, held: Array, within: Within, left_out: Array) -> str:
    wanted = between(every, *within)
    if not wanted.any():
        return "no steps are recorded"
    steps, held = every[wanted], held[wanted]
    times = f"held at {int(held.sum()):,} of" if held.any() else "never held at the"
    begin, end = max(within[0] or 1, 1), every[-1] if within[1] is None else min(within[1], every[-1])
    gaps = int((np.diff(steps) > 1).sum()) + int(steps[0] > begin) + int(steps[-1] < end)
    missing = f"; steps are missing in {counted(gaps, 'place')}, where it is not known" if gaps else ""
    kept_out = int(((left_out > steps[0]) & (left_out < steps[-1])).sum())
    missing += f" ({counted(kept_out, 'step')} left out by `overhead`)" if kept_out else ""
    return f"{times} {counted(len(steps), 'recorded step')} from {steps[0]:,} to {steps[-1]:,}{missing}"
