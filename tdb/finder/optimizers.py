"""The optimizers that a script has built, and which of them belong together."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tdb.captures import is_tensor
from tdb.finder.models import parts_of
from tdb.target import parameters_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tdb.finder.models import Root


class Optimizers:
    """Optimizers in the order in which they were built; none is kept alive here.

    Those that share a parameter have the same number: one wraps the other, or follows it. What several others train
    may have an optimizer besides, as in InfoGAN: it has a number of its own.
    """

    def __init__(self) -> None:
        self.fresh = False  # one was built since `begin`
        self._built: list[weakref.ref[Any]] = []  # since the one before the last `begin`
        self._numbers: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._of_parameter: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._counter = itertools.count()
        self._parts: dict[int, frozenset[int]] = {}
        self._gradients: dict[int, list[tuple[int, int]]] = {}  # as they were when they were looked at last

    @property
    def any(self) -> bool:
        """Whether one was ever built."""
        return bool(self._numbers)

    def add(self, optimizer: Any) -> None:
        """An optimizer was built."""
        if not self.fresh:
            self._built = []
        self.fresh = True
        self._built.append(weakref.ref(optimizer))
        self.number(optimizer)

    def alive(self) -> list[Any]:
        """Return what was built last and is still there: all that a loop ahead may be about to use."""
        return [optimizer for reference in self._built if (optimizer := reference()) is not None]

    def number(self, optimizer: Any) -> int:
        """Return the number by which the step rule knows an optimizer."""
        known = self._numbers.get(id(optimizer))
        if known is not None and known[0]() is optimizer:
            return known[1]
        parameters = parameters_of([optimizer])
        others = {found for each in parameters if (found := self._number_of(each)) is not None}
        number = others.pop() if len(others) == 1 else next(self._counter)
        self._numbers[id(optimizer)] = weakref.ref(optimizer), number
        unknown = (each for each in parameters if self._number_of(each) is None)
        self._of_parameter.update({id(each): (weakref.ref(each), number) for each in unknown})
        return number

    def belong_to(self, roots: Iterable[Root]) -> dict[int, tuple[nn.Module, nn.Module]]:
        """Note which modules each optimizer trains parameters of.

        Returns:
            the parts of roots that several optimizers share, each with its root, by the part's id: where the loop calls
            them by themselves, that tells whose turn it is.
        """
        owned = [(root, {id(each) for each in root.module.parameters()}) for root in roots]
        parameters: dict[int, set[int]] = {}
        for optimizer in self.alive():
            parameters.setdefault(self.number(optimizer), set()).update(map(id, parameters_of([optimizer])))
        self._parts = {number: frozenset() for number in parameters}
        shared: dict[int, tuple[nn.Module, nn.Module]] = {}
        for root, ids in owned:
            numbers = [number for number, own in parameters.items() if own & ids]
            parts = parts_of(root.module) if len(numbers) > 1 else []
            shared.update({id(part): (part, root.outer) for part in parts})
            for number in numbers:
                within = {id(part) for part in parts if not parameters[number].isdisjoint(map(id, part.parameters()))}
                self._parts[number] |= {id(root.outer), *within}
        return shared

    def taking_part(self, called: Iterable[int]) -> set[int]:
        """Return the optimizers whose modules were called in this step, or, where none was, that have new gradients.

        Parameters without a module take part if they have new gradients.
        """
        called = frozenset(called)
        numbers = self.all()
        unknown = {number for number in numbers if not (called and self._parts.get(number))}
        fresh = {
            number
            for optimizer in self.alive()
            if (number := self.number(optimizer)) in unknown and self._has_new_gradients(optimizer)
        }
        return {number for number in numbers - unknown if self._parts[number] & called} | fresh

    def train(self, tensors: Any) -> bool:
        """Return whether a tensor, or one of several, is a parameter of an optimizer."""
        return any(self._number_of(each) is not None for each in ([tensors] if is_tensor(tensors) else tensors))

    def all(self) -> set[int]:
        """Return all that may take part in a step."""
        return {self.number(optimizer) for optimizer in self.alive()}

    def _has_new_gradients(self, optimizer: Any) -> bool:
        """Return whether gradients are there that were not when this was asked last."""
        gradients = [each.grad for each in parameters_of([optimizer]) if each.grad is not None]
        state = [(id(gradient), gradient._version) for gradient in gradients]  # noqa: SLF001 - torch has no other name
        known, self._gradients[id(optimizer)] = self._gradients.get(id(optimizer)), state
        return bool(gradients) and state != known

    def _number_of(self, parameter: Tensor) -> int | None:
        known = self._of_parameter.get(id(parameter))
        return known[1] if known is not None and known[0]() is parameter else None
