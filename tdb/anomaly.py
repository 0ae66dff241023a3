"""What is not finite in a tensor, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tdb.autograd import without_transforms
from tdb.captures import has_numbers, is_tensor
from tdb.counted import counted
from tdb.queries import tensors_in

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Anomaly:
    """Where something not finite was seen first.

    Attributes:
        what: "NaN" or "inf".
        when: "forward", "backward" or "update".
        operation: the name of the operation, or of the node of the graph.
        module: the innermost module that was being called, "" if none was.
        place: file, line and function of the script's code.
        source: that line.
        entries: how many entries of how many were not finite.
        brought: it was in what the operation was given already, and no operation of this step made it.
    """

    what: str
    when: str
    operation: str
    module: str
    place: str
    source: str
    entries: str
    brought: bool = False

    def __str__(self) -> str:
        where = f" in {self.module}" if self.module else ""
        verb = "was given to" if self.brought else "was made by"
        return (
            f"{self.what} {verb} {self.operation}{where} ({self.when}, {self.entries}): {self.place}\n    {self.source}"
        )


def floats(value: Any) -> Iterator[Any]:
    """Give the tensors of real or complex numbers in a value."""
    return (each for _, each in tensors_in(value) if is_tensor(each) and _can_be_wrong(each))


def wrong_in(value: Tensor) -> str:
    """Return "NaN" or "inf" if a tensor has one, or nothing."""
    value = without_transforms(value.detach())
    if bool(value.isfinite().all()):
        return ""
    return "NaN" if bool(value.isnan().any()) else "inf"


def entries_of(value: Tensor) -> str:
    """Return how many entries of a tensor are not finite, in words."""
    value = without_transforms(value.detach())
    wrong = int((~value.isfinite()).sum())
    return f"{wrong:,} of {counted(value.numel(), 'entry', 'entries')}"


def _can_be_wrong(value: Tensor) -> bool:
    is_real = value.is_floating_point() or value.is_complex()
    return is_real and value.numel() > 0 and not value.is_sparse and has_numbers(without_transforms(value.detach()))
