"""What was seen of the step under way: what was drawn, and what was differentiated."""

from __future__ import annotations

from types import FrameType
from typing import Any

from tdb.finder.batches import Batches
from tdb.finder.losses import Losses
from tdb.finder.steady import Line, Noted, line_of
from tdb.finder.updates import evaluates_anew, updates_around
from tdb.frames import user_frame


class Seen:
    """What is known of a step before it is complete.

    Attributes:
        batches: what was drawn, and which of it the step is taken on.
        is_pending: something has happened that is going to be a step.
        line: where the step's backward pass began, if it was plain and the only one.
    """

    def __init__(self) -> None:
        self.batches = Batches()
        self.is_pending = False
        self.line: Line | None = None
        self._losses = Losses()
        self._graded = Losses()  # of gradients that were not added up in the parameters
        self._is_scaled = False  # a gradient scaler has its part in the step

    def scaled(self, loss: Any, scaled: Any) -> None:
        """A gradient scaler has made `scaled` of a loss."""
        self._losses.scaled(loss, scaled, user_frame())
        self._is_scaled = True

    def differentiating(self, roots: Any, gradients: Any, told: FrameType) -> None:
        """A backward pass begins; `told` is the frame of who tells of it, or asks `Steady` in its place."""
        self.batches.use()
        updates, user = updates_around(told), user_frame()
        self._losses.add(roots, gradients, user, is_anew=lambda: evaluates_anew(updates))
        alone = not (self.is_pending or updates or self._is_scaled) and gradients is None
        self.line = line_of(user, told) if alone else None

    def differentiated(self) -> None:
        """The backward pass is done."""
        self.is_pending = True

    def graded(self, outputs: Any, factors: Any) -> None:
        """Gradients are computed for the script itself: they count as the step's if it has no others."""
        self._graded.take()  # in a mode of torch's the same call comes twice
        self._graded.add(outputs, factors, user_frame(), is_anew=lambda: False)

    def updated(self) -> None:
        """An update was made of the gradients so far."""
        self.is_pending = True
        if self.batches.batch is None:  # no backward pass was seen: torch.autograd.grad, torch.func
            self.batches.use()
        self._losses.fall_back_on(self._graded)
        self._losses.update()

    def take_in(self, noted: Noted) -> None:
        """Take in what was noted of the step the short way."""
        batches = self.batches
        if noted.inputs is not None:
            batches.called(*noted.inputs)
        if noted.line is not None:
            if noted.used is not None:
                batches.drawn(noted.used)
            batches.use()
            self._losses.add_noted(noted.line.code, noted.line.instruction, noted.loss)
            self.line, self.is_pending = noted.line, True
        if noted.drawn is not None:
            batches.drawn(noted.drawn)

    def take_losses(self) -> tuple[Any, dict[str, Any]]:
        """Return the objective of the step's first update, and all its losses by name; they are not kept here."""
        taken = self._losses.take()
        self._graded.take()
        return taken

    def losses_so_far(self) -> dict[str, Any]:
        """Return the losses of the step under way by name, as far as there are any; they stay."""
        return self._losses.so_far()

    def loss_name(self) -> str:
        """Return what the script calls its loss; nothing if it has several, or none with a name."""
        return self._losses.only_name()

    def end_step(self) -> None:
        """The step is complete, and was handed over."""
        self.batches.end_step()
        self.line = None
        self.is_pending = self._is_scaled = False
