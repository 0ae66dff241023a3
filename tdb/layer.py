"""The focus layer: the layer whose output units are the features, and what one step did to its weight.

Within a captured step: `before`, the weight when the step began; the rule's own in-place parts, declared by its panel;
then the optimizer's part. So

    combined = after - before            grad_delta = after - before - (the rule's parts)

whatever the optimizer is. Everything is measured on the weight as rows [D, F]: one row a feature.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tdb.counted import counted
from tdb.errors import NotCapturedError, StateError
from tdb.generic_metrics import Initial, generic_metrics
from tdb.layer_metrics import HostView
from tdb.layer_weight import as_rows, form_of, gradient_of, has_form, is_computed, weight_of
from tdb.layers import ROW_LAYERS, TRANSPOSED, LayerInfo, layer_with_features
from tdb.step import Progress, not_yet
from tdb.target import model_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tdb.results import Array


@dataclass(slots=True)
class Kept:
    """What is kept of a layer in one step.

    Attributes:
        before: [D, F], the weight when the step began.
        grad: [D, F], the gradient that its update used.
        output: what the layer gave, features last if it is a linear one.
        can_wait: the output may be kept for several steps.
        waits: it lies in the batch of those that wait.
    """

    before: Tensor | None = None
    grad: Tensor | None = None
    output: Tensor | None = None
    can_wait: bool = False
    waits: bool = False


class FocusLayer:
    """One layer of a model, and what can be looked at of it; used in the training thread only.

    Attributes:
        name: of the layer in its model.
        info: what is known of it; None as long as there is none.
        module: the layer itself, likewise.
        initial: what its weight was when it first became the focus, likewise.
        transposed: its weight is [F, D].
        kept: what was captured of it in the last step.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self.name = ""
        self.info: LayerInfo | None = None
        self.module: nn.Module | None = None
        self.initial: Initial | None = None
        self.transposed = False
        self.kept = Kept()
        self._progress = progress or Progress()
        self._form: tuple[Any, ...] = ()  # of its weight
        # One that comes back is measured from what it was at first, as history and steps taken again know it.
        self._initials: weakref.WeakKeyDictionary[nn.Module, tuple[Any, ...]] = weakref.WeakKeyDictionary()
        self._host_view = HostView()

    def bind(self, target: Any, name: str = "") -> bool:
        """Be the layer `name` of the target's model; without a name, its first layer with features.

        Returns whether it is another one than before, or its weight has got another form.

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
        is_another = module is not self.module or form != self._form
        if is_another:
            self.module, self._form, self.transposed = module, form, chosen.kind in TRANSPOSED
            self.initial = self._initial_of(module)
        self.name, self.info = chosen.name, chosen
        return is_another

    def _initial_of(self, module: nn.Module) -> Initial:
        """Return what the layer's weight was when it first became the focus in its present form."""
        form, initial = self._initials.get(module, ((), None))
        if initial is None or form != self._form:
            initial = Initial(self.weights())
            self._initials[module] = self._form, initial
        assert isinstance(initial, Initial)
        return initial

    def let_go(self) -> None:
        """There is no layer with features any more."""
        self._initials.clear()
        self.module = self.info = self.initial = None

    @property
    def has_another_form(self) -> bool:
        """Whether the weight is no longer of the shape it had, as where features are pruned: bind the layer anew."""
        return self.module is not None and not has_form(self.module, self._form)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What is equal as long as the features are those of the same weight."""
        return (None if self.module is None else weakref.ref(self.module), *self._form)

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

    @property
    def captured(self) -> bool:
        """Whether the step was captured from its start."""
        return self.kept.before is not None

    # ---- the weight and its gradient, as they are now --------------------------------------------------------------

    def weight(self) -> Tensor:
        """Return the weight as the layer has it.

        Raises:
            StateError: there is no layer.
        """
        weight = weight_of(self._bound())
        assert weight is not None
        return weight

    def gradient(self) -> Tensor | None:
        """Return the gradient that the layer has, [D, F]; None if it has none.

        Raises:
            StateError: there is no layer.
        """
        grad = gradient_of(self._bound())
        return None if grad is None else self.rows(grad)

    def rows(self, weight: Tensor) -> Tensor:
        """Return what is of the weight's form as rows [D, F]."""
        return as_rows(weight, transposed=self.transposed)

    def _bound(self) -> Any:
        if self.module is None:
            raise StateError("no focus layer", "`focus` lists the layers with features, `layers` all of the model")
        return self.module

    # ---- what can be looked at -------------------------------------------------------------------------------------

    def weights(self) -> Tensor:
        """Return the weight now, [D, F]."""
        return self.rows(self.weight()).clone()

    def copy_rows(self, ids: Array, out: Array) -> Array:
        """Copy the weights of some features to `out` [n, F], float32, and return it."""
        weight = self.weight()
        rows = None if self.transposed else self._host_view.of(weight)
        if rows is not None and rows.dtype == out.dtype:
            rows.take(ids, axis=0, out=out.reshape(len(ids), *rows.shape[1:]), mode="clip")
            return out
        import torch

        index = torch.from_numpy(ids).to(weight.device)
        chosen = weight.detach().index_select(int(self.transposed), index)
        out[:] = self.rows(chosen).float().cpu().numpy()
        return out

    def grad(self) -> Tensor:
        """Return the gradient that the update used, [D, F].

        Raises:
            StateError: there was none in this step.
        """
        if not self._progress.has_gradients:
            raise not_yet("gradients", self._progress)
        grad = self.kept.grad if self.kept.grad is not None else self.gradient()
        if grad is None:
            raise self._no_gradient()
        return grad.clone()

    def _no_gradient(self) -> StateError:
        if self.module is not None and is_computed(self.module):
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
        if self.kept.before is None:
            raise NotCapturedError("the weight before this step was not captured")
        if not self._progress.has_update:
            raise not_yet("update of the weights", self._progress)
        return self.weights() - self.kept.before

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

        As a user looks at them, on any device; for recording see `LayerCapture.let_wait`.
        """
        grad = self.kept.grad if self.kept.grad is not None else self.gradient()
        return generic_metrics(
            self.rows(self.weight()),
            grad if self._progress.has_gradients else None,
            self.kept.before if self._progress.has_update else None,
            self._features_last(),
            self.initial,
        )

    def _features_last(self) -> Tensor | None:
        """Return the layer's output [N, D], of all images and positions; None if there is none that has a mean."""
        if self.kept.output is None or self.info is None or self.info.kind == "Embedding":
            return None
        return self.kept.output.movedim(-ROW_LAYERS[self.info.kind], -1).flatten(0, -2)
