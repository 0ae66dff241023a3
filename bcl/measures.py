"""Numbers that say how alike features are."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def weight_cosine_similarity(weight: Tensor) -> Tensor:
    """Return the mean signed cosine over all pairs of different rows of `weight` [D, F], a scalar; 0 for one row."""
    unit = functional.normalize(weight.detach(), dim=1)  # [D, F]
    features = len(unit)
    if features < 2:
        return unit.new_zeros(())
    cosine = unit @ unit.T  # [D, D]
    return cosine.triu(1).sum() / (features * (features - 1) / 2)
