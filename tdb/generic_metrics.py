"""The metrics that every layer's features have, of one step: pure functions of what was captured of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

GENERIC_METRICS = {
    "weight_norm": "L2 norm of the feature's weights",
    "grad_norm": "L2 norm of their gradient",
    "update_norm": "L2 norm of the step's change of them",
    "update_ratio": "update_norm / weight_norm",
    "descent_cos": "cosine of that change with the way straight down the gradient",
    "mean_activation": "mean of the layer's output for the feature, over the batch and all positions",
    "activation_std": "standard deviation of those outputs (of the batch itself: divided by their number)",
    "active_fraction": "share of those outputs that are above 0",
    "cos_to_init": "cosine of the weights with what they were when their layer first became the focus",
}


@dataclass(frozen=True, eq=False)
class Initial:
    """What a weight was when its layer first became the focus.

    Attributes:
        rows: [D, F].
    """

    rows: Tensor

    @cached_property
    def norm(self) -> Tensor:
        """[D] the L2 norms of the rows, computed when somebody looks for the first time."""
        import torch

        norm: Tensor = torch.linalg.vector_norm(self.rows, dim=1)
        return norm


def generic_metrics(
    weights: Tensor, grad: Tensor | None, before: Tensor | None, output: Tensor | None, initial: Initial | None
) -> dict[str, Tensor]:
    """Return the metrics by name, each [D]; those that cannot be computed of what is given are left out.

    Args:
        weights: [D, F] after the step.
        grad: [D, F] the gradient that its update used.
        before: [D, F] the weights before it.
        output: [N, D] what the layer gave, of all images and positions.
        initial: the weights when the layer became the focus.
    """
    import torch

    norm = torch.linalg.vector_norm(weights, dim=1)
    found = {"weight_norm": norm}
    tiny = torch.finfo(norm.dtype).tiny
    if grad is not None:
        found["grad_norm"] = torch.linalg.vector_norm(grad, dim=1)
    if before is not None:
        change = weights - before
        found["update_norm"] = torch.linalg.vector_norm(change, dim=1)
        found["update_ratio"] = found["update_norm"] / norm
        if grad is not None:
            product = (found["update_norm"] * found["grad_norm"]).clamp_min(tiny)
            found["descent_cos"] = (0.0 - torch.linalg.vecdot(change, grad)) / product  # -x would make -0.0 of 0
    if output is not None:
        outputs = output.float()
        mean = found["mean_activation"] = outputs.mean(dim=0)
        found["activation_std"] = outputs.std(dim=0, correction=0)
        # NaN is not above 0, and would count as never active.
        active = (outputs > 0).mean(dim=0, dtype=torch.float32)
        found["active_fraction"] = active.masked_fill(mean.isnan(), float("nan"))
    if initial is not None:
        # A row of zeros has cosine 0 with anything.
        product = (norm * initial.norm).clamp_min(tiny)
        found["cos_to_init"] = torch.linalg.vecdot(weights, initial.rows) / product
    return found
