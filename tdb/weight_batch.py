"""Steps that were not captured, as those of a free run, and wait for the metrics of their weights.

What numpy does between two steps costs ten times what it costs when it is done again and again: so no more is done
there than must be, and the rest for many steps together.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.layer_metrics import HostView, InitialRows, host_rows

if TYPE_CHECKING:
    from torch import Tensor

    from tdb.layer import Kept
    from tdb.results import Array
    from tdb.waiting import Computed

MOST_STEPS = 64
SMALL = 2**14
"""Bytes of a weight that is copied. Of a larger one products of rows are computed at once, which is quicker."""


class WeightBatch:
    """Steps of one layer, in host memory; used in the training thread only.

    Args:
        initial: [D, F], the weight when its layer became the focus.

    Attributes:
        waiting: how many steps wait.
        is_large: see `tdb.waiting.Batch`.
    """

    is_large = False

    def __init__(self, initial: Tensor) -> None:
        self.waiting = 0
        self._initial = InitialRows(initial)
        self._products: Array = np.empty((3, MOST_STEPS, len(initial)), self._initial.rows.dtype)
        self._has_grad = False
        self._weights: Array | None = None
        self._grads: Array | None = None
        if initial.nbytes <= SMALL:
            self._weights, self._grads = np.empty((2, MOST_STEPS, *initial.shape), self._initial.rows.dtype)

    def put(self, weight: Array, grad: Array | None) -> bool:
        """Let a step wait that left this weight [D, F] and this gradient; return whether it can with those that do."""
        if self.waiting and self._has_grad != (grad is not None):
            return False
        self._has_grad = grad is not None
        if self._weights is None or self._grads is None:
            products = self._products[:, self.waiting]
            self._multiply(weight, grad, products)
        else:
            self._weights[self.waiting] = weight
            if grad is not None:
                self._grads[self.waiting] = grad
        self.waiting += 1
        return True

    @property
    def full(self) -> bool:
        """Whether no other step may wait."""
        return self.waiting == MOST_STEPS

    def take(self, ids: Array | None) -> Callable[[], Computed]:
        """Let the steps that wait go, see `tdb.waiting.Batch`."""
        del ids  # nobody watches features in steps that are not captured
        waiting, self.waiting = self.waiting, 0
        return partial(self._computed, waiting)

    def _computed(self, waiting: int) -> Computed:
        products = self._products[:, :waiting]
        if self._weights is not None and self._grads is not None:
            weights, grads = self._weights[:waiting], self._grads[:waiting]
            self._multiply(weights, grads if self._has_grad else None, products)
        with np.errstate(invalid="ignore", divide="ignore"):
            norm = np.sqrt(products[0])
            found = {"weight_norm": norm}
            if self._has_grad:
                found["grad_norm"] = np.sqrt(products[1])
            found["cos_to_init"] = self._initial.cosine(products[2], norm)
            return tuple(found), np.stack(list(found.values()), axis=1, dtype=np.float32, casting="same_kind"), None

    def _multiply(self, weight: Array, grad: Array | None, products: Array) -> None:
        """Compute products of rows [3, ..., D] of weights and gradients [..., D, F]: w w, g g, w w0."""
        with np.errstate(over="ignore", invalid="ignore"):  # diverging weights are worth recording
            np.vecdot(weight, weight, out=products[0])
            np.vecdot(weight, self._initial.rows, out=products[2])  # next: the weight is in the cache
            if grad is not None:
                np.vecdot(grad, grad, out=products[1])


class WeightAtHand:
    """A plain weight in host memory, and the short way from there into the batch: it is looked at no more than must be.

    Args:
        module: the layer that has the weight.
        kept: what is kept of the layer's step.
        batch: where its steps wait.

    Attributes:
        batch: as given.
    """

    def __init__(self, module: Any, kept: Kept, batch: WeightBatch) -> None:
        self.batch = batch
        self._parameters: Any = module._parameters  # noqa: SLF001 - looked up at every step, and so in the shortest way
        self._kept = kept
        self._shape, self._dtype = module.weight.shape, module.weight.dtype
        self._view = HostView()

    def put(self) -> bool:
        """Let the step that has ended wait; return whether it does: a captured one goes a longer way."""
        weight, kept = self._parameters.get("weight"), self._kept
        if kept.before is not None or kept.output is not None or weight is None:
            return False
        array, grad = self._view.of(weight), weight.grad
        if array is None or grad is None or array.shape != self._shape or weight.dtype is not self._dtype:
            return False
        return self.batch.put(array.reshape(len(array), -1), host_rows(grad))
