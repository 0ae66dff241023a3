"""Stops inside a step: batch -> forward -> loss -> backward -> update -> boundary.

    batch       before a pass through the model: its input is there, and nothing was computed of it
    forward     after it: its output is there
    loss        before a pass backward: the loss is there
    backward    after it: gradients are there, and can be changed before they are used
    update      after an optimizer has updated
    boundary    the step is complete: the stop that `step` makes

A step may have several of each. They are seen by global hooks on modules, optimizers and backward passes. All are put
on for one step, when somebody has asked, and taken off at its end; hooks on the modules themselves would be saved and
copied with them.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tdb.autograd import inside_backward, is_being_compiled, out_of_transforms
from tdb.backward_calls import around_backward
from tdb.captures import given
from tdb.handle import Handle
from tdb.jobs import at_the_prompt
from tdb.loss_scaling import after_scaling
from tdb.model_capture import is_compiled
from tdb.step import BOUNDARY, Progress
from tdb.target import model_of, optimizers_of, trained_parameters
from tdb.update_hooks import after_updates, before_updates

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.hooks import RemovableHandle

BACKWARD = "backward"
PHASES = ("batch", "forward", "loss", BACKWARD, "update", BOUNDARY)

Hold = Callable[[str, Any, Any], None]
"""Called with the phase in words, the input of the pass under way or None, and the loss or None."""


class Phases:
    """Which phase of the step under way training is to stop at, and the hooks that see them.

    Args:
        progress: is told how far the step has come.
        hold: lets training wait; called in the training thread.
    """

    def __init__(self, progress: Progress, hold: Hold) -> None:
        self._progress = progress
        self._hold = hold
        self._count = 0  # how many phases from here training is to stop; 0 if nobody has asked
        self._name = ""  # or at which phase
        self._boundaries = 0  # how many boundaries may be passed until then
        self._seen: Counter[str] = Counter()
        self._totals: Counter[str] = Counter()  # of the last whole step that was seen
        self._thread = 0
        self._model: nn.Module | None = None
        self._trained: set[int] = set()
        self._passing: list[nn.Module] = []  # passes through a module that is trained, the outermost first
        self._updating = 0
        self._input: Any = None
        self._loss: Any = None
        self._scaled: tuple[Any, Any] | None = None  # what a gradient scaler has made of a loss, and that loss
        self._handles: list[Handle | RemovableHandle] = []

    # ---- what was asked for: at a stop -----------------------------------------------------------------------------

    def ask(self, count: int = 1, name: str = "") -> None:
        """Stop `count` phases from here, or at the next phase of a name in this step or the one after it."""
        self._count, self._name, self._boundaries = (0, name, 2) if name else (count, "", count)

    def give_up(self) -> None:
        """Stop at no phase: training has stopped for another reason, or is to run on."""
        self._count, self._name = 0, ""

    @property
    def asked(self) -> bool:
        """Whether training is to stop at a phase."""
        return bool(self._count or self._name)

    def passes_boundary(self) -> bool:
        """A step is complete: return whether training is to go on to a phase of the next one."""
        if not self.asked:
            return False
        passed = self._boundaries > 1 and not self._is_due(BOUNDARY)
        self._boundaries -= 1
        if not passed:
            self.give_up()
        return passed

    def _is_due(self, phase: str) -> bool:
        if self._name:
            return phase == self._name
        if self._count:
            self._count -= 1
            return self._count == 0
        return False

    # ---- the step under way: the training thread -------------------------------------------------------------------

    def begin_step(self, target: Any, *, sees_passes: bool) -> None:
        """Put on the hooks, if somebody has asked for a phase of the step ahead.

        Args:
            target: what is trained.
            sees_passes: hooks on modules fire; otherwise they would only make torch compile anew what calls them.
        """
        self.end_step()
        self._seen.clear()
        model, optimizers = model_of(target), optimizers_of(target)
        if not self.asked or (model is None and not optimizers):
            return
        import torch
        from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

        self._thread, self._model, self._passing, self._updating = threading.get_ident(), model, [], 0
        self._trained = set(map(id, trained_parameters(target)))
        self._progress.begin(PHASES[0])
        self._handles = [
            before_updates(self._before_update),
            after_updates(self._after_update),
            around_backward(self._before_backward, self._after_backward),
            after_scaling(self._after_scaling),
        ]
        scripted = isinstance(model, torch.jit.ScriptModule)  # takes no hooks, and calls global ones
        if model is not None and not scripted and any(map(is_compiled, model.modules())):
            # torch warns of global hooks around those.
            self._handles.append(model.register_forward_pre_hook(self._before_forward))
            self._handles.append(model.register_forward_hook(self._after_forward, always_call=True))
        elif sees_passes:
            self._handles.append(register_module_forward_pre_hook(self._before_forward))
            self._handles.append(register_module_forward_hook(self._after_forward, always_call=True))

    def end_step(self, *, whole: bool = False) -> None:
        """Take the hooks off: the step is over, complete if it is `whole`."""
        if whole and self._handles:
            self._totals = Counter(self._seen)
        for handle in self._handles:
            handle.remove()
        self._handles, self._passing = [], []
        self._input = self._loss = self._scaled = None
        self._progress.begin(BOUNDARY)

    def _reach(self, phase: str, about: str = "") -> None:
        """The step has come to a phase: stop there if that was asked for."""
        self._seen[phase] += 1
        self._progress.phase = self._in_words(phase, about)
        if not self._is_due(phase):
            return
        self.give_up()
        try:
            self._hold(self._progress.phase, self._input, self._loss)
        except BaseException:  # training was told to end
            self.end_step()
            raise

    def _in_words(self, phase: str, about: str) -> str:
        """Return "forward", or "forward 2 of 4" if there are several, with what it is about if that is not plain."""
        number, total = self._seen[phase], self._totals[phase]
        which = f" {number} of {total}" if total > 1 and number <= total else f" {number}" if number > 1 else ""
        return f"{phase}{which}{f' ({about})' if about else ''}"

    def _listens(self) -> bool:
        return bool(self._handles) and not at_the_prompt() and threading.get_ident() == self._thread

    def _trains(self, module: nn.Module) -> bool:
        return any(id(weight) in self._trained for weight in module.parameters())

    def _about(self, module: nn.Module) -> str:
        """Return the name of a module that is not the whole model."""
        if module is self._model:
            return ""
        named = self._model.named_modules() if self._model is not None else ()
        return next((name for name, each in named if each is module), type(module).__name__)

    # ---- hooks -----------------------------------------------------------------------------------------------------

    def _before_forward(self, module: nn.Module, inputs: Any) -> None:
        if is_being_compiled():
            return
        import torch

        if not self._listens() or not torch.is_grad_enabled() or inside_backward():
            return
        if self._passing:
            if module is self._passing[0]:
                self._passing.append(module)
        elif self._trains(module):
            self._passing.append(module)
            # torch hands no keywords to a global hook: they are in the frame that calls it.
            keywords = sys._getframe(1).f_locals.get("kwargs")  # noqa: SLF001 - what a debugger reads
            self._input = out_of_transforms(given(inputs, keywords or {}))
            self._reach("batch", self._about(module))

    def _after_forward(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        if is_being_compiled() or not (self._listens() and self._passing and module is self._passing[-1]):
            return
        self._passing.pop()
        if not self._passing and output is not None:  # None: it was left by an exception
            self._progress.forwards += 1
            self._reach("forward", self._about(module))

    def _before_backward(self, roots: Any, gradients: Any) -> bool:
        del gradients
        if not self._listens() or inside_backward():
            return False
        scaled, loss = self._scaled or (None, None)
        self._loss = loss if roots is scaled else roots
        self._reach("loss")
        return self._listens()

    def _after_backward(self) -> None:
        if self._listens():
            self._progress.backwards += 1
            self._reach(BACKWARD)

    def _after_scaling(self, loss: Any, scaled: Any) -> None:
        if self._listens():
            self._scaled = scaled, loss

    def _before_update(self, _optimizer: Any) -> None:
        if self._listens():
            self._updating += 1
            self._progress.updating = True

    def _after_update(self, optimizer: Any) -> None:
        if not self._listens():
            return
        self._updating -= 1
        if self._updating == 0:  # an optimizer may wrap another one
            self._progress.updates += 1
            self._progress.updating = False
            self._reach("update", type(optimizer).__name__ if self._totals["update"] > 1 else "")
