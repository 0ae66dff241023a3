"""The metrics of a layer's features in host memory, for recording: of several steps together.

Between two steps everything is cold, the processor's caches and tdb's code in them alike: a metric that takes 10
microseconds when it is computed again and again takes 50 there, mostly to get going. So a captured step only copies
what its metrics need, and every few steps they are computed together, beside training: in two rooms by turns, so that
nobody writes to what is being computed. What is computed is what `generic_metrics` computes; see `tdb.weight_batch` for
what needs no capture.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tdb.layer_weight import SMALLEST_FLOAT, as_rows

if TYPE_CHECKING:
    from torch import Tensor

    from tdb.results import Array
    from tdb.waiting import Computed

OF_THE_OUTPUT = ("mean_activation", "activation_std", "active_fraction")
MOST_STEPS = 16
MOST_BYTES = 2**23


def in_host_memory(tensor: Tensor) -> bool:
    """Return whether numpy can look at a tensor where it is."""
    is_there = tensor.is_cpu and not tensor.is_sparse
    return is_there and tensor.is_floating_point() and tensor.itemsize >= SMALLEST_FLOAT


def host_rows(tensor: Tensor, *, transposed: bool = False) -> Array:
    """Return a weight in host memory, or its gradient, as rows [D, F]; see `as_rows`. Most are not copied."""
    if not transposed:
        try:
            array: Array = (tensor.detach() if tensor.requires_grad else tensor).numpy()
        except (RuntimeError, TypeError):  # it is elsewhere, or sparse, or of a type that numpy has not
            pass
        else:
            if array.dtype.kind == "f" and array.itemsize >= SMALLEST_FLOAT:
                return array.reshape(len(array), -1)
    return as_rows(tensor, transposed=transposed).numpy()


class HostView:
    """What numpy sees of a tensor in host memory, made anew only where the tensor has got other memory."""

    def __init__(self) -> None:
        self._array: Array | None = None
        self._place: tuple[Any, ...] = ()

    def of(self, tensor: Tensor) -> Array | None:
        """Return the array, which has the memory of `tensor`; None where numpy cannot look at it."""
        if not tensor.is_cpu or tensor.is_sparse:
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
        tensor: the same.
        rows: its memory.
    """

    def __init__(self, initial: Tensor) -> None:
        import torch

        self.tensor = initial
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


class Room:
    """Memory for steps of one layer, and views of the places in it: to make them anew takes longer than to copy there.

    Args:
        like: [D, F], a weight.
        size: for how many steps.

    Attributes:
        weights: [size + 2, D, F], before each step at its place and after it at the next.
        grads: [size + 1, D, F].
        outputs: [size + 1, N, D]; None before the first.
        weight_at: `weights` by places.
        grad_at: `grads` likewise.
        output_at: `outputs` likewise.
    """

    def __init__(self, like: Tensor, size: int) -> None:
        self.weights = like.new_empty(size + 2, *like.shape)
        self.grads = like.new_empty(size + 1, *like.shape)
        self.outputs: Tensor | None = None
        self._size: Any = None  # (N, D)
        self.weight_at, self.grad_at = self.weights.unbind(), self.grads.unbind()
        self.output_at: tuple[Tensor, ...] = ()

    def has(self, output: Tensor) -> bool:
        """Return whether outputs [N, D] of this size have their places."""
        return bool(self._size == output.shape)

    def take_over(self, other: Room, place: int) -> None:
        """Take what is kept at a place of another, to the first one here."""
        self.weight_at[0].copy_(other.weight_at[place])
        self.grad_at[0].copy_(other.grad_at[place])
        if other.outputs is not None:
            if not self.has(other.output_at[place]):
                self.begin(other.output_at[place])
            self.output_at[0].copy_(other.output_at[place])

    def begin(self, output: Tensor) -> None:
        """Give outputs [N, D] of this size their places."""
        self._size = output.shape
        self.outputs = output.new_empty(len(self.grads), *output.shape)
        self.output_at = self.outputs.unbind()


class Filled(NamedTuple):
    """Steps that wait no more: what was copied of them, for which nobody else has a use.

    Attributes:
        room: where that lies.
        places: in it, of the n steps.
        kind: what is known of them.
        initial: the weight when the layer became the focus.
    """

    room: Room
    places: list[int]
    kind: Kind
    initial: InitialRows

    def computed(self, ids: Array | None) -> Computed:
        """Return names and values of the metrics, and the weights of the features `ids` [w] after the steps."""
        names, blocks = self._metrics()
        return names, blocks, None if ids is None else self.room.weights[1:].numpy()[self._chosen][:, ids]

    def _metrics(self) -> tuple[tuple[str, ...], Array]:
        found: dict[str, Array] = {}
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # diverging weights are worth recording
            after, before = self.room.weights[1:].numpy()[self._chosen], self.room.weights.numpy()[self._chosen]
            change = after - before
            norm = found["weight_norm"] = np.sqrt(np.vecdot(after, after))
            if self.kind.grad:
                grad = self.room.grads.numpy()[self._chosen]
                found["grad_norm"] = np.sqrt(np.vecdot(grad, grad))
            found["update_norm"] = np.sqrt(np.vecdot(change, change))
            found["update_ratio"] = found["update_norm"] / norm
            if self.kind.grad:
                product = self.initial.product(found["update_norm"], found["grad_norm"])
                found["descent_cos"] = (0.0 - np.vecdot(change, grad)) / product
            if self.kind.output and self.room.outputs is not None:
                outputs = self.room.outputs.numpy()[self._chosen]
                found |= zip(OF_THE_OUTPUT, _of_outputs(outputs), strict=True)
            found["cos_to_init"] = self.initial.cosine(np.vecdot(after, self.initial.rows), norm)
            return tuple(found), np.stack(list(found.values()), axis=1, dtype=np.float32, casting="same_kind")

    @property
    def _chosen(self) -> slice | list[int]:
        first, last = self.places[0], self.places[-1]
        return slice(first, last + 1) if last - first < len(self.places) else self.places


class StepBatch:
    """Steps of one layer that wait for their metrics; used in the training thread only.

    Args:
        initial: [D, F], the weight when its layer became the focus.

    Attributes:
        size: how many steps may wait.
        is_large: see `tdb.waiting.Batch`.
    """

    is_large = True

    def __init__(self, initial: Tensor) -> None:
        self.size = steps_together(initial)
        self._places: list[int] = []  # of the steps that wait
        self._next = 0  # the place of the step under way: its weight before it, and after it in the next place
        self._kind = Kind(grad=False, output=False)
        self._joined = False  # the weight at `_next` is what the last step has left
        self._begun = False  # what is kept at `_next` is of a step that has begun
        self._room = Room(initial, self.size)
        self._other: Room | None = None  # memory that is used before is there at once
        self._initial = InitialRows(initial)

    def begin_step(self, weight: Callable[[], Tensor]) -> Tensor:
        """Return the copy of the weight [D, F] before the step ahead.

        Args:
            weight: gives it, if the last step that waits has not left it.
        """
        if not self._joined:
            self._next = self._places[-1] + 2 if self._places else 0  # before that lies what the last step has left
            self._room.weight_at[self._next].copy_(weight())
        self._begun = True
        return self._room.weight_at[self._next]

    def keep_grad(self, grad: Tensor) -> Tensor:
        """Keep the step's gradient [D, F], and return the copy."""
        return self._room.grad_at[self._next].copy_(grad)

    def keep_output(self, output: Tensor) -> Tensor | None:
        """Keep the layer's output [N, D] and return the copy; None if it is of another size than those that wait."""
        room = self._room
        if not room.has(output):
            if self._places:
                return None
            room.begin(output)
        return room.output_at[self._next].copy_(output)

    def fits(self, kind: Kind) -> bool:
        """Return whether a step can wait together with those that do."""
        return not self._places or kind == self._kind

    def end_step(self, weight: Tensor, kind: Kind) -> None:
        """Keep the weight [D, F] after the step: it waits; what else is known of it has been kept."""
        self._room.weight_at[self._next + 1].copy_(weight)
        self._kind = kind
        self._places.append(self._next)
        self._next += 1
        self._joined, self._begun = True, False

    @property
    def waiting(self) -> int:
        """How many steps wait."""
        return len(self._places)

    @property
    def full(self) -> bool:
        """Whether no other step may wait."""
        return self._next >= self.size

    def take(self, ids: Array | None) -> Callable[[], Computed]:
        """Let the steps that wait go, see `tdb.waiting.Batch`.

        What was kept of the last step may be looked at until the next is kept.
        """
        filled, place = Filled(self._room, self._places, self._kind, self._initial), self._next
        self._room, self._other = self._other or Room(self._initial.tensor, self.size), self._room
        self._places, self._next = [], 0
        self._joined = False  # somebody may change the weight where training stops
        if self._begun:
            self._room.take_over(filled.room, place)
        return partial(filled.computed, ids)

    def part(self) -> None:
        """The step ahead is not the one after the last that waits, and what was kept of another is of no use."""
        self._joined = self._begun = False


def _of_outputs(outputs: Array) -> tuple[Array, Array, Array]:
    """Return mean, standard deviation and active fraction [n, D] of `outputs` [n, N, D].

    By products with ones: BLAS adds up columns three times as fast as a reduction over them.
    """
    share = np.full(outputs.shape[1], 1 / outputs.shape[1], outputs.dtype)
    mean = share @ outputs
    room = outputs - mean[:, None]
    deviation = np.sqrt(share @ np.square(room, out=room))
    active = np.ones_like(share) @ np.greater(outputs, 0, out=room, casting="unsafe")
    active /= len(share)  # a sum of shares of all of them would be nearly 1
    active[np.isnan(mean)] = np.nan  # NaN is not above 0, and would count as never active
    return mean, deviation, active
