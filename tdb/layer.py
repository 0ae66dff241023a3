"""The focus layer: the layer whose output units are the features, and what one step did to its weight.

Within a captured step: `before`, the weight when the step began; the rule's own in-place parts, declared by its panel;
then the optimizer's part. So

    combined = after - before            grad_delta = after - before - (the rule's parts)

whatever the optimizer is. Everything is measured on the weight as rows [D, F]: one row a feature.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tdb.autograd import inside_backward, is_transformed, never_compiled
from tdb.captures import is_tensor
from tdb.counted import counted
from tdb.errors import NotCapturedError, StateError
from tdb.followed import Followed, Kept
from tdb.generic_metrics import Initial, generic_metrics
from tdb.handle import Handle
from tdb.jobs import at_the_prompt
from tdb.layer_metrics import HostView, Kind, StepBatch, can_wait, host_rows, in_host_memory, steps_together
from tdb.layer_weight import (
    as_rows,
    form_of,
    gradient_of,
    has_form,
    has_plain_weight,
    is_computed,
    trained_for,
    weight_of,
)
from tdb.layers import ROW_LAYERS, TRANSPOSED, LayerInfo, layer_with_features
from tdb.module_calls import after_calls
from tdb.step import Progress, not_yet
from tdb.target import model_of, optimizer_of
from tdb.weight_batch import WeightAtHand, WeightBatch

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    from tdb.model_capture import ModelCapture
    from tdb.results import Array


class FocusLayer:
    """Captures of one layer during one step; used in the training thread only.

    Attributes:
        name: of the layer in its model.
        info: what is known of it; None as long as there is none.
        following: hooks stay on from step to step, and what they keep goes to the batch of steps that wait.
        short_way: to that; None for a layer that is not like most.
        followed: the same while it is gone.
        at_hand: the short way of the weight alone, after steps that are not captured; None as above.
        hooks_fire: not in a model that was compiled before.
    """

    MEASURED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "captures": ("begin_step", "follow_step", "forget_step", "end_step", "keep_output", "keep_grad")
    }

    def __init__(self, progress: Progress | None = None) -> None:
        self.name = ""
        self._progress = progress or Progress()
        self.info: LayerInfo | None = None
        self._module: nn.Module | None = None
        self._form: tuple[Any, ...] = ()  # of its weight
        self._transposed = False
        self._optimizer: Any = None
        self._initial: Initial | None = None
        # One that comes back is measured from what it was at first, as history and steps taken again know it.
        self._initials: weakref.WeakKeyDictionary[nn.Module, tuple[Any, ...]] = weakref.WeakKeyDictionary()
        self._host_view = HostView()
        self._kept = Kept()
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
        """Make the layer `name` of the target's model the focus; without a name, its first layer with features.

        Raises:
            UsageError: there is no such layer, or it has no features; nothing changes then.
            StateError: no model is known.
        """
        model = model_of(target)
        if model is None:
            raise StateError("no model is known", "It is once training has begun: `start`")
        chosen = layer_with_features(model, name)
        module = dict(model.named_modules())[chosen.name]  # a scripted model finds none by its name
        form = form_of(module)
        if module is not self._module or form != self._form:
            self._module, self._form, self._transposed = module, form, chosen.kind in TRANSPOSED
            self.forget_step()
            self._initial = self._initial_of(module)
            weights = self._initial.rows
            in_host = in_host_memory(weights)
            self._weight_batch = WeightBatch(weights) if in_host else None
            self._batch = StepBatch(weights) if in_host and steps_together(weights) > 1 else None
            self.short_way = self.at_hand = None
            is_plain = has_plain_weight(module) and not self._transposed
            if self._weight_batch is not None and is_plain:
                self.at_hand = WeightAtHand(module, self._kept, self._weight_batch)
            if self._batch is not None and is_plain and chosen.kind == "Linear" and in_host_memory(module.weight):
                self.short_way = Followed(module, self._kept, self._batch, self.keep_output, self.keep_grad)
        self._optimizer = optimizer_of(target, trained_for(module))
        self.name, self.info = chosen.name, chosen

    def _initial_of(self, module: nn.Module) -> Initial:
        """Return what the layer's weight was when it first became the focus in its present form."""
        form, initial = self._initials.get(module, ((), None))
        if initial is None or form != self._form:
            initial = Initial(self.weights())
            self._initials[module] = self._form, initial
        assert isinstance(initial, Initial)
        return initial

    @property
    def has_another_form(self) -> bool:
        """Whether the weight is no longer of the shape it had, as where features are pruned: bind the layer anew."""
        return self._module is not None and not has_form(self._module, self._form)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What is equal as long as the features are those of the same weight."""
        return (None if self._module is None else weakref.ref(self._module), *self._form)

    def let_go(self) -> None:
        """There is no layer with features any more."""
        self.forget_step()
        self._initials.clear()
        self._module = self.info = self._batch = self._weight_batch = self.short_way = self.at_hand = None

    @property
    def title(self) -> str:
        """The layer in a sentence: "layer encoder.0"; a model that is a single layer has no name in itself."""
        return f"layer {self.name}" if self.name else "the model"

    def info_text(self) -> str:
        """Return the layer in a few words: "Linear, 64 features of 784"."""
        if self.info is None:
            return "no layer"
        return (
            f"{self.info.kind}, {counted(self.info.features, 'feature')} of {'x'.join(map(str, self.info.row_shape))}"
        )

    # ---- a captured step -------------------------------------------------------------------------------------------

    @property
    def captured(self) -> bool:
        """Whether the step was captured from its start."""
        return self._kept.before is not None

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
        grad = None if self._module is None else gradient_of(self._module)
        before, version = self._grad_before
        return before is None or grad is None or grad is not before or _version(grad) != version

    def begin_step(self) -> None:
        """The step ahead is captured: keep the weight as it is, and watch the layer's output and gradient."""
        self.forget_step()
        if self._module is not None:
            self._kept.before = self.weights()
            grad = gradient_of(self._module)
            self._grad_before = grad, 0 if grad is None else _version(grad)
            self._put_hooks_on()

    def take_over(self, capture: ModelCapture) -> None:
        """Take what was captured of the whole model in this step: the layer has become the focus after it."""
        if self._module is None or self.captured or not capture.captured:
            return
        before, grad, output = capture.of_layer(self._module)
        self._kept.before = None if before is None else self._rows(before).clone()
        self._kept.grad = None if grad is None else self._rows(grad).clone()
        if output is not None and self._module.training:
            self._take_output(output)

    def follow_step(self) -> None:
        """The step ahead is captured for its metrics: the hooks stay on, and what they keep goes to the batch."""
        if self._module is None or self._batch is None:
            self.begin_step()
            return
        if not (self.following and self._handles):
            self.forget_step()
            self.followed = self.short_way
            self._put_hooks_on()
            self.following = True
        if self.followed is not None and self.followed.begin_step():
            return
        self._kept.before = self._batch.begin_step(lambda: self._rows(self._weight()))
        self._kept.grad = self._kept.output = None

    def forget_step(self) -> None:
        """What was captured belongs to a step that is over: what is looked at must not mix the two."""
        if not (self._handles or self.captured or self._kept.grad is not None or self._kept.output is not None):
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
        self._class = type(self._module)
        if self.hooks_fire:
            self._handles.append(after_calls(self._class, keeping.keep_output))
        if hasattr(self._optimizer, "register_step_pre_hook"):
            self._handles.append(self._optimizer.register_step_pre_hook(never_compiled(keeping.keep_grad)))

    def _look_at_class(self) -> None:
        """Put the hooks on anew if the layer has got another class, as where a parametrization is registered."""
        if self._class is not type(self._module) and self._handles:
            self._take_hooks_off()
            self._put_hooks_on()

    def _take_hooks_off(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def keep_output(self, module: nn.Module, output: Any) -> None:
        """A module of the layer's class has given an output."""
        # A forward without gradients is no training; in a backward pass a checkpointed part is computed once more.
        if module is not self._module or at_the_prompt() or inside_backward():
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
        self._kept.can_wait = self.info is not None and self.info.kind == "Linear" and can_wait(output)
        if self.following and self._kept.can_wait and self._batch is not None:
            self._kept.output = self._batch.keep_output(output.flatten(0, -2))
        self._kept.waits = self._kept.output is not None
        if self._kept.output is None:
            self._kept.output = output.clone()  # an in-place activation would overwrite it

    def keep_grad(self, *_: Any) -> None:
        """An update is about to be made."""
        # Loops that clear gradients right after the update leave none for the boundary.
        rows = self._module_grad()
        if rows is None or at_the_prompt():
            return
        before, batch = self._kept.before, self._batch
        if self.following and batch is not None and before is not None and before.shape == rows.shape:
            self._kept.grad = batch.keep_grad(rows)
        else:
            self._kept.grad = rows.clone()

    # ---- what can be looked at -------------------------------------------------------------------------------------

    def weights(self) -> Tensor:
        """Return the weight now, [D, F]."""
        return self._rows(self._weight()).clone()

    def copy_rows(self, ids: Array, out: Array) -> Array:
        """Copy the weights of some features to `out` [n, F], float32, and return it."""
        weight = self._weight()
        rows = None if self._transposed else self._host_view.of(weight)
        if rows is not None and rows.dtype == out.dtype:
            rows.take(ids, axis=0, out=out.reshape(len(ids), *rows.shape[1:]), mode="clip")
            return out
        import torch

        index = torch.from_numpy(ids).to(weight.device)
        chosen = weight.detach().index_select(int(self._transposed), index)
        out[:] = self._rows(chosen).float().cpu().numpy()
        return out

    def grad(self) -> Tensor:
        """Return the gradient that the update used, [D, F].

        Raises:
            StateError: there was none in this step.
        """
        if not self._progress.has_gradients:
            raise not_yet("gradients", self._progress)
        grad = self._kept.grad if self._kept.grad is not None else self._module_grad()
        if grad is None:
            raise self._no_gradient()
        return grad.clone()

    def _no_gradient(self) -> StateError:
        if self._module is not None and is_computed(self._module):
            return StateError(
                f"the weight of {self.title} is computed of parameters, and has no gradient of its own",
                f"`{f'layers {self.name}'.strip()}` shows what they have",
            )
        return StateError(f"{self.title} had no gradient in this step", "Is it frozen, or unused by the loss?")

    def combined(self) -> Tensor:
        """Return the step's whole change of the weight, [D, F].

        Raises:
            StateError: the step was not captured.
        """
        if self._kept.before is None:
            raise NotCapturedError("the weight before this step was not captured")
        if not self._progress.has_update:
            raise not_yet("update of the weights", self._progress)
        return self.weights() - self._kept.before

    def forces(self, parts: Mapping[str, Callable[[], Tensor]]) -> dict[str, Tensor]:
        """Return the parts of the step's change by name, each [D, F]: "grad" first; they add up to `combined`.

        Args:
            parts: what the rule itself added, by name.
        """
        rule = {name: compute() for name, compute in parts.items()}
        remainder = self.combined()
        for part in rule.values():
            remainder = remainder - part
        return {"grad": remainder, **rule}

    def metrics(self) -> dict[str, Tensor]:
        """Return the metrics that every layer has, by name, each [D]; those that this step cannot give are left out.

        As a user looks at them, on any device; for recording see `let_wait`.
        """
        grad = self._kept.grad if self._kept.grad is not None else self._module_grad()
        return generic_metrics(
            self._rows(self._weight()),
            grad if self._progress.has_gradients else None,
            self._kept.before if self._progress.has_update else None,
            self._features_last(),
            self._initial,
        )

    def _features_last(self) -> Tensor | None:
        """Return the layer's output [N, D], of all images and positions; None if there is none that has a mean."""
        if self._kept.output is None or self.info is None or self.info.kind == "Embedding":
            return None
        return self._kept.output.movedim(-ROW_LAYERS[self.info.kind], -1).flatten(0, -2)

    # ---- steps whose metrics are computed together -----------------------------------------------------------------

    def let_wait(self, *, captured_only: bool) -> StepBatch | WeightBatch | None:
        """Let the step that has ended wait for its metrics, with others; None if they must be computed now.

        To be called again, when it has been emptied, if what waits has other metrics.

        Args:
            captured_only: more is wanted of the weight than its metrics.
        """
        if self._kept.before is None:
            return None if captured_only or self._kept.output is not None else self._let_weight_wait()
        batch, others, weight = self._batch, self._weight_batch, self._weight()
        if batch is None or not in_host_memory(weight):
            return None
        if self._kept.output is not None and not self._kept.can_wait:
            return None
        if others is not None and others.waiting:
            return others
        grad = self._kept.grad if self._kept.grad is not None else self._module_grad()
        kind = Kind(grad is not None, self._kept.output is not None)
        if not batch.fits(kind) or not self._put_in(batch, grad):
            self._look_at_class()
            return batch
        batch.end_step(self._rows(weight), kind)
        if not self.following:
            batch.part()
        return batch

    def _let_weight_wait(self) -> StepBatch | WeightBatch | None:
        module, batch = self._bound(), self._weight_batch
        weight, grad = weight_of(module), gradient_of(module)
        if batch is None or weight is None or not weight.is_cpu:
            return None
        if self._batch is not None and self._batch.waiting:
            return self._batch
        transposed = self._transposed
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

    def _module_grad(self) -> Tensor | None:
        grad = gradient_of(self._bound())
        return None if grad is None else self._rows(grad)

    def _bound(self) -> Any:
        if self._module is None:
            raise StateError("no focus layer", "`focus` lists the layers with features, `layers` all of the model")
        return self._module

    def _weight(self) -> Tensor:
        weight = weight_of(self._bound())
        assert weight is not None
        return weight

    def _rows(self, weight: Tensor) -> Tensor:
        return as_rows(weight, transposed=self._transposed)


def _version(tensor: Tensor) -> int:
    """Return what changes when a tensor is written to; a sparse one counts nothing."""
    return 0 if tensor.is_sparse else tensor._version  # noqa: SLF001 - it tells whether it was overwritten
