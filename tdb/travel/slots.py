"""Memory for copies of tensors: taken up again when a copy goes, and shared by copies between which nothing changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Path: TypeAlias = tuple[Any, ...]

LARGE = 2**22
"""Bytes from which numpy asks the system for huge pages: new memory is then three times as fast to write to."""

ALIGNED = 64

SMALL = 2**16
"""Bytes up to which torch compares two tensors as fast as numpy does."""

FIRST = 512
"""Words of a large tensor that are compared first: mostly they tell already that it is another one."""


class Copied:
    """A copy in host memory that is never written again while somebody holds it.

    Attributes:
        tensor: the copy.
        version: of the tensor it was taken from, then.
        device: of that tensor.
        nbytes: its size.
        holders: how many checkpoints it is part of.
    """

    __slots__ = ("device", "holders", "nbytes", "tensor", "version")

    def __init__(self, tensor: Tensor, version: int, device: Any, nbytes: int) -> None:
        self.tensor = tensor
        self.version = version
        self.device = device
        self.nbytes = nbytes
        self.holders = 1

    def own(self) -> Tensor:
        """Return a tensor of its own with these values, where the first one was."""
        return self.tensor.to(self.device, copy=True)

    def is_still(self, tensor: Tensor) -> bool:
        """Return whether `tensor` has the values of this copy; only where nothing is known to have changed it."""
        # The version is only a hint: what was written through `.data` or by numpy leaves it as it was.
        return self.version == tensor._version and _same(self.tensor, tensor.detach())  # noqa: SLF001 - no other name


class Slots:
    """Copies of tensors, each counted by how many checkpoints hold it.

    Memory that was used before is three to ten times as fast to copy into as new memory, whose pages the system has to
    find first: so what a checkpoint gives back is kept for the next one, up to the size of one checkpoint.

    Attributes:
        used: bytes of the copies that are held; shared ones count once.
    """

    def __init__(self) -> None:
        self.used = 0
        self._free: dict[Path, Tensor] = {}

    def copy(self, tensors: Mapping[Path, Tensor], before: Mapping[Path, Copied]) -> dict[Path, Copied]:
        """Return a copy of each tensor, or the one that is in `before` if nothing has changed since."""
        import torch

        found: dict[Path, Copied] = {}
        changed: dict[Path, Tensor] = {}
        slots: dict[Path, Tensor] = {}
        for path, tensor in tensors.items():
            last = before.get(path)
            if last is not None and last.holders and last.is_still(tensor):
                last.holders += 1
                found[path] = last
                continue
            changed[path] = tensor
            slot = self._free.pop(path, None)
            if (
                slot is not None
                and slot.layout == tensor.layout == torch.strided
                and slot.shape == tensor.shape
                and slot.dtype == tensor.dtype
            ):
                slots[path] = slot
        if len(slots) < len(changed):
            slots |= _memory_for({path: tensor for path, tensor in changed.items() if path not in slots})
        for path, tensor in changed.items():
            slot = slots[path]
            copied = found[path] = Copied(slot, tensor._version, tensor.device, size(slot))  # noqa: SLF001 - as above
            self.used += copied.nbytes
        with torch.no_grad():
            dense = [path for path, tensor in changed.items() if tensor.layout == torch.strided]  # others are copied
            copy_all([slots[path] for path in dense], [changed[path] for path in dense])
        return found

    def share(self, snapshot: Mapping[Path, Copied]) -> dict[Path, Copied]:
        """Return the same copies, for one checkpoint more to hold."""
        for copied in snapshot.values():
            copied.holders += 1
        return dict(snapshot)

    def release(self, snapshot: Mapping[Path, Copied]) -> None:
        """A checkpoint that held these copies is gone."""
        for path, copied in snapshot.items():
            copied.holders -= 1
            if not copied.holders:
                self.used -= copied.nbytes
                self._free[path] = copied.tensor


def size(tensor: Tensor) -> int:
    """Return a tensor's bytes; of a sparse one those that it would have if it were not."""
    return tensor.numel() * tensor.element_size()


def copy_all(into: list[Tensor], tensors: list[Tensor]) -> None:
    """Copy values from tensor to tensor; without gradients, and in one call, which spares many small ones."""
    import torch

    if into:
        torch._foreach_copy_(into, tensors)


def _memory_for(tensors: Mapping[Path, Tensor]) -> dict[Path, Tensor]:
    """Return memory for copies, on the host, laid out as the tensors are; much of it comes in one piece."""
    import torch

    found: dict[Path, Tensor] = {}
    together: dict[Path, Tensor] = {}
    for path, tensor in tensors.items():
        if tensor.layout == torch.strided:
            together[path] = tensor
        else:
            found[path] = tensor.detach().to("cpu", copy=True)
    places = np.cumsum([0, *(-(-tensor.nbytes // ALIGNED) * ALIGNED for tensor in together.values())]).tolist()
    if places[-1] < LARGE:
        return found | {path: torch.empty_like(tensor, device="cpu") for path, tensor in together.items()}
    memory = torch.from_numpy(np.empty(places[-1], np.uint8))
    for place, (path, tensor) in zip(places, together.items(), strict=False):
        flat = memory[place : place + tensor.nbytes].view(tensor.dtype)
        strides = torch.empty_like(tensor, device="meta").stride()
        found[path] = flat.as_strided(tensor.shape, strides, flat.storage_offset())
    return found


def _same(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors hold the same values; where they are large, whether they have the same bits."""
    import torch

    if one.shape != other.shape or one.dtype != other.dtype or {one.layout, other.layout} != {torch.strided}:
        return False
    if size(one) < SMALL or not (other.is_cpu and one.is_contiguous() and other.is_contiguous()):
        return torch.equal(one, other.to(one.device))
    here, there = _words(one), _words(other)
    return np.array_equal(here[:FIRST], there[:FIRST]) and np.array_equal(here, there)


def _words(tensor: Tensor) -> np.ndarray[Any, Any]:
    import torch

    flat = tensor.flatten().view(torch.uint8).numpy()
    return flat.view(np.int64) if flat.nbytes % 8 == 0 else flat
