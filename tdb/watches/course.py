"""What was followed from which step to which, so that a run which is taken anew can follow it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tdb.history.lineage import FOREVER

if TYPE_CHECKING:
    from tdb.results import Array
    from tdb.watches.group import Group


@dataclass(frozen=True)
class Followed:
    """A feature that was followed.

    Attributes:
        layer: the name of its layer.
        feature: its row of the layer's weight.
        began: the step whose weights its trajectory begins from.
        first: the step after which its trajectory has points: after `began` if those before were forgotten.
        last: the last step that it has a point of; `FOREVER` if it is followed still.
    """

    layer: str
    feature: int
    began: int
    first: int
    last: int

    @property
    def key(self) -> tuple[str, int, int]:
        """What tells it from others: a feature may be followed more than once."""
        return self.layer, self.feature, self.began

    def and_as(self, other: Followed) -> Followed:
        """Return the same, followed for as long as it was in both."""
        return replace(self, first=min(self.first, other.first), last=max(self.last, other.last))


@dataclass(frozen=True)
class Course:
    """What was followed on one branch.

    Attributes:
        followed: the features.
        moves: the steps at which the user has moved the focus, and the layers that it was moved to.
        forgotten: the step at which trajectories were last forgotten, those ahead too.
    """

    followed: tuple[Followed, ...] = ()
    moves: tuple[tuple[int, str], ...] = ()
    forgotten: int = 0

    def going_on(self, ahead: Course, here: int) -> Course:
        """Return this course up to a step, and what is known to have been followed after it before."""
        found = {each.key: each for each in self.followed}
        for each in ahead.followed:
            if each.last > here and each.first >= self.forgotten:
                found[each.key] = each.and_as(found.get(each.key, each))
        moves = (*(move for move in self.moves if move[0] < here), *(move for move in ahead.moves if move[0] >= here))
        return replace(self, followed=tuple(found.values()), moves=moves)

    def turns(self) -> set[int]:
        """Return the steps at which something else is followed from there on."""
        ends = (step for each in self.followed for step in (each.began, each.first, each.last))
        return {step for step in (*ends, *(step for step, _ in self.moves)) if step < FOREVER}

    def layers_at(self, step: int) -> list[str]:
        """Return the layers of whose features others are followed after a step."""
        turning = (each.layer for each in self.followed if step in (each.began, each.first, each.last))
        return list(dict.fromkeys(turning))

    def focus_after(self, step: int) -> str:
        """Return the layer that the user had moved the focus to at a step or before; empty if to none."""
        moves = sorted((at, number) for number, (at, _) in enumerate(self.moves) if at <= step)
        return self.moves[moves[-1][1]][1] if moves else ""

    def watched_after(self, step: int, layer: str) -> list[int]:
        """Return the features of a layer that are to be followed after a step."""
        return [each.feature for each in self.followed if each.layer == layer and each.began <= step < each.last]

    def left_at(self, step: int, layer: str) -> set[int]:
        """Return the features of a layer that were followed up to a step, and no longer."""
        of_layer = [each for each in self.followed if each.layer == layer]
        longer = {each.feature for each in of_layer if each.began < step < each.last}
        return {each.feature for each in of_layer if each.last == step}.difference(longer)

    def forgets_at(self, step: int) -> bool:
        """Return whether trajectories were forgotten at a step."""
        return any(each.began < each.first == step for each in self.followed)


def followed_in(
    groups: Iterable[Group], current: Group | None, layer: str, of_branch: Callable[[Array, Array], Array] | None
) -> list[Followed]:
    """Return what was followed on the branch that training is on.

    Args:
        groups: of a layer's watches.
        current: the one of them that is followed still.
        layer: its name.
        of_branch: see `Watches`.
    """
    found: dict[tuple[str, int, int], Followed] = {}
    for group in groups:
        steps = group.steps(of_branch)
        if not len(steps) and group is not current:
            continue
        first = min(group.first, int(steps.min(initial=FOREVER)) - 1)  # this branch may have been gone back on since
        last = FOREVER if group is current else int(steps.max())
        for feature, began in zip(group.ids, group.began, strict=True):
            this = Followed(layer, feature, min(began, first), first, last)
            found[this.key] = this.and_as(found.get(this.key, this))
    return list(found.values())
