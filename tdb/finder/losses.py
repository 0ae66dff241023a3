"""What was differentiated in a step, under the names that its author gave it, without the gradient scaler's factor.

The objective of an update is the sum of the roots of all backward passes since the update before: several losses, or
the parts of one that is accumulated over small batches. Where the script calls one of several `loss`, it is that one:
the others may be for something else, as the losses of an attack on the inputs. An optimizer with a closure may evaluate
its objective many times in one update: the first time counts, as in what its `step` returns.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Callable, Sequence
from itertools import islice
from types import CodeType, FrameType
from typing import Any

from tdb.captures import is_tensor
from tdb.variables import variables_of

UNNAMED = "loss"
# Methods that change a loss in scale, shape or place, and leave it the loss that it is.
SAME_LOSS = frozenset({"scale", "mean", "sum", "squeeze", "to", "float", "cpu", "cuda", "contiguous", "clone"})


class Losses:
    """The losses of the step under way, by name and by update."""

    def __init__(self) -> None:
        self._of_update: dict[str, Any] = {}
        self._of_step: dict[str, Any] = {}
        self._objective: Any = None
        self._scaled: tuple[Any, Any, str] | None = None
        self._names: dict[tuple[CodeType, int], list[str]] = {}
        self._is_known = False  # the update under way evaluates anew what is known already

    def scaled(self, loss: Any, scaled: Any, frame: FrameType | None) -> None:
        """A gradient scaler has made `scaled` of a loss."""
        if is_tensor(loss):
            self._scaled = scaled, loss.detach(), self._names_at(frame)[0]

    def add(self, roots: Any, gradients: Any, frame: FrameType | None, *, is_anew: Callable[[], bool]) -> None:
        """A backward pass begins.

        Args:
            roots: what is differentiated.
            gradients: the factors of the roots, if any were given.
            frame: the user's, in which it begins.
            is_anew: whether it evaluates anew what was differentiated since the update before.
        """
        if self._of_update and (self._is_known or is_anew()):
            self._is_known = True
            return
        names = self._names_at(frame)
        if is_tensor(roots) and not isinstance(gradients, Sequence):
            self._add(roots, gradients, names[0])
            return
        tensors = [roots] if is_tensor(roots) else list(roots)
        factors = list(gradients) if isinstance(gradients, Sequence) else [gradients] * len(tensors)
        if len(names) != len(tensors):
            names = (
                names[:1] if len(tensors) == 1 else [f"{names[0] or UNNAMED}_{n}" for n in range(1, len(tensors) + 1)]
            )
        for root, factor, name in zip(tensors, factors, names, strict=True):
            self._add(root, factor, name)

    def _add(self, root: Any, factor: Any, name: str) -> None:
        if self._scaled is not None and root is self._scaled[0]:
            _, root, original = self._scaled
            name = original or name
        self._scaled = None
        value = value_of(root, factor)
        if value is None:
            return
        self._of_update[name] = self._of_update[name] + value if name in self._of_update else value

    def add_noted(self, code: CodeType, instruction: int, value: Any) -> None:
        """Take in what was differentiated at a place where something was before."""
        self._of_update[self._names[code, instruction][0]] = value

    def fall_back_on(self, others: Losses) -> None:
        """Take the losses of others in if there are none here."""
        if not self._of_update:
            self._of_update, others._of_update = others._of_update, {}

    def update(self) -> None:
        """An update has been made of these gradients."""
        found = self._of_update
        if self._objective is None and found:
            self._objective = found[UNNAMED] if UNNAMED in found else sum(found.values())
        for name in sorted(found, key=lambda name: not name):  # without a name last: it may well be taken
            wanted = name or UNNAMED
            free, number = wanted, 1
            while free in self._of_step:
                number += 1
                free = f"{wanted}_{number}"
            self._of_step[free] = found[name]
        self._of_update, self._is_known = {}, False

    def so_far(self) -> dict[str, Any]:
        """Return the losses by name that there are of the step; `take` returns them, too, when it is complete."""
        return self._of_step | {name or UNNAMED: loss for name, loss in self._of_update.items()}

    def only_name(self) -> str:
        """Return the name of the loss, if all that was differentiated so far had the same; otherwise nothing."""
        names = {name for names in self._names.values() for name in names}
        return names.pop() if len(names) == 1 else ""

    def take(self) -> tuple[Any, dict[str, Any]]:
        """Return the objective of the step's first update, and all losses by name; begin anew."""
        if self._of_update:
            self.update()
        taken = self._objective, self._of_step
        self._objective, self._of_step = None, {}
        return taken

    def _names_at(self, frame: FrameType | None) -> list[str]:
        if frame is None:
            return [""]
        key = frame.f_code, frame.f_lasti
        names = self._names.get(key)
        if names is None:
            names = self._names[key] = names_in_call(frame) or [""]
        return names


def value_of(root: Any, factor: Any) -> Any:
    """Return a root as a number, or as a tensor on its device: nobody shall wait for that now."""
    count = root.numel() if is_tensor(root) else 0
    if count == 0:
        return None
    if count > 1:
        root = root.detach()
        root = (root * factor.detach()).sum() if is_tensor(factor) else root.sum()
    return root.item() if root.is_cpu else root.detach().clone()


def names_in_call(frame: FrameType) -> list[str]:
    """Return what the roots of the backward pass that a frame calls are named in its source; empty if unknown.

    One that has no name is "".
    """
    call = _call_in(frame)
    if call is None:
        return []
    subjects: list[ast.expr] = []
    function = call.func
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if called == "backward" and isinstance(function, ast.Attribute) and _is_tensor_in(function.value, frame):
        subjects = [function.value]
    elif called in ("backward", "scale", "manual_backward", "grad"):
        given = [*call.args[:1], *(word.value for word in call.keywords if word.arg in ("tensors", "outputs"))]
        first = given[0] if given else ast.Constant(None)
        subjects = first.elts if isinstance(first, ast.List | ast.Tuple) else [first]
    return [_name(subject) for subject in subjects]


def _is_tensor_in(subject: ast.expr, frame: FrameType) -> bool:
    """Return whether an expression is a tensor, as far as that can be said without evaluating it."""
    if isinstance(subject, ast.Name):
        value = _variable(frame, subject.id)
        return is_tensor(value) or value is None
    if isinstance(subject, ast.Attribute) and isinstance(subject.value, ast.Name):
        owner = _variable(frame, subject.value.id)
        value = getattr(owner, "__dict__", {}).get(subject.attr)
        return value is None or is_tensor(value)
    return True


def _variable(frame: FrameType, name: str) -> Any:
    return variables_of(frame).get(name, frame.f_globals.get(name))


def _name(subject: ast.expr) -> str:
    """Return the variable that an expression is about."""
    match subject:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str() as name)) if name.isidentifier():
            return name
        case ast.Subscript(value=value, slice=ast.Constant(value=int() as number)):
            return f"{_name(value)}_{number}"
        case ast.Subscript(value=value):
            return _name(value)
        case ast.Call(func=ast.Attribute(attr="scale"), args=[first, *_]):
            return _name(first)
        case ast.Call(func=ast.Attribute(value=value, attr=method)) if method in SAME_LOSS:
            return _name(value)
        case ast.BinOp(left=left, op=ast.Div() | ast.Mult(), right=right):
            return _name(left) or _name(right)
        case ast.UnaryOp(operand=operand):
            return _name(operand)
    return ""


def _call_in(frame: FrameType) -> ast.Call | None:
    """Return the call that a frame is in, as it stands in the source."""
    where = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), (None,) * 4)
    first, last, begin, end = where
    if first is None or last is None or begin is None or end is None:
        return None
    lines = [linecache.getline(frame.f_code.co_filename, n, frame.f_globals) for n in range(first, last + 1)]
    encoded = [line.encode() for line in lines]
    encoded[-1] = encoded[-1][:end]
    encoded[0] = encoded[0][begin:]
    try:
        expression = ast.parse(b"(" + b"".join(encoded) + b")", mode="eval").body
    except SyntaxError:
        return None
    return expression if isinstance(expression, ast.Call) else None
