"""One copy of everything, and writing it back into the tensors that training goes on in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdb.travel.slots import Copied, Path, copy_all

if TYPE_CHECKING:
    from torch import Tensor

Tensors = dict[Path, "Tensor"]
Values = dict[Path, Any]


class Snapshot:
    """Everything at one boundary.

    Attributes:
        tensors: where they belong -> their copies.
        values: where they belong -> plain values and small states, with `Held` where tensors were.
    """

    def __init__(self, tensors: dict[Path, Copied], values: Values) -> None:
        self.tensors = tensors
        self.values = values


class Writing:
    """Collects which copies go into which tensors, to write them all at once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._copies = snapshot.tensors
        self._into: list[Tensor] = []
        self._from: list[Tensor] = []

    def into(self, tensor: Tensor | None, path: Path) -> Tensor | None:
        """Return the tensor that will have the values of a copy: the given one where it has the form, else a new one.

        None if there was none then.
        """
        copied = self._copies.get(path)
        if copied is None:
            return None
        kept = copied.tensor
        if tensor is None or (tensor.shape, tensor.dtype, tensor.layout) != (kept.shape, kept.dtype, kept.layout):
            return copied.own()
        if tensor.is_sparse:
            return copied.own()  # with as many values as there were
        if not copied.is_still(tensor):
            self._into.append(tensor)
            self._from.append(copied.tensor)
        return tensor

    def finish(self) -> None:
        """Write; without gradients."""
        copy_all(self._into, self._from)
