"""All tensors of a model in one step, for the events that look at them: captured only while something asks.

grads         of each parameter, as the update used it
weights       each parameter after the step
updates       each trainable parameter after the step minus before
activations   the output of each module without children, in the step's last forward pass of training
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from tdb.autograd import is_being_compiled
from tdb.jobs import at_the_prompt
from tdb.queries import array_of, tensors_in
from tdb.target import parameters_of
from tdb.update_hooks import before_updates

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    from tdb.handle import Handle
    from tdb.model_capture import ModelCapture
    from tdb.results import Array

GROUPS = ("grads", "weights", "updates", "activations")


class StepTensors(Mapping[str, Mapping[str, "Array"]]):
    """Group -> tensor name -> array of the step that has just ended; used in the training thread only.

    Without a model the groups are empty. "updates" and "activations" are there only if the step was captured for them,
    or whole.
    """

    MEASURED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "captures": ("begin_step", "end_step", "_keep_grads", "_keep_output")
    }

    def __init__(self) -> None:
        self._model: nn.Module | None = None
        self._begun: frozenset[str] = frozenset()
        self._captured: dict[str, dict[str, Tensor]] = {}
        self._handles: list[RemovableHandle | Handle] = []
        self._before: dict[str, Tensor] = {}
        self._given: dict[str, dict[str, Array]] = {}
        self._whole: ModelCapture | None = None

    def begin_step(self, model: nn.Module | None, groups: frozenset[str]) -> None:
        """The step ahead is to be captured, as far as `groups` need it; hooks stay only for one step."""
        self.end_step()
        self._model, self._captured, self._before, self._given = model, {}, {}, {}
        self._begun = groups
        if model is None:
            return
        if "updates" in groups:
            self._before = {name: weight.detach().clone() for name, weight in _trainable(model)}
        if "grads" in groups:
            self._handles.append(before_updates(self._keep_grads))
        if "activations" in groups:
            from torch.nn.modules.module import register_module_forward_hook

            leaves = {id(each): name for name, each in model.named_modules() if next(each.children(), None) is None}
            # Hooks on the modules themselves would be pickled and copied with them.
            self._handles.append(register_module_forward_hook(partial(self._keep_output, leaves)))

    def end_step(self) -> None:
        """The step is over: take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def forget_step(self) -> None:
        """Nothing is asked of the steps ahead."""
        self.end_step()
        self._begun, self._captured, self._before = frozenset(), {}, {}

    def look_at(self, model: nn.Module | None, capture: ModelCapture) -> None:
        """What the weights were is to be read anew: another step has ended, or something in this one has changed.

        Args:
            model: whose tensors they are.
            capture: what the step did in all of it, if it was captured whole.
        """
        self._model, self._given = model, {}
        self._whole = capture if capture.captured and capture.progress.complete else None

    def __getitem__(self, group: str) -> Mapping[str, Array]:
        if group not in self._given:
            self._given[group] = {} if self._model is None else _READ[group](self, self._model)
        return self._given[group]

    def __iter__(self) -> Iterator[str]:
        return iter(GROUPS)

    def __len__(self) -> int:
        return len(GROUPS)

    # ---- capturing -------------------------------------------------------------------------------------------------

    def _keep_grads(self, optimizer: Any) -> None:
        # Loops that clear gradients right after the update leave none for the boundary.
        if at_the_prompt() or self._model is None:
            return
        updated, grads = set(map(id, parameters_of([optimizer]))), self._captured.setdefault("grads", {})
        for name, weight in self._model.named_parameters():
            if weight.grad is not None and (id(weight) in updated or name not in grads):
                grads[name] = weight.grad.detach().clone()

    def _keep_output(self, leaves: Mapping[int, str], module: nn.Module, inputs: Any, output: Any) -> None:
        if is_being_compiled():
            return
        del inputs
        name = leaves.get(id(module))
        if name is None or not module.training:
            return
        for path, tensor in tensors_in(output, name or "model"):
            if tensor.requires_grad:  # a forward without gradients is no training
                # An in-place activation would overwrite it.
                self._captured.setdefault("activations", {})[path] = tensor.detach().clone()

    # ---- reading ---------------------------------------------------------------------------------------------------

    def _grads(self, model: nn.Module) -> dict[str, Array]:
        grads = self._captured.get("grads")
        if grads is None and self._whole is not None:
            used = {name: each.values() for name, each in self._whole.grads.items()}
            grads = {name: grad for name, grad in used.items() if grad is not None}
        return _arrays(grads or dict(_gradients(model)))

    def _weights(self, model: nn.Module) -> dict[str, Array]:
        return _arrays({name: weight.detach() for name, weight in model.named_parameters()})

    def _updates(self, model: nn.Module) -> dict[str, Array]:
        if "updates" in self._begun:
            before = self._before
        elif self._whole is not None:
            before = self._whole.before
        else:
            raise KeyError("updates")
        after = {name: weight.detach() for name, weight in _trainable(model)}
        return _arrays({name: after[name] - weight for name, weight in before.items() if name in after})

    def _activations(self, model: nn.Module) -> dict[str, Array]:
        if "activations" in self._begun:
            return _arrays(self._captured.get("activations", {}))
        if self._whole is None or self._whole.compiled:
            raise KeyError("activations")
        leaves = [name for name, each in model.named_modules() if next(each.children(), None) is None]
        outputs = {name: self._whole.outputs[name] for name in leaves if name in self._whole.outputs}
        kept = {name or "model": (output, *output.values()) for name, output in outputs.items()}
        if not all(output.alone and is_all for output, _, is_all in kept.values()):
            raise KeyError("activations")  # in a part of them a value may be missing
        return _arrays(
            {name: values.reshape(output.shape) for name, (output, values, _) in kept.items() if values is not None}
        )


_READ: Mapping[str, Callable[[StepTensors, Any], dict[str, Array]]] = {
    "grads": StepTensors._grads,  # noqa: SLF001 - the table belongs to the class
    "weights": StepTensors._weights,  # noqa: SLF001 - as above
    "updates": StepTensors._updates,  # noqa: SLF001 - as above
    "activations": StepTensors._activations,  # noqa: SLF001 - as above
}


def _trainable(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)


def _gradients(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            yield name, weight.grad.detach()


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: array_of(tensor) for name, tensor in tensors.items()}
