"""The set of watched features, and their trajectories by feature."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.errors import UsageError
from tdb.history.budget import MIB, Budget
from tdb.history.density import Span, spans
from tdb.history.metrics import host
from tdb.watches.course import Followed, followed_in
from tdb.watches.group import Group, quotient

if TYPE_CHECKING:
    from tdb.results import Array


class Watches:
    """The watched features of one layer and their trajectories.

    Features are rows of one weight matrix: after a change of the focused layer, use a new `Watches`.

    Args:
        budget: the bytes to share, usually `history.budget`, so that the marks of history pin trajectories too;
            64 MiB of its own if None.
        of_branch: tells which rows of [n] timelines and [n] ticks are to be seen; all if None.
        step: tells the last finished step; without it, what was followed when cannot be told.

    Attributes:
        forgotten: the step at which trajectories were last forgotten.
    """

    def __init__(
        self,
        budget: Budget | None = None,
        of_branch: Callable[[Array, Array], Array] | None = None,
        step: Callable[[], int] = int,
    ) -> None:
        self.forgotten = 0
        self._budget = Budget(64 * MIB) if budget is None else budget
        self._of_branch = of_branch
        self._step = step
        self._initial: dict[int, Array] = {}
        self._began: dict[int, int] = {}
        self._segment: dict[int, int] = {}
        self._groups: tuple[Group, ...] = ()
        self._current: Group | None = None

    # ---- the training thread, or any while it is stopped -----------------------------------------------------------

    def add(self, ids: Iterable[int], weights: Any) -> None:
        """Watch further features; those that are watched already go on as they are.

        Args:
            ids: rows of `weights`.
            weights: [D, ...], the layer's weights now, an array or a tensor; the rows of `ids` are copied.

        Raises:
            UsageError: there is no such feature, or a step of so many would not fit into the budget.
        """
        self._watch([*self.get_watched(), *ids], weights)

    def remove(self, ids: Iterable[int]) -> None:
        """Stop watching features; their trajectories stay.

        Raises:
            UsageError: a feature is not watched.
        """
        gone = set(ids)
        must_be_watched(gone, self.get_watched())
        self._begin({feature: row for feature, row in self._initial.items() if feature not in gone})

    def replace(self, ids: Iterable[int], weights: Any) -> None:
        """Watch exactly these features; those among them that are watched already go on as they are.

        Args and errors as in `add`.
        """
        self._watch(list(ids), weights)

    def begin_anew(self, weights: Any) -> list[int]:
        """The layer has other weights: its features are others, and their trajectories segments of their own.

        Args:
            weights: as in `add`.

        Returns:
            the features that were watched, and that there are no more.

        Raises:
            UsageError: a step of so many would not fit into the budget.
        """
        watched = self.get_watched()
        self._begin({})
        self._watch([feature for feature in watched if feature < len(weights)], weights)
        return [feature for feature in watched if feature >= len(weights)]

    def clear_trajectories(self) -> None:
        """Forget what was recorded; the watches stay, with the weights from which they began."""
        for group in self._groups:
            self._budget.release(group.series)
        self._groups, self._current = (), None
        self.forgotten = self._step()
        self._segment = dict.fromkeys(self._initial, 1)
        self._begin(self._initial)

    def append(
        self, timeline: int, places: Array, rows: Any, names: tuple[str, ...] = (), blocks: Array | None = None
    ) -> None:
        """Record k boundaries; nothing happens while nothing is watched.

        Args:
            timeline: the branch of the run.
            places: [k, 2], tick and step of each; ticks grow and are never reused.
            rows: [k, n, ...], the weights of the watched features in the order of `get_watched()`. On an accelerator
                this waits for the device.
            names: the m metrics.
            blocks: [k, m, n], the metrics of the watched features; None if these steps have none.

        Raises:
            UsageError: there is not one row for each watched feature.
        """
        group = self._current
        if group is not None and group.cannot_take(int(places[0, 0])):
            group = self._follow_anew(group)
        if group is not None:
            group.append(timeline, places, host(rows), names, blocks)

    # ---- any thread ------------------------------------------------------------------------------------------------

    def get_watched(self) -> list[int]:
        """Return the watched features in the order in which they were added."""
        return list(self._initial)

    def get_trajectories(self) -> dict[int, list[dict[str, Any]]]:
        """Return, for every feature that was ever watched, one dict a step: step, weight_cos_to_init, the metrics."""
        found: dict[int, list[dict[str, Any]]] = {}
        for feature in self.features():
            columns = self.trajectory(feature)
            names = [name for name in columns if name not in ("timeline", "tick", "segment")]
            values = zip(*(columns[name].tolist() for name in names), strict=True)
            found[feature] = [dict(zip(names, row, strict=True)) for row in values]
        return found

    def features(self) -> list[int]:
        """Return the features that have a trajectory, ascending."""
        return sorted({feature for group in self._groups for feature in group.ids})

    def metric_names(self) -> list[str]:
        """Return what a trajectory holds: weight_cos_to_init and the recorded metrics."""
        return ["weight_cos_to_init", *dict.fromkeys(name for group in self._groups for name in group.names)]

    def trajectory(self, feature: int) -> dict[str, Array]:
        """Return step, timeline, tick, segment, weight_cos_to_init and each metric [n]; NaN where it is unknown.

        Segments count from 1. The cosine with a row of zeros is NaN.

        Raises:
            UsageError: the feature was never watched.
        """
        groups = [group for group in self._groups if feature in group.ids]
        if not groups:
            known = ", ".join(map(str, self.features())) or "none"
            raise UsageError(f"feature {feature} was never watched", f"Trajectories: {known}")
        names = self.metric_names()
        return self._joined([group.trajectory(feature, names[1:]) for group in groups])

    def pairs(self) -> list[tuple[int, int]]:
        """Return the pairs of features that were ever watched together, each in ascending order."""
        return sorted({pair for group in self._groups for pair in combinations(sorted(group.ids), 2)})

    def pair(self, one: int, other: int) -> tuple[Array, Array]:
        """Return (steps [n], cosines [n]) of two features' weight rows at the steps that watched both.

        Raises:
            UsageError: they were never watched together.
        """
        columns = self.pair_columns(one, other)
        return columns["step"], columns["cos"]

    def pair_columns(self, one: int, other: int) -> dict[str, Array]:
        """Return step, timeline, tick and cos [n] of two features, as `pair` does."""
        groups = [group for group in self._groups if one in group.ids and other in group.ids]
        if not groups:
            known = ", ".join(map(str, self.features())) or "none"
            raise UsageError(f"features {one} and {other} were never watched together", f"Trajectories: {known}")
        return self._joined([group.pair(one, other) for group in groups])

    def followed(self, layer: str) -> list[Followed]:
        """Return which features of the layer of this name were followed from when to when."""
        return followed_in(self._groups, self._current, layer, self._of_branch)

    def density(self) -> list[Span]:
        """Return how densely trajectories are recorded, oldest first, pinned steps left out."""
        return [span for group in self._groups for span in spans(group.series.levels())]

    def cosines(self) -> tuple[int, Array]:
        """Return (step, [n, n]): the cosines between the watched features' rows at the branch's last recorded step.

        Where training has gone back, that is the last one before it stands.

        Raises:
            UsageError: nothing is watched, or no step was taken since.
        """
        group = self._current
        if group is None:
            raise UsageError("no feature is watched", "Example: watch 0 15 31")
        snapshot = group.series.snapshot()
        steps, ticks = snapshot.column("step"), snapshot.column("tick")
        seen = np.ones(len(steps), dtype=bool)
        if self._of_branch is not None:
            seen = self._of_branch(snapshot.column("timeline"), ticks)
        if not seen.any():
            raise UsageError("no step was taken since the watch began", "step, then ask again")
        row = int(np.flatnonzero(seen)[ticks[seen].argmax()])
        products = snapshot.column("products")[row].astype(np.float64)
        norms = np.sqrt(np.diagonal(products))
        return int(steps[row]), quotient(products, np.outer(norms, norms))

    def _watch(self, ids: Sequence[int], weights: Any) -> None:
        weights = host(weights)
        for feature in ids:
            if not 0 <= feature < len(weights):
                raise UsageError(f"no feature {feature}", f"Features are 0..{len(weights) - 1}")
        now = {feature: np.array(weights[feature], np.float32).reshape(-1) for feature in ids}
        self._begin({feature: self._initial.get(feature, row) for feature, row in now.items()})

    def _begin(self, initial: dict[int, Array]) -> None:
        """Watch the features of `initial` from now on, each from the weights that it gives."""
        ids = tuple(initial)
        if self._current is not None and ids == self._current.ids:
            return
        segment = dict(self._segment)
        for feature in initial:
            if feature not in self._initial:
                segment[feature] = segment.get(feature, 0) + 1
        here = self._step()
        began = {feature: self._began[feature] if feature in self._initial else here for feature in initial}
        names = self._current.names if self._current is not None else ()
        segments = tuple(segment[feature] for feature in ids)
        group = Group(self._budget, names, initial, segments, tuple(began.values()), here) if ids else None
        if self._current is not None:
            self._current.close()
        self._initial, self._segment, self._began, self._current = initial, segment, began, group
        if group is not None:
            self._groups = (*self._groups, group)

    def _follow_anew(self, group: Group) -> Group:
        """Go on in a group like this one, for steps that it cannot take any more."""
        again = Group(self._budget, group.names, self._initial, group.segments, group.began, self._step())
        group.close()
        self._groups, self._current = (*self._groups, again), again
        return again

    def _joined(self, parts: Sequence[dict[str, Array]]) -> dict[str, Array]:
        """Return the columns of several groups as one, each step once: the branch's, in the order of its ticks.

        Where training went back and other features were watched, two groups may have the same step.
        """
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        _, rows = np.unique(columns["tick"][::-1], return_index=True)
        rows = len(columns["tick"]) - 1 - rows
        if self._of_branch is not None:
            rows = rows[self._of_branch(columns["timeline"], columns["tick"])[rows]]
        return {name: values[rows] for name, values in columns.items()}


def must_be_watched(ids: Iterable[int], watched: Sequence[int]) -> None:
    """Make sure that features are among those that are watched.

    Raises:
        UsageError: one is not.
    """
    if strangers := sorted(set(ids).difference(watched)):
        known = ", ".join(map(str, watched)) or "none"
        raise UsageError(f"feature {strangers[0]} is not watched", f"Watched: {known}")
