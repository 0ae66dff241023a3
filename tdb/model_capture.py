"""All modules of a model during one step: what each gave, and how each weight moved.

Captured in steps that may stop, for one step only, by two global hooks: hooks on the modules themselves would be saved
and copied with them. Outputs are not copied but held until training goes on; what is later overwritten in place leaves
an evenly spaced sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

from tdb.autograd import count_compiled, inside_backward, is_being_compiled, is_transformed
from tdb.captures import is_tensor
from tdb.handle import Handle
from tdb.jobs import at_the_prompt
from tdb.queries import tensors_in
from tdb.step import Progress
from tdb.target import parameters_of
from tdb.update_hooks import before_updates

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

SAMPLE = 4096
"""Outputs of no more entries are copied; of larger ones that many entries, in case they are overwritten."""

MOST_HELD = 2**30
"""Bytes of outputs that are held at most; of what comes beyond there are samples."""


@dataclass
class Output:
    """What a module gave last in this step.

    Attributes:
        calls: how many times it was called.
        shape: of its output, of several the first one with real numbers.
        held: the output itself, or None.
        version: of the output when it was given: it counts changes in place.
        sample: [n] evenly spaced entries of it; all of them if there are few.
        alone: it gave this tensor, and not several.
    """

    calls: int
    shape: tuple[int, ...] = ()
    held: Tensor | None = None
    version: int = 0
    sample: Tensor | None = None
    alone: bool = True

    @property
    def overwritten(self) -> bool:
        """Whether the output was changed in place after it was given."""
        return self.held is not None and self.held._version != self.version  # noqa: SLF001 - the only way to know

    def values(self) -> tuple[Tensor | None, bool]:
        """Return the output, or what is left of it, and whether that is all of it."""
        if self.held is not None and not self.overwritten:
            return self.held, True
        return self.sample, self.sample is not None and len(self.sample) == prod(self.shape)


@dataclass(frozen=True)
class Gradient:
    """A parameter's gradient as the update used it: its L2 norm, and itself as long as nobody writes into it."""

    norm: Tensor
    held: Tensor
    version: int

    def values(self) -> Tensor | None:
        """Return the gradient, or None if it was overwritten."""
        unchanged = self.held.is_sparse or self.held._version == self.version  # noqa: SLF001 - as above
        return self.held if unchanged else None


class ModelCapture:
    """What one step did in all of a model; used in the training thread only.

    Attributes:
        progress: how far the step has come, if it is looked at before it is complete.
        outputs: by the module's name; "" is the model itself.
        grads: by the parameter's name, as the first update of the step that had them used them.
        updates: how often each optimizer has updated in the step, by its identity.
        before: each trainable parameter when the step began, by its name.
        captured: the step was captured from its start.
        hooks_do_not_fire: the model is known to run inside something compiled.
    """

    MEASURED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "captures": ("begin_step", "end_step", "forget_step", "_keep_output", "_keep_grads", "_count_update")
    }

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = progress or Progress()
        self.outputs: dict[str, Output] = {}
        self.grads: dict[str, Gradient] = {}
        self.updates: dict[int, int] = {}
        self.before: dict[str, Tensor] = {}
        self.captured = False
        self.hooks_do_not_fire = False
        self._has_compiled = False  # a part of the model is, as far as one can see without a step
        self._names: dict[int, str] = {}
        self._parameters: dict[int, str] = {}
        self._handles: list[RemovableHandle | Handle] = []
        self._held = 0
        self._last: tuple[Any, int | None, Output] | None = None
        self._samples = False  # something in this model overwrites outputs

    def begin_step(self, model: nn.Module | None) -> None:
        """The step ahead is captured; the memory of a step that was captured just before is taken up again."""
        spare = self.before
        self.forget_step()
        if model is None:
            return
        from torch.nn.modules.module import register_module_forward_hook

        modules, weights = dict(model.named_modules()), dict(model.named_parameters())
        self.captured = True
        self._has_compiled = self.hooks_do_not_fire or any(map(is_compiled, modules.values()))
        self._samples |= any(getattr(module, "inplace", False) for module in modules.values())
        self._names = {id(module): name for name, module in modules.items()}
        self._parameters = {id(weight): name for name, weight in weights.items()}
        self.before = {name: _copied(weight, spare.get(name)) for name, weight in weights.items() if _moves(weight)}
        self._handles = [
            before_updates(self._keep_grads),
            before_updates(self._count_update),  # after it the step may stop before whoever was put on first is called
        ]
        if not self._has_compiled:  # torch warns of global hooks around compiled modules
            self._handles.append(register_module_forward_hook(self._keep_output))

    @property
    def capturing(self) -> bool:
        """Whether a step is being captured."""
        return bool(self._handles)

    @property
    def has_begun(self) -> bool:
        """Whether anything was done in the step that is captured: a pass through a module, or an update."""
        return bool(self.outputs or self.grads or self.updates)

    @property
    def compiled(self) -> bool:
        """Whether a part of the model is compiled, or called by what is: what its modules give is not seen."""
        return self._has_compiled or self.is_called_in_compiled

    @property
    def is_called_in_compiled(self) -> bool:
        """Whether the step is complete without a call that hooks have seen: what the script has compiled calls it."""
        unseen = self.captured and not (self._has_compiled or self.outputs) and self.progress.complete
        return unseen and bool(self.grads) and count_compiled() > 0

    def end_step(self) -> None:
        """The step is over: take the hooks off."""
        self._last = None  # it holds the graph
        self._samples |= any(output.overwritten for output in self.outputs.values())
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def forget_step(self) -> None:
        """What was captured belongs to a step that is over."""
        if not self.captured:
            return
        self.end_step()
        self.outputs, self.grads, self.updates, self.before = {}, {}, {}, {}
        self.captured, self._held = False, 0

    def of_layer(self, module: nn.Module) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return a layer's weight before the step, its gradient and its output, each None if it is not all there."""
        name = self._parameters.get(id(module.weight))
        before = self.before.get(name) if name is not None else None
        grad = self.grads[name].values() if name in self.grads else None
        given = self.outputs.get(self._names.get(id(module), ""))
        values, is_whole = given.values() if given is not None else (None, False)
        output = values.reshape(given.shape) if given is not None and values is not None and is_whole else None
        return before, grad, output

    def _keep_output(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        if is_being_compiled():
            return
        import torch

        name = self._names.get(id(module))
        # Without gradients it is no training; inside a backward pass a checkpointed part is computed once more.
        if name is None or at_the_prompt() or not torch.is_grad_enabled() or inside_backward():
            return
        before = self.outputs.get(name)
        calls = 1 if before is None else before.calls + 1
        version = getattr(output, "_version", None)
        if self._last is not None and output is self._last[0] and version == self._last[1]:
            self.outputs[name] = replace(self._last[2], calls=calls)  # a container gives what the last inside it gave
            return
        tensor = next((found for _, found in tensors_in(output) if _is_real(found)), None)
        kept = self.outputs[name] = Output(calls, alone=output is tensor)
        if tensor is not None:
            self._keep(kept, tensor.detach())
        self._last = (output, version, kept)

    def _keep(self, kept: Output, tensor: Tensor) -> None:
        count, size = tensor.numel(), tensor.numel() * tensor.itemsize
        kept.shape = tuple(tensor.shape)
        fits = self._held + size <= MOST_HELD
        if count > SAMPLE and fits:
            kept.held, kept.version = tensor, tensor._version  # noqa: SLF001 - it tells whether it was overwritten
            self._held += size
        if count <= SAMPLE or self._samples or not fits:
            kept.sample = tensor.flatten()[:: max(1, -(-count // SAMPLE))].clone()

    def _keep_grads(self, optimizer: Any) -> None:
        # Loops that clear gradients right after the update leave none for the boundary.
        import torch

        if at_the_prompt():
            return
        found = {}
        for weight in parameters_of([optimizer]):
            name = self._parameters.get(id(weight))
            if name is not None and weight.grad is not None and name not in self.grads:
                found[name] = weight.grad.detach()
        norms = torch._foreach_norm([dense_values(grad) for grad in found.values()]) if found else []  # noqa: SLF001 - as clip_grad_norm_ does
        for (name, grad), norm in zip(found.items(), norms, strict=True):
            version = 0 if grad.is_sparse else grad._version  # noqa: SLF001 - as above
            self.grads[name] = Gradient(norm, grad, version)

    def _count_update(self, optimizer: Any) -> None:
        if not at_the_prompt():
            self.updates[id(optimizer)] = self.updates.get(id(optimizer), 0) + 1


def class_of(module: nn.Module) -> str:
    """Return the name of a module's class, before it was scripted."""
    import torch

    scripted = isinstance(module, torch.jit.ScriptModule)
    return str(module.original_name) if scripted else type(module).__name__


def is_compiled(module: nn.Module) -> bool:
    """Return whether a module was compiled, by torch.compile or torch.jit: hooks put on later do not fire inside."""
    import torch

    if isinstance(module, torch.jit.ScriptModule):
        return True
    return type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None


def dense_values(tensor: Tensor) -> Tensor:
    """Return the entries of a tensor; of a sparse one those that are there."""
    return tensor.coalesce().values() if tensor.is_sparse else tensor


def _copied(weight: Tensor, spare: Tensor | None) -> Tensor:
    """Return a copy of a weight, in memory that nobody needs any more if that has its form."""
    now = weight.detach()
    if spare is None or (spare.shape, spare.dtype, spare.device) != (now.shape, now.dtype, now.device):
        return now.clone()
    alike = spare.layout == now.layout and not now.is_sparse and spare.stride() == now.stride()
    return spare.copy_(now) if alike else now.clone()


def _moves(weight: Tensor) -> bool:
    import torch

    return weight.requires_grad and not torch.nn.parameter.is_lazy(weight)


def _is_real(value: Any) -> bool:
    return is_tensor(value) and value.is_floating_point() and value.numel() > 0 and not is_transformed(value)
