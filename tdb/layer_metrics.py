"""The metrics of a layer's features in host memory, for recording: of several steps together.

Between two steps everything is cold, the processor's caches and tdb's code in them alike: a metric that takes 10
microseconds when it is computed again and again takes 50 there, mostly to get going. So a captured step only copies
what its metrics need, and every few steps they are computed together. What is computed is what `generic_metrics`
computes; see `tdb.weight_batch` for what needs no capture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tdb.layer_weight import SMALLEST_FLOAT, as_rows

if TYPE_CHECKING:
    from torch import Tensor

    from tdb.results import Array

OF_THE_OUTPUT = ("mean_activation", "activation_std", "active_fraction")
MOST_STEPS = 16
MOST_BYTES = 2**23


def in_host_memory(tensor: Tensor) -> bool:
    """Return whether numpy can look at a tensor where it is."""
    return tensor.is_cpu and tensor.is_floating_point() and tensor.itemsize >= SMALLEST_FLOAT


def host_rows(tensor: Tensor, *, transposed: bool = False) -> Array:
    """Return a weight in host memory, or its gradient, as rows [D, F]; see `as_rows`. Most are not copied."""
    if transposed or tensor.is_sparse or not in_host_memory(tensor):
        return as_rows(tensor, transposed=transposed).numpy()
    array: Array = tensor.detach().numpy()
    return array.reshape(len(array), -1)


class HostView:
    """What numpy sees of a tensor in host memory, made anew only where the tensor has got other memory."""

    def __init__(self) -> None:
        self._array: Array | None = None
        self._place: tuple[Any, ...] = ()

    def of(self, tensor: Tensor) -> Array | None:
        """Return the array, which has the memory of `tensor`; None where numpy cannot look at it."""
        if not tensor.is_cpu:
            return None
        # The array holds the memory, so that no other tensor gets it.
        place = tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype
        if place != self._place:
            self._place = place
            self._array = tensor.detach().numpy() if in_host_memory(tensor) else None
        return self._array


class InitialRows:
    """What the rows of a weight were when its layer became the focus.

    Args:
        initial: [D, F]; in host memory.

    Attributes:
        rows: the same.
    """

    def __init__(self, initial: Tensor) -> None:
        import torch

        self.rows: Array = initial.numpy()
        with np.errstate(over="ignore", invalid="ignore"):
            self._norm = np.sqrt(np.vecdot(self.rows, self.rows))
        self._tiny = torch.finfo(initial.dtype).tiny  # numpy's warns where denormal numbers are flushed

    def cosine(self, products: Array, norms: Array) -> Any:
        """Return the cosines [..., D] of rows with the initial ones, of their products with those and their norms."""
        return products / self.product(norms, self._norm)

    def product(self, one: Array, other: Array) -> Any:
        """Return the product of norms; a row of zeros has cosine 0 with anything."""
        return np.maximum(one * other, self._tiny)


class Kind(NamedTuple):
    """What is known of a step besides the weights before and after it."""

    grad: bool
    output: bool


def steps_together(weight: Tensor) -> int:
    """Return how many steps of a layer may wait; fewer than 2 are not worth it."""
    return min(MOST_STEPS, MOST_BYTES // (2 * weight.nbytes + 1))


def can_wait(output: Tensor) -> bool:
    """Return whether outputs of this size may be kept for several steps."""
    return in_host_memory(output) and output.nbytes * MOST_STEPS <= MOST_BYTES


class StepBatch:
    """Steps of one layer that wait for their metrics; used in the training thread only.

    Args:
        initial: [D, F], the weight when its layer became the focus.

    Attributes:
        size: how many steps may wait.
    """

    def __init__(self, initial: Tensor) -> None:
        self.size = steps_together(initial)
        self._places: list[int] = []  # of the steps that wait
        self._next = 0  # the place of the step under way: its weight before it, and after it in the next place
        self._kind = Kind(grad=False, output=False)
        self._joined = False  # the weight at `_next` is the one before the step under way
        self._weights = initial.new_empty(self.size + 2, *initial.shape)
        self._grads = initial.new_empty(self.size + 1, *initial.shape)
        self._outputs: Tensor | None = None
        # Views of their places: to make them anew takes longer than to copy into them.
        self._weight_at, self._grad_at = self._weights.unbind(), self._grads.unbind()
        self._output_at: tuple[Tensor, ...] = ()
        self._initial = InitialRows(initial)
        # Memory to compute in: fresh memory of this size is not there until it is touched, page by page.
        self._change: Array = np.empty(initial.shape, self._initial.rows.dtype)
        self._spread: Array = np.empty(0)

    @property
    def left(self) -> Tensor | None:
        """The weight [D, F] that the last step has left, if the step ahead is the one after it."""
        return self._weight_at[self._next] if self._joined else None

    def begin_step(self, weight: Tensor) -> Tensor:
        """Keep the weight [D, F] before the step ahead, where the last step has not left it; return the copy."""
        self._next += bool(self._places)  # there lies what the last step has left
        return self._weight_at[self._next].copy_(weight)

    def keep_grad(self, grad: Tensor) -> Tensor:
        """Keep the step's gradient [D, F], and return the copy."""
        return self._grad_at[self._next].copy_(grad)

    def keep_output(self, output: Tensor) -> Tensor | None:
        """Keep the layer's output [N, D] and return the copy; None if it is of another size than those that wait."""
        if self._outputs is None or (self._outputs.shape[1:] != output.shape and not self.waiting):
            self._outputs = output.new_empty(self.size + 1, *output.shape)
            self._output_at = self._outputs.unbind()
            self._spread = np.empty_like(self._outputs.numpy())
        if self._outputs.shape[1:] != output.shape:
            return None
        return self._output_at[self._next].copy_(output)

    def fits(self, kind: Kind) -> bool:
        """Return whether a step can wait together with those that do."""
        return not self.waiting or kind == self._kind

    def end_step(self, weight: Tensor, kind: Kind) -> None:
        """Keep the weight [D, F] after the step: it waits; what else is known of it has been kept."""
        self._weight_at[self._next + 1].copy_(weight)
        self._kind = kind
        self._places.append(self._next)
        self._next += 1
        self._joined = True

    @property
    def waiting(self) -> int:
        """How many steps wait."""
        return len(self._places)

    @property
    def full(self) -> bool:
        """Whether no other step may wait."""
        return self._next >= self.size

    def rows(self, ids: Array) -> Array | None:
        """Return the weights [n, w, F] of the features `ids` [w] after the steps that wait."""
        found: Array = self._weights[1:].numpy()[self._chosen][:, ids]
        return found

    @property
    def _chosen(self) -> slice | list[int]:
        first, last = self._places[0], self._places[-1]
        return slice(first, last + 1) if last - first < len(self._places) else self._places

    def metrics(self) -> tuple[tuple[str, ...], Array]:
        """Return the names of the m metrics, and their values [n, m, D] at the steps that wait."""
        found: dict[str, Array] = {}
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # diverging weights are worth recording
            weight, change, initial, grad, descent = self._products()
            norm = found["weight_norm"] = np.sqrt(weight)
            if self._kind.grad:
                found["grad_norm"] = np.sqrt(grad)
            found["update_norm"] = np.sqrt(change)
            found["update_ratio"] = found["update_norm"] / norm
            if self._kind.grad:
                found["descent_cos"] = (0.0 - descent) / self._initial.product(found["update_norm"], found["grad_norm"])
            if self._kind.output and self._outputs is not None:
                outputs = self._outputs.numpy()[self._chosen]
                found |= zip(OF_THE_OUTPUT, _of_outputs(outputs, self._spread[: len(outputs)]), strict=True)
            found["cos_to_init"] = self._initial.cosine(initial, norm)
            return tuple(found), np.stack(list(found.values()), axis=1, dtype=np.float32, casting="same_kind")

    def _products(self) -> Array:
        """Return products of rows [5, n, D]: w w, c c, w w0, and with a gradient g g, c g; c is the weight's change.

        Step by step: what belongs to one step fits into the processor's cache, and what belongs to all does not.
        """
        weights, grads, initial = self._weights.numpy(), self._grads.numpy(), self._initial.rows
        products = np.empty((5, len(self._places), len(initial)), initial.dtype)
        change = self._change
        for number, place in enumerate(self._places):
            after, grad = weights[place + 1], grads[place]
            np.subtract(after, weights[place], out=change)
            pairs = [(after, after), (change, change), (after, initial)]
            pairs += [(grad, grad), (change, grad)] if self._kind.grad else []
            for found, (one, other) in zip(products[:, number], pairs, strict=False):
                np.vecdot(one, other, out=found)
        return products

    def release(self) -> None:
        """Nothing waits any more; what was kept of the last step stays until the next begins."""
        full = self.full
        self._places, self._joined = [], False  # somebody may change the weight where training stops
        if full:
            self._next = 0

    def part(self) -> None:
        """The step ahead is not the one after the last that waits."""
        self._joined = False


def _of_outputs(outputs: Array, room: Array) -> tuple[Array, Array, Array]:
    """Return mean, standard deviation and active fraction [n, D] of `outputs` [n, N, D], computed in `room`, as large.

    By products with ones: BLAS adds up columns three times as fast as a reduction over them.
    """
    share = np.full(outputs.shape[1], 1 / outputs.shape[1], outputs.dtype)
    mean = share @ outputs
    np.square(np.subtract(outputs, mean[:, None], out=room), out=room)
    deviation = np.sqrt(share @ room)
    active = np.ones_like(share) @ np.greater(outputs, 0, out=room, casting="unsafe")
    active /= len(share)  # a sum of shares of all of them would be nearly 1
    active[np.isnan(mean)] = np.nan  # NaN is not above 0, and would count as never active
    return mean, deviation, active
