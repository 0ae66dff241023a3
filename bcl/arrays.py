"""Tensors as arrays that nobody else changes."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array: TypeAlias = NDArray[Any]


def owned(tensor: Tensor) -> Array:
    """Return a copy of a tensor as an array on the host; bfloat16 becomes the float32 that equals it."""
    tensor = tensor.detach().cpu()
    return np.array((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())
