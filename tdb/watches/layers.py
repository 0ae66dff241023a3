"""The watches of all layers: each that was in focus has its own, and goes on with them when it is in focus again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.errors import TdbError
from tdb.watches.course import Course
from tdb.watches.watches import Watches, must_be_watched

if TYPE_CHECKING:
    from tdb.history import History
    from tdb.layer import FocusLayer
    from tdb.results import Array


class WatchedLayers:
    """Which features of which layer are watched.

    Args:
        history: whose budget trajectories share, and whose branch they are seen on.
        layer: the focus layer, which may become another one.
        step: tells the last finished step.
    """

    def __init__(self, history: History, layer: FocusLayer, step: Callable[[], int]) -> None:
        self._history = history
        self._layer = layer
        self._step = step
        self._watches: dict[str, Watches] = {}
        self._identities: dict[str, tuple[Any, ...]] = {}  # which weight the watches of a layer are of
        self._moves: list[tuple[int, str]] = []  # of the focus, by the user: the steps, and where to
        self._early: list[int] = []  # watched before there was a layer

    # ---- any thread ------------------------------------------------------------------------------------------------

    @property
    def in_focus(self) -> Watches:
        """The watched features of the focus layer."""
        watches = self._watches.get(self._layer.name)
        if watches is None:
            watches = Watches(self._history.budget, self._history.of_branch, self._step)
            self._watches[self._layer.name] = watches
        return watches

    @property
    def out_of_focus(self) -> dict[str, Watches]:
        """Those of the layers that are not in focus, by the layer's name."""
        return {layer: watches for layer, watches in self._watches.items() if layer != self._layer.name}

    def watched(self) -> list[int]:
        """Return the watched features of the focus layer, in the order in which they were added."""
        return list(self._early) if self._layer.info is None else self.in_focus.get_watched()

    def course(self) -> Course:
        """Return what was followed from when to when, on the branch that training is on."""
        followed = [each for layer, watches in self._watches.items() for each in watches.followed(layer)]
        forgotten = max((watches.forgotten for watches in self._watches.values()), default=0)
        return Course(tuple(followed), tuple(self._moves), forgotten)

    # ---- the training thread ---------------------------------------------------------------------------------------

    @property
    def ids(self) -> Array | None:
        """The watched features [w] of the focus layer; None if there are none, or no layer."""
        ids = [] if self._layer.info is None else self.in_focus.get_watched()
        return np.array(ids) if ids else None

    def begin(self) -> str:
        """Go on with the focus layer: a loop begins, or another layer has come into focus.

        Returns what cannot be watched of what was named before anybody knew how many features there are.
        """
        if self._layer.info is None:
            return ""
        early, self._early = self._early, []
        name, identity = self._layer.name, self._layer.identity
        count = self._layer.info.features
        strangers = [feature for feature in early if feature >= count]
        try:
            if self._identities.setdefault(name, identity) != identity:  # as where folds have a model each
                self._identities[name] = identity
                strangers = [*self.in_focus.begin_anew(self._layer.weights()), *strangers]
            self.watch(feature for feature in early if feature < count)
        except TdbError as error:  # there is no room for so many
            return f"nothing is watched: {error}"
        named = ", ".join(map(str, strangers))
        return f"not watched: {named}, for features are 0..{count - 1}" if strangers else ""

    def note_move(self) -> None:
        """The user has moved the focus to where it is now."""
        self._moves.append((self._step(), self._layer.name))

    def watch(self, ids: Iterable[int], *, replace: bool = False) -> None:
        """Watch further features, or exactly these; without a layer yet, from when there is one.

        Raises:
            UsageError: there is no such feature, or no room for so many.
        """
        if self._layer.info is None:
            self._early = list(dict.fromkeys([*([] if replace else self._early), *ids]))
        elif replace:
            self.in_focus.replace(ids, self._layer.weights())
        else:
            self.in_focus.add(ids, self._layer.weights())

    def unwatch(self, ids: Iterable[int]) -> None:
        """Stop watching features; their trajectories stay.

        Raises:
            UsageError: a feature is not watched.
        """
        gone = list(ids)
        if self._layer.info is None:
            must_be_watched(gone, self._early)
            self._early = [feature for feature in self._early if feature not in gone]
        else:
            self.in_focus.remove(gone)
