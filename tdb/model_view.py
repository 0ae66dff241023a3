"""A model as a tree of modules, with what the last step did in each: the first look at an unknown model."""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tdb.counted import counted
from tdb.model_capture import ModelCapture, Output, class_of, dense_values

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST_EXACT = 2**20
"""Entries of an output beyond which mean, std and zeros are those of an evenly spaced part of it."""


@dataclass
class ModuleRow:
    """A module in one step. None is what the step could not tell; norms are over the module and all inside it.

    Attributes:
        path: its name in the model; "" is the model itself.
        kind: its class.
        depth: how many modules it lies in.
        children: how many modules lie directly in it.
        parameters: how many numbers its parameters have; shared ones count once.
        weight_norm: L2 norm of its parameters.
        grad_norm: L2 norm of their gradient, as the update used it.
        update_ratio: L2 norm of the step's change of the trainable ones, relative to their norm before.
        mean: of its output in the last call of the step, over all entries.
        std: of the same.
        zeros: the share of zeros among them.
        calls: how many times it was called in the step.
        exact: the three are about the whole output, not only an evenly spaced part of it.
        problems: what is wrong here.
        remarks: what is only good to know.
    """

    path: str
    kind: str
    depth: int
    children: int
    parameters: int = 0
    weight_norm: float | None = None
    grad_norm: float | None = None
    update_ratio: float | None = None
    mean: float | None = None
    std: float | None = None
    zeros: float | None = None
    calls: int | None = None
    exact: bool = True
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Weight:
    """A parameter's squared norms, which add up over a module; None is what the step could not tell."""

    size: int
    trainable: bool
    weight: float
    grad: float | None
    moved: float | None
    before: float | None


def model_rows(model: nn.Module, capture: ModelCapture) -> list[ModuleRow]:
    """Return a row for each module, each before those inside it; called in the training thread.

    Args:
        model: the model.
        capture: what was captured of the step; without that, what can be had at any boundary.
    """
    names = {id(weight): name for name, weight in model.named_parameters()}
    weights = {name: _weight(name, weight, capture) for name, weight in model.named_parameters()}
    sees_outputs = capture.captured and not capture.compiled
    rows = []
    for path, module in model.named_modules():
        row = ModuleRow(path, class_of(module), path.count(".") + bool(path), len(list(module.children())))
        inside = {names[id(weight)] for weight in module.parameters()}
        own = {name: weights[names[id(weight)]] for name, weight in module.named_parameters(recurse=False)}
        _fill_weights(row, [weights[name] for name in inside])
        row.problems += _not_finite_in(own.values())
        if capture.captured and capture.progress.has_gradients and not row.problems:
            row.problems += _without_gradient(own)
        if sees_outputs:
            used = any(weight.grad is not None for weight in own.values())  # attention uses its projection's weight
            expected = capture.progress.complete and _computes(module) and not used
            _fill_output(row, capture.outputs.get(path), expected=expected)
        row.remarks += _remarks(path, module, names, own.values(), training=model.training)
        rows.append(row)
    return rows


def _weight(name: str, weight: Tensor, capture: ModelCapture) -> _Weight:
    import torch

    if torch.nn.parameter.is_lazy(weight):
        return _Weight(0, weight.requires_grad, 0.0, None, None, None)

    def square(tensor: Tensor) -> float:
        return float(torch.linalg.vector_norm(tensor)) ** 2

    now, before = weight.detach(), capture.before.get(name)
    if before is not None and before.shape != now.shape:  # it has been replaced in this step
        before = None
    grad = None
    if name in capture.grads:
        grad = float(capture.grads[name].norm) ** 2
    elif weight.grad is not None and capture.progress.has_gradients:
        grad = square(dense_values(weight.grad.detach()))
    moved = square(now - before) if before is not None and capture.progress.has_update else None
    old = square(before) if before is not None else None
    return _Weight(weight.numel(), weight.requires_grad, square(now), grad, moved, old)


def _fill_weights(row: ModuleRow, weights: Sequence[_Weight]) -> None:
    if not weights:
        return
    row.parameters = sum(weight.size for weight in weights)
    row.weight_norm = math.sqrt(sum(weight.weight for weight in weights))
    grads = [weight.grad for weight in weights if weight.grad is not None]
    if grads:
        row.grad_norm = math.sqrt(sum(grads))
    moved = [(weight.moved, weight.before) for weight in weights if weight.moved is not None]
    before = sum(old for _, old in moved if old is not None)
    if moved and before:
        row.update_ratio = math.sqrt(sum(change for change, _ in moved) / before)


def _not_finite_in(own: Collection[_Weight]) -> Iterator[str]:
    for what, squares in (("weights", [each.weight for each in own]), ("gradients", [each.grad for each in own])):
        wrong = [square for square in squares if square is not None and not math.isfinite(square)]
        if wrong:
            yield f"{'NaN' if any(map(math.isnan, wrong)) else 'inf'} in its {what}"


def _without_gradient(own: Mapping[str, _Weight]) -> list[str]:
    missing = [name for name, weight in own.items() if weight.trainable and weight.grad is None and weight.size]
    return [f"no gradient for {' and '.join(missing)}"] if missing else []


def _fill_output(row: ModuleRow, output: Output | None, *, expected: bool) -> None:
    import torch

    if output is None:
        row.calls = 0
        if expected:
            row.remarks.append("not called in this step")
        return
    row.calls = output.calls
    if output.calls > 1:
        row.remarks.append(f"called {counted(output.calls, 'time')}: the output is that of the last")
    values, row.exact = output.values()
    if values is None:
        if output.overwritten:
            row.remarks.append("its output was overwritten in place: from the next step on there is a part of it")
        return
    wrong = _not_finite(values)
    if values.numel() > MOST_EXACT:
        values, row.exact = values.flatten()[:: -(-values.numel() // MOST_EXACT)], False
    values = values.float()
    row.zeros = float((values == 0).sum()) / values.numel()
    deviation, mean = torch.std_mean(values, correction=0)
    row.mean, row.std = float(mean), float(deviation)
    if wrong:
        row.problems.append(f"{wrong} of its output")
    elif row.zeros == 1 and row.children == 0:
        row.problems.append("its output is all zeros")


def _not_finite(values: Tensor) -> str:
    """Return "NaN in 3, inf in 1 of 512 entries", "NaN in all", or nothing; a finite sum needs no closer look."""
    import torch

    if math.isfinite(float(values.sum(dtype=torch.float64 if values.is_cpu else torch.float32))):
        return ""
    counts = {"NaN": int(values.isnan().sum()), "inf": int(values.isinf().sum())}
    if counts["NaN"] == values.numel():
        return "NaN in all"
    found = ", ".join(f"{word} in {count:,}" for word, count in counts.items() if count)
    return f"{found} of {counted(values.numel(), 'entry', 'entries')}" if found else ""


def _computes(module: nn.Module) -> bool:
    """Return whether a module is there to be called: a list of modules is not."""
    import torch

    # Of a scripted module the class has something in its place that cannot be asked without an instance.
    return inspect.getattr_static(type(module), "forward") is not torch.nn.Module.forward


def _remarks(
    path: str, module: nn.Module, names: Mapping[int, str], weights: Collection[_Weight], *, training: bool
) -> Iterator[str]:
    own = list(module.named_parameters(recurse=False))
    if own and not any(weight.trainable or weight.moved for weight in weights):  # a GAN's may be so in turns
        yield "frozen"
    for name, weight in own:
        full = f"{path}.{name}" if path else name
        if names[id(weight)] != full:
            yield f"{name} is {names[id(weight)]}"
    has_state = bool(own) or next(module.buffers(recurse=False), None) is not None
    if training and not module.training and has_state:
        yield "in evaluation mode"
