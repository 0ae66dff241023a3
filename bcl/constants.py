"""Numbers in formulas, as tensors."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

EPSILON = 1e-8


def constant(value: float, like: Tensor) -> Tensor:
    """Return a number as a tensor [] of the type and on the device of `like`; not to be changed.

    A number of Python's is made a tensor anew in every operation: on a vector of features that takes longer than the
    operation.
    """
    return _made(value, like.dtype, like.device)


@lru_cache(maxsize=1024)
def _made(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(value, dtype=dtype, device=device)
