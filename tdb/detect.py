"""One step under detection: which operation made the first NaN or infinity, in forward, backward or update.

torch's anomaly detection raises where a gradient becomes NaN, and so ends runs that would have gone on. Here only its
records are used, the line of code that made each node of the graph; everything else is looked at from outside:

    forward, update    a function mode sees what goes into each operation of torch, and what comes out
    backward           hooks on the nodes of the graph see the gradients that go in and come out
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from tdb.anomaly import Anomaly, entries_of, floats, wrong_in
from tdb.autograd import count_compiled, inside_backward, is_being_compiled, never_compiled
from tdb.captures import has_numbers
from tdb.files import as_shown
from tdb.frames import HERE, is_own, is_torch, place_of
from tdb.function_mode import FunctionMode
from tdb.handle import Handle
from tdb.jobs import at_the_prompt
from tdb.model_capture import is_compiled
from tdb.patches import Patches, passed_over
from tdb.update_hooks import after_updates, before_updates

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

MEANT = ("fill", "full", "where", "tensor", "triu", "tril")
"""Parts of the names of operations whose infinities somebody has asked for, as for the mask of an attention."""

UNDEFINED = ("empty", "__get__", "__set__", "__setitem__")
"""Parts of the names of operations that compute nothing: memory with anything in it, attributes."""

PARTLY_COMPILED = "a part of the script is compiled"
"""It computes without the mode that `detect` sees operations by, which would make torch compile it anew."""

_LINE = re.compile(r'\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)\n\s*(?P<source>.*)')


@dataclass(frozen=True)
class _Made:
    """What made a node of the graph."""

    operation: str
    module: str
    place: str
    source: str


class Detection:
    """Detection in one step; used in the training thread.

    Attributes:
        asked: the step ahead is to run under it.
        anomalies: what the last step under it has shown: the first NaN and the first infinity of each phase.
        blind: why forward and update of that step could not be seen; nothing if they could.
    """

    def __init__(self) -> None:
        self.asked = False
        self.anomalies: list[Anomaly] = []
        self.blind = ""
        self._when = "forward"
        self._modules: list[str] = []
        self._names: dict[int, str] = {}
        self._made: dict[Any, _Made] = {}
        self._handles: list[Handle | RemovableHandle] = []
        self._patches = Patches()
        self._mode: FunctionMode | None = None
        self._meant = False  # somebody has asked for infinities, and may hand them on
        self._recorded: tuple[bool, bool] | None = None
        self._compiled_before = count_compiled()

    def put_on(self, model: nn.Module | None, *, compiled: bool) -> None:
        """Watch the step ahead, if that was asked for.

        Args:
            model: what is trained.
            compiled: it is known to run inside something compiled.
        """
        if not self.asked:
            return
        import torch
        from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

        self.asked, self.anomalies, self._when, self._modules, self._made = False, [], "forward", [], {}
        self._meant, self.blind = False, ""
        self._recorded = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
        if not self._recorded[0]:
            torch.autograd.set_detect_anomaly(True, check_nan=False)
        # Not `around_backward`: that tells of no pass inside another, as of a checkpointed part, nor that one raises.
        self._patches.replace(torch.autograd, "backward", self._around_backward)
        self._handles = [before_updates(self._before_update), after_updates(self._after_update)]
        named = list(model.named_modules()) if model is not None else []
        if compiled or any(is_compiled(module) for _, module in named):
            self.blind = "the model is compiled"  # a mode or hooks around it would make torch compile it anew
        elif self._has_compiled:
            self.blind = PARTLY_COMPILED
        elif model is not None and not all(map(has_numbers, model.parameters())):
            self.blind = "the model's weights are not whole in this process"
        elif inside_backward():
            self.blind = "it begins inside the backward pass of the step before"  # torch takes off what is put on there
        if self.blind:
            return
        self._names = {id(module): name or type(module).__name__ for name, module in named}
        self._handles.append(register_module_forward_pre_hook(self._enter_module))
        self._handles.append(register_module_forward_hook(self._leave_module, always_call=True))
        self._mode = FunctionMode(self._operate)
        self._mode.put_on()

    def take_off(self) -> None:
        """The step is over: leave nothing behind."""
        if self._recorded is None:
            return
        import torch

        if self._has_compiled and not self.blind:  # in this very step
            self.blind = PARTLY_COMPILED
        if self._mode is not None:
            self._mode.take_off()
        if not self._recorded[0]:
            torch.autograd.set_detect_anomaly(*self._recorded)
        for handle in self._handles:
            handle.remove()
        self._patches.take_off()
        self._handles, self._made, self._modules, self._mode, self._recorded = [], {}, [], None, None

    @property
    def _has_compiled(self) -> bool:
        return count_compiled() > self._compiled_before

    # ---- forward and update ----------------------------------------------------------------------------------------

    def _operate(self, function: Callable[..., Any], arguments: tuple[Any, ...], words: dict[str, Any]) -> Any:
        name = getattr(function, "__name__", str(function))
        if at_the_prompt() or any(part in name for part in UNDEFINED):
            return function(*arguments, **words)
        given = [wrong_in(value) for value in (*floats(list(arguments)), *floats(words))]
        result = function(*arguments, **words)
        made = None
        if result is None and name.endswith("_") and arguments:
            result = arguments[0]  # the many tensors that an update changes in place
        for value in floats(result):
            node = _node_of(value)
            if node is not None:
                made = made or self._here(name)
                self._made[node] = made
            self._judge(name, value, given)
        return result

    def _judge(self, name: str, value: Tensor, given: list[str]) -> None:
        what = wrong_in(value)
        if not what or self._knows(what):
            return
        brought = any(given)
        if what == "inf":
            self._meant |= any(part in name for part in MEANT)
            if self._meant and (brought or any(part in name for part in MEANT)):
                return
        made = self._here(name)
        self.anomalies.append(
            Anomaly(what, self._when, name, made.module, made.place, made.source, entries_of(value), brought)
        )

    def _knows(self, what: str) -> bool:
        return any(each.what == what and each.when == self._when for each in self.anomalies)

    def _here(self, name: str) -> _Made:
        frame = sys._getframe(1)  # noqa: SLF001 - the script's line has to be found
        while frame is not None and frame.f_back is not None and (is_own(frame) or is_torch(frame)):
            frame = frame.f_back
        place = place_of(frame)
        return _Made(name, self._modules[-1] if self._modules else "", str(place), place.source)

    def _enter_module(self, module: nn.Module, _inputs: Any) -> None:
        if not is_being_compiled() and not at_the_prompt() and id(module) in self._names:
            self._modules.append(self._names[id(module)])

    def _leave_module(self, module: nn.Module, _inputs: Any, _output: Any) -> None:
        if not is_being_compiled() and not at_the_prompt() and id(module) in self._names and self._modules:
            self._modules.pop()

    def _before_update(self, _optimizer: Any) -> None:
        self._when = "update"

    def _after_update(self, _optimizer: Any) -> None:
        self._when = "forward"

    # ---- backward --------------------------------------------------------------------------------------------------

    def _around_backward(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def backward(tensors: Any, *arguments: Any, **words: Any) -> Any:
            if at_the_prompt():
                return original(tensors, *arguments, **words)
            before, self._when = self._when, "backward"
            handles = [
                node.register_hook(partial(self._differentiated, node, made)) for node, made in self._nodes(tensors)
            ]
            try:
                return original(tensors, *arguments, **words)
            finally:
                for handle in handles:
                    handle.remove()
                self._when = before

        return never_compiled(passed_over(backward))

    def _nodes(self, tensors: Any) -> list[tuple[Any, _Made | None]]:
        """Return the nodes of the graph behind tensors, each with what made it or what it is a part of."""
        found: dict[Any, _Made | None] = {}
        waiting: list[tuple[Any, _Made | None]] = [(value.grad_fn, None) for value in floats(tensors)]
        while waiting:
            node, outer = waiting.pop()
            if node is None or node in found:
                continue
            found[node] = made = self._made.get(node, outer)
            waiting += [(following, made) for following, _ in node.next_functions]
        return [(node, made) for node, made in found.items() if "AccumulateGrad" not in node.name()]

    def _differentiated(self, node: Any, made: _Made | None, given: Any, came: Any) -> None:
        """See what came into a node, and what it has given."""
        for value in floats(list(given)):
            what = wrong_in(value)
            if what and not self._knows(what) and not any(wrong_in(each) for each in floats(list(came))):
                place, source = _recorded_place(node.metadata.get("traceback_") or ())
                module = made.module if made is not None else ""
                name = f"the gradient of {made.operation} ({node.name()})" if made is not None else node.name()
                self.anomalies.append(Anomaly(what, "backward", name, module, place, source, entries_of(value)))


def _node_of(value: Tensor) -> Any:
    """Return the node of the graph that a tensor was made by, if one is being built.

    Of a view that an update makes of a weight, as of complex ones, torch refuses to say.
    """
    import torch

    return value.grad_fn if torch.is_grad_enabled() else None


def _recorded_place(lines: Any) -> tuple[str, str]:
    """Return the innermost line of the script among those that torch has recorded when it made a node."""
    from pathlib import Path

    import torch

    own = str(Path(torch.__file__).parent)
    for match in filter(None, (_LINE.match(line) for line in reversed(list(lines)))):
        if not match["file"].startswith((own, HERE, "<frozen")):
            return f"{as_shown(Path(match['file']))}({match['line']}) {match['function']}", match["source"].strip()
    return "", ""
