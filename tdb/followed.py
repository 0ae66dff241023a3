"""The short way through the steps of a plain layer that are followed one after the other, as where it is watched.

Between two steps tdb's own code is as cold as all else: to ask of each output, gradient and weight what it is takes
longer than to copy it. A step of most runs is like the one before it: that is asked for in a few words, and where it is
not so, the layer goes the long way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tdb.jobs import at_the_prompt
from tdb.layer_metrics import Kind, StepBatch

if TYPE_CHECKING:
    from tdb.layer import Kept

BOTH = Kind(grad=True, output=True)


class Followed:
    """A layer with a plain weight [D, F] in host memory; used in the training thread only.

    Args:
        module: the layer.
        kept: what is kept of it, for whoever looks.
        batch: where its steps wait.
        keep_output: is told of an output instead, if it is not like the one before it.
        keep_grad: likewise of an update that is about to be made, if the gradient is not like the weight.

    Attributes:
        batch: as given.
    """

    MEASURED: ClassVar[Mapping[str, tuple[str, ...]]] = {"captures": ("begin_step", "keep_output", "keep_grad")}

    def __init__(
        self,
        module: Any,
        kept: Kept,
        batch: StepBatch,
        keep_output: Callable[[Any, Any], None],
        keep_grad: Callable[..., None],
    ) -> None:
        import torch

        self.batch = batch
        self._module = module
        self._parameters: Any = module._parameters  # noqa: SLF001 - looked up at every step, and so in the shortest way
        self._weight: Any = self._parameters["weight"]
        self._form, self._dtype = self._weight.shape, self._weight.dtype
        self._kept = kept
        self._other_output, self._other_grad = keep_output, keep_grad
        self._tensor = torch.Tensor
        self._shape: Any = None  # of the last output, None if it is not one like most
        self._output_dtype: Any = None
        self._graph_task = torch._C._current_graph_task_id  # noqa: SLF001 - see `tdb.autograd`
        self._is_transformed = torch._C._functorch.is_functorch_wrapped_tensor  # noqa: SLF001 - likewise

    def keep_output(self, module: Any, output: Any) -> None:
        """The layer has given an output."""
        if module is not self._module:
            return
        if (
            output.__class__ is not self._tensor
            or output.shape != self._shape
            or output.dtype is not self._output_dtype
        ):
            self._begin_with(output)
        elif (
            output.requires_grad
            and module.training
            and self._graph_task() == -1
            and not at_the_prompt()
            and not self._is_transformed(output)
        ):
            kept = self.batch.keep_output(output.detach())
            if kept is None:  # those that wait have outputs of another size
                self._begin_with(output)
            else:
                self._kept.output, self._kept.waits = kept, True

    def keep_grad(self, *told: Any) -> None:
        """An update is about to be made."""
        weight = self._weight
        grad = weight.grad
        if (
            self._kept.before is None
            or grad is None
            or self._parameters.get("weight") is not weight
            or grad.shape != self._form
            or grad.is_sparse
            or at_the_prompt()
        ):
            self._other_grad(*told)
        else:
            self._kept.grad = self.batch.keep_grad(grad.detach())

    def end_step(self) -> bool:
        """Let the step that has ended wait with those that do; return whether it does: else it goes the long way."""
        kept, weight = self._kept, self._weight
        is_whole = kept.before is not None and kept.grad is not None and kept.waits
        is_same = self._parameters.get("weight") is weight and weight.shape == self._form
        is_alike = is_same and weight.dtype is self._dtype and weight.is_cpu
        if not (is_whole and is_alike and self.batch.fits(BOTH)):
            return False
        self.batch.end_step(weight.detach(), BOTH)
        return True

    def begin_step(self) -> bool:
        """Keep the weight before the step ahead; return whether it is the same one still: else it goes the long way."""
        kept, weight = self._kept, self._weight
        if self._parameters.get("weight") is not weight:
            return False
        kept.before = self.batch.begin_step(weight.detach)
        kept.grad = kept.output = None
        kept.waits = False
        return True

    def _begin_with(self, output: Any) -> None:
        before = self._kept.output
        self._other_output(self._module, output)
        if self._kept.output is not before:
            is_like_most = self._kept.waits and output.__class__ is self._tensor and output.dim() == 2
            self._shape, self._output_dtype = (output.shape, output.dtype) if is_like_most else (None, None)
