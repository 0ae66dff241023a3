"""Memory for copies of tensors: taken up again when a copy goes, and shared by copies between which nothing changed."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Form: TypeAlias = tuple[Any, ...]


class Slots:
    """Copies of tensors, each counted by how many checkpoints hold it.

    Memory that was used before is three to ten times as fast to copy into as new memory, whose pages the system has to
    find first: so what a checkpoint gives back is kept for the next one, up to the size of one checkpoint.

    Attributes:
        used: bytes of the copies that are held; shared ones count once.
    """

    def __init__(self) -> None:
        self.used = 0
        self._holders: Counter[int] = Counter()
        self._free: dict[Form, list[Tensor]] = defaultdict(list)

    def copy(self, tensor: Tensor, before: Copied | None) -> Copied:
        """Return a copy of `tensor`, or the copy `before` if nothing has changed since."""
        version = tensor._version  # noqa: SLF001 - the only hint that spares comparing all bytes of everything
        if before is not None and before.version == version and _equal(before.tensor, tensor):
            self._holders[id(before.tensor)] += 1
            return before
        free = self._free.get(_form(tensor))
        if free:
            slot = free.pop()
            slot.copy_(tensor.detach(), non_blocking=True)
        else:
            slot = tensor.detach().clone()
        self.used += size(slot)
        self._holders[id(slot)] = 1
        return Copied(slot, version)

    def release(self, copied: Copied) -> None:
        """A checkpoint that held this copy is gone."""
        key = id(copied.tensor)
        self._holders[key] -= 1
        if self._holders[key] == 0:
            del self._holders[key]
            self.used -= size(copied.tensor)
            free = self._free[_form(copied.tensor)]
            if len(free) < 2:  # one checkpoint's worth, and a tensor of the same form beside it
                free.append(copied.tensor)


class Copied:
    """A copy that is never written again while somebody holds it.

    Attributes:
        tensor: the copy.
        version: of the tensor it was taken from, then.
    """

    __slots__ = ("tensor", "version")

    def __init__(self, tensor: Tensor, version: int) -> None:
        self.tensor = tensor
        self.version = version


def size(tensor: Tensor) -> int:
    """Return a tensor's bytes."""
    return tensor.numel() * tensor.element_size()


def _form(tensor: Tensor) -> Form:
    return tensor.shape, tensor.dtype, tensor.device, tensor.stride()


def _equal(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors hold the same values; a NaN counts as changed, which only costs a copy."""
    import torch

    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other.detach())
