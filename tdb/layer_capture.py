"""What the focus layer does in a captured step: its weight before, its output, and the gradient of its update.

A step is captured for somebody to look at, or one after the other is followed for their metrics, which are computed for
many together: then the hooks stay on, and what they keep lies in the batch of the steps that wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tdb.autograd import inside_backward, is_transformed, never_compiled
from tdb.captures import is_tensor
from tdb.followed import Followed
from tdb.handle import Handle
from tdb.jobs import at_the_prompt
from tdb.layer import FocusLayer
from tdb.layer_metrics import Kind, StepBatch, can_wait, host_rows, in_host_memory, steps_together
from tdb.layer_weight import gradient_of, has_plain_weight, trained_for, weight_of
from tdb.module_calls import after_calls
from tdb.target import optimizer_of
from tdb.weight_batch import WeightAtHand, WeightBatch

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    from tdb.model_capture import ModelCapture


class LayerCapture:
    """Captures the focus layer's part in one step after the other; used in the training thread only.

    Args:
        focus: the layer, which keeps what is captured.

    Attributes:
        focus: as given.
        following: hooks stay on from step to step, and what they keep goes to the batch of steps that wait.
        short_way: to that; None for a layer that is not like most.
        followed: the same while it is gone.
        at_hand: the short way of the weight alone, after steps that are not captured; None as above.
        hooks_fire: not in a model that was compiled before.
    """

    MEASURED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "captures": ("begin_step", "follow_step", "forget_step", "end_step", "keep_output", "keep_grad")
    }

    def __init__(self, focus: FocusLayer) -> None:
        self.focus = focus
        self._kept = focus.kept
        self._optimizer: Any = None
        self._grad_before: tuple[Tensor | None, int] = None, 0  # what the step before has left, and its version
        self.following = False
        self.short_way: Followed | None = None
        self.followed: Followed | None = None
        self._batch: StepBatch | None = None
        self._weight_batch: WeightBatch | None = None
        self.at_hand: WeightAtHand | None = None
        self._handles: list[Handle | RemovableHandle] = []
        self._class: type[Any] = object  # of the layer, when hooks were put on
        self.hooks_fire = True

    def bind(self, target: Any, name: str = "") -> None:
        """Make a layer of the target's model the focus, see `FocusLayer.bind`.

        Raises:
            UsageError: there is no such layer, or it has no features; nothing changes then.
            StateError: no model is known.
        """
        if self.focus.bind(target, name):
            self.forget_step()
            self._make_room()
        module = self.focus.module
        self._optimizer = None if module is None else optimizer_of(target, trained_for(module))

    def _make_room(self) -> None:
        """Make the batches that steps of the layer wait in, and the short ways to them."""
        focus, initial = self.focus, self.focus.initial
        assert initial is not None
        in_host = in_host_memory(initial.rows)
        self._weight_batch = WeightBatch(initial.rows) if in_host else None
        self._batch = StepBatch(initial.rows) if in_host and steps_together(initial.rows) > 1 else None
        self.short_way = self.at_hand = None
        if focus.module is None or focus.info is None or focus.transposed or not has_plain_weight(focus.module):
            return
        if self._weight_batch is not None:
            self.at_hand = WeightAtHand(focus.module, self._kept, self._weight_batch)
        if self._batch is not None and focus.info.kind == "Linear" and in_host_memory(focus.weight()):
            self.short_way = Followed(focus.module, self._kept, self._batch, self.keep_output, self.keep_grad)

    def let_go(self) -> None:
        """There is no layer with features any more."""
        self.forget_step()
        self.focus.let_go()
        self._batch = self._weight_batch = self.short_way = self.at_hand = None

    # ---- a captured step -------------------------------------------------------------------------------------------

    @property
    def capturing(self) -> bool:
        """Whether a step is being captured."""
        return bool(self._handles)

    @property
    def has_begun(self) -> bool:
        """Whether anything was done in the step that is captured."""
        return self._kept.output is not None or self._kept.grad is not None

    @property
    def has_kept_grad(self) -> bool:
        """Whether the update of the step was about to be made."""
        return self._kept.grad is not None

    @property
    def has_new_grad(self) -> bool:
        """Whether the gradient is one of the step under way, as far as can be told."""
        grad = None if self.focus.module is None else gradient_of(self.focus.module)
        before, version = self._grad_before
        return before is None or grad is None or grad is not before or _version(grad) != version

    def begin_step(self) -> None:
        """The step ahead is captured: keep the weight as it is, and watch the layer's output and gradient."""
        self.forget_step()
        if self.focus.module is not None:
            self._kept.before = self.focus.weights()
            grad = gradient_of(self.focus.module)
            self._grad_before = grad, 0 if grad is None else _version(grad)
            self._put_hooks_on()

    def take_over(self, capture: ModelCapture) -> None:
        """Take what was captured of the whole model in this step: the layer has become the focus after it."""
        if self.focus.module is None or self.focus.captured or not capture.captured:
            return
        before, grad, output = capture.of_layer(self.focus.module)
        self._kept.before = None if before is None else self.focus.rows(before).clone()
        self._kept.grad = None if grad is None else self.focus.rows(grad).clone()
        if output is not None and self.focus.module.training:
            self._take_output(output)

    def follow_step(self) -> None:
        """The step ahead is captured for its metrics: the hooks stay on, and what they keep goes to the batch."""
        if self.focus.module is None or self._batch is None:
            self.begin_step()
            return
        if not (self.following and self._handles):
            self.forget_step()
            self.followed = self.short_way
            self._put_hooks_on()
            self.following = True
        if self.followed is not None and self.followed.begin_step():
            return
        self._kept.before = self._batch.begin_step(lambda: self.focus.rows(self.focus.weight()))
        self._kept.grad = self._kept.output = None

    def forget_step(self) -> None:
        """What was captured belongs to a step that is over: what is looked at must not mix the two."""
        if not (self._handles or self.focus.captured or self._kept.grad is not None or self._kept.output is not None):
            return
        self.end_step()
        self._kept.before = self._kept.grad = self._kept.output = None
        if self._batch is not None:
            self._batch.part()

    def end_step(self) -> None:
        """The step is over: take the hooks off."""
        self._take_hooks_off()
        self.following, self.followed = False, None
        self._grad_before = None, 0

    def step_is_over(self) -> None:
        """As `end_step`, unless one step after another is followed: then the next begins or is forgotten."""
        if not self.following:
            self.end_step()

    def _put_hooks_on(self) -> None:
        keeping = self if self.followed is None else self.followed
        self._class = type(self.focus.module)
        if self.hooks_fire:
            self._handles.append(after_calls(self._class, keeping.keep_output))
        if hasattr(self._optimizer, "register_step_pre_hook"):
            self._handles.append(self._optimizer.register_step_pre_hook(never_compiled(keeping.keep_grad)))

    def _look_at_class(self) -> None:
        """Put the hooks on anew if the layer has got another class, as where a parametrization is registered."""
        if self._class is not type(self.focus.module) and self._handles:
            self._take_hooks_off()
            self._put_hooks_on()

    def _take_hooks_off(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def keep_output(self, module: nn.Module, output: Any) -> None:
        """A module of the layer's class has given an output."""
        # A forward without gradients is no training; in a backward pass a checkpointed part is computed once more.
        if module is not self.focus.module or at_the_prompt() or inside_backward():
            return
        if not (module.training and is_tensor(output) and output.requires_grad):
            return
        # Neither of the first two has a mean, nor a share above 0.
        if not output.numel() or output.is_complex() or is_transformed(output):
            return
        self._take_output(output.detach())

    def _take_output(self, output: Tensor) -> None:
        if output.dim() == 1:  # of one input that is not in a batch
            output = output[None]
        self._kept.output = None
        self._kept.can_wait = self.focus.info is not None and self.focus.info.kind == "Linear" and can_wait(output)
        if self.following and self._kept.can_wait and self._batch is not None:
            self._kept.output = self._batch.keep_output(output.flatten(0, -2))
        self._kept.waits = self._kept.output is not None
        if self._kept.output is None:
            self._kept.output = output.clone()  # an in-place activation would overwrite it

    def keep_grad(self, *_: Any) -> None:
        """An update is about to be made."""
        # Loops that clear gradients right after the update leave none for the boundary.
        rows = self.focus.gradient()
        if rows is None or at_the_prompt():
            return
        before, batch = self._kept.before, self._batch
        if self.following and batch is not None and before is not None and before.shape == rows.shape:
            self._kept.grad = batch.keep_grad(rows)
        else:
            self._kept.grad = rows.clone()

    # ---- steps whose metrics are computed together -----------------------------------------------------------------

    def let_wait(self, *, captured_only: bool) -> StepBatch | WeightBatch | None:
        """Let the step that has ended wait for its metrics, with others; None if they must be computed now.

        To be called again, when it has been emptied, if what waits has other metrics.

        Args:
            captured_only: more is wanted of the weight than its metrics.
        """
        if self._kept.before is None:
            return None if captured_only or self._kept.output is not None else self._let_weight_wait()
        batch, others, weight = self._batch, self._weight_batch, self.focus.weight()
        if batch is None or not in_host_memory(weight):
            return None
        if self._kept.output is not None and not self._kept.can_wait:
            return None
        if others is not None and others.waiting:
            return others
        grad = self._kept.grad if self._kept.grad is not None else self.focus.gradient()
        kind = Kind(grad is not None, self._kept.output is not None)
        if not batch.fits(kind) or not self._put_in(batch, grad):
            self._look_at_class()
            return batch
        batch.end_step(self.focus.rows(weight), kind)
        if not self.following:
            batch.part()
        return batch

    def _let_weight_wait(self) -> StepBatch | WeightBatch | None:
        module, batch = self.focus.module, self._weight_batch
        weight = None if module is None else weight_of(module)
        if module is None or batch is None or weight is None or not weight.is_cpu:
            return None
        if self._batch is not None and self._batch.waiting:
            return self._batch
        grad, transposed = gradient_of(module), self.focus.transposed
        rows = host_rows(weight, transposed=transposed)
        batch.put(rows, None if grad is None else host_rows(grad, transposed=transposed))
        return batch

    def _put_in(self, batch: StepBatch, grad: Tensor | None) -> bool:
        """Put what a step has left into the batch, unless it is there already; return whether it fits."""
        before = self._kept.before
        if before is not None and not self.following:
            batch.part()
            batch.begin_step(lambda: before)
        if self._kept.output is not None and not self._kept.waits:
            if batch.keep_output(self._kept.output.flatten(0, -2)) is None:
                return False
            self._kept.waits = True
        if grad is not None and not (self.following and self._kept.grad is not None):
            batch.keep_grad(grad)
        return True


def _version(tensor: Tensor) -> int:
    """Return what changes when a tensor is written to; a sparse one counts nothing."""
    return 0 if tensor.is_sparse else tensor._version  # noqa: SLF001 - it tells whether it was overwritten
