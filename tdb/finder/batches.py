"""Which of the batches that a script has drawn the step under way is taken on.

A step may draw from several loaders, draw several batches from one, or none at all; and between two steps a script may
evaluate on batches from yet another loader, which no step is taken on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tdb.captures import given, is_tensor
from tdb.queries import tensors_in

if TYPE_CHECKING:
    from tdb.tap import Fetch, Pass

MOST_LOOKED_AT = 8
"""So many batches of a loader are kept until gradients are computed, to see which one the model is called with."""

MOST_AHEAD = 64
"""Where that was not the last one, so many are waited for."""

LABEL_KEYS = ("labels", "label", "targets", "target", "y")


class Batches:
    """The batches drawn since the last step; `use` says that gradients are computed on them.

    Attributes:
        batch: what the step under way is taken on; of several loaders a tuple of their batches.
        epoch: how many passes over the data steps have been taken in; None without a loader.
        from_call: the last gradients were computed on what the model was called with, and on no batch of a loader.
    """

    def __init__(self) -> None:
        self.batch: Any = None
        self.epoch: int | None = None
        self.from_call = False
        self._drawn: dict[int, deque[Fetch]] = {}
        self._ahead: set[int] = set()  # the loaders of which batches are drawn before those drawn last are used
        self._ended: set[tuple[int, int]] = set()
        self._looked_at: set[int] = set()  # the loaders of which the last batch was for an evaluation
        self._training: frozenset[int] = frozenset()  # the loaders that the last step drew from
        self._pass: tuple[int, int] | None = None
        self._number = 0
        self._inputs: Any = None

    def drawn(self, fetch: Fetch) -> None:
        """A batch was drawn."""
        import torch

        key, may_train = id(fetch.loader), torch.is_grad_enabled()
        if key not in self._drawn:
            self._drawn[key] = deque(maxlen=MOST_AHEAD if key in self._ahead else MOST_LOOKED_AT)
        elif not (may_train or key in self._training or key in self._ahead):
            self._drawn[key].clear()  # an evaluation needs them no longer
        self._drawn[key].append(fetch)
        if may_train:
            self._looked_at.discard(key)
        else:
            self._looked_at.add(key)

    def looked_at(self, inputs: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        """The model, or one of several, is called in a way that no gradients follow from."""
        if self._drawn:
            self._looked_at |= self._loaders_of(given(inputs, keywords))

    def _loaders_of(self, inputs: Any) -> set[int]:
        """Return the loaders of which the last batch lies where inputs of the model do."""
        places = _memory_of(inputs)
        return {key for key, fetches in self._drawn.items() if not places.isdisjoint(_memory_of(fetches[-1].batch))}

    def exhausted(self, loader: Any, epoch: int) -> None:
        """A pass over a loader has ended."""
        self._ended.add((id(loader), epoch))
        if self._training and not self.is_for_training(loader):
            self._drawn.pop(id(loader), None)

    def called(self, inputs: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        """The model, or one of several, is called, in a way that gradients may follow from."""
        if self._inputs is None or not are_computed(inputs, keywords):
            self._inputs = given(inputs, keywords)
            if self._looked_at:
                self._looked_at -= self._loaders_of(self._inputs)

    def is_for_training(self, loader: Any) -> bool:
        """Return whether the last step was taken on a batch of this loader."""
        return id(loader) in self._training

    @property
    def from_loader(self) -> bool:
        """Whether steps are taken on batches from a loader."""
        return bool(self._training)

    @property
    def are_ahead(self) -> bool:
        """Whether batches are drawn before those drawn last are used: only the model's calls tell which one is."""
        return bool(self._ahead)

    def are_of(self, under_way: Pass) -> bool:
        """Return whether steps are taken on the batches of this pass, and none was drawn for the step ahead."""
        same = len(self._training) == 1 and self._pass == (id(under_way.loader()), under_way.epoch)
        return same and not self._drawn and not self._ahead

    def use(self) -> None:
        """Gradients are about to be computed on what was drawn or called with last."""
        self.from_call = not self._drawn and self._inputs is not None
        drawn = {key: self._take(key) for key in self._drawn}
        self._drawn = {key: fetches for key, fetches in self._drawn.items() if fetches}  # for the next time
        if len(drawn) == 1 and self._goes_on(*drawn.values()):
            return
        if not drawn:
            if self.batch is None:
                self.batch = self._inputs
            return
        chosen = [fetch for key, fetch in drawn.items() if key in self._training]
        if not chosen:
            # An evaluation before training may leave its loader in the middle of a pass.
            trained_on = {key: fetch for key, fetch in drawn.items() if key not in self._looked_at} or drawn
            current = [fetch for key, fetch in trained_on.items() if (key, fetch.epoch) not in self._ended]
            chosen = current or list(drawn.values())[-1:]
        self._ended.clear()
        self._training = frozenset(id(fetch.loader) for fetch in chosen)
        self.batch = chosen[0].batch if len(chosen) == 1 else tuple(fetch.batch for fetch in chosen)
        begun, number = (id(chosen[0].loader), chosen[0].epoch), chosen[0].number
        if begun != self._pass or number < self._number:  # a loader made anew may have the same id
            self._pass = begun
            self.epoch = (self.epoch or 0) + 1
        self._number = number

    def _take(self, key: int) -> Fetch:
        """Return which of the batches drawn of a loader gradients are computed on, and leave those after it."""
        fetches = self._drawn[key]
        if len(fetches) > 1:
            given = _memory_of(self._inputs)
            place = next((n for n, fetch in enumerate(fetches) if not given.isdisjoint(_memory_of(fetch.batch))), None)
            if place is not None and place < len(fetches) - 1:
                self._ahead.add(key)
            if place is None:
                place = 0 if key in self._ahead else len(fetches) - 1
            for _ in range(place):
                fetches.popleft()
        return fetches.popleft()

    def _goes_on(self, fetch: Fetch) -> bool:
        """Use the next batch of the pass that the last one was of, as most steps do; return whether it is that."""
        if self._pass != (id(fetch.loader), fetch.epoch) or len(self._training) != 1 or fetch.number < self._number:
            return False
        self._ended.clear()
        self.batch, self._number = fetch.batch, fetch.number
        return True

    def under_way(self) -> Any:
        """Return what a step that never came to its gradients was being taken on."""
        if self.batch is None:
            self.batch = list(self._drawn.values())[-1][-1].batch if self._drawn else self._inputs
        return self.batch

    def at_hand(self) -> tuple[Any, int | None]:
        """Return the batch of the step under way, as far as can be said, and its epoch; None as long as it has none."""
        if self.batch is not None:
            return self.batch, self.epoch
        fetches = [self._drawn[key][-1] for key in self._training if key in self._drawn]
        if not fetches:
            return (None if self._training else self._inputs), self.epoch
        goes_on = self._pass == (id(fetches[0].loader), fetches[0].epoch) and fetches[0].number >= self._number
        batches = tuple(fetch.batch for fetch in fetches)
        return batches if len(batches) > 1 else batches[0], self.epoch if goes_on else (self.epoch or 0) + 1

    def end_step(self) -> None:
        """The step is complete."""
        self.batch = self._inputs = None


def _memory_of(value: Any) -> set[int]:
    """Return where the tensors in a value lie: a view of one lies where that does."""
    found = set()
    for _, each in tensors_in(value):
        with suppress(AttributeError, RuntimeError):  # sparse, or of a kind that has no memory of its own
            found.add(each.untyped_storage().data_ptr())
    return found


def are_computed(inputs: tuple[Any, ...], keywords: Mapping[str, Any]) -> bool:
    """Return whether what a module is called with was computed by another one: all its tensors pass gradients on."""
    tensors = [each for each in (*inputs, *keywords.values()) if is_tensor(each)]
    return bool(tensors) and all(each.grad_fn is not None for each in tensors)


def labels_in(batch: Any) -> Any:
    """Return the labels of a batch that is a mapping which names them, else None."""
    if not isinstance(batch, Mapping):
        return None
    for key in LABEL_KEYS:
        value = batch.get(key)
        if value is not None and len(getattr(value, "shape", ())) == 1 and "int" in str(getattr(value, "dtype", "")):
            return value
    return None
