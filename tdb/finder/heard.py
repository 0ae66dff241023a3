"""The losses of a loop that says where its steps end, but not what they minimise."""

from __future__ import annotations

import sys
import threading
from typing import Any

from tdb.finder.events import Events, Listener, caller_outside_torch, inside_update
from tdb.finder.losses import Losses


class HeardLosses(Listener):
    """Hears what is differentiated in the thread that has put it on, from then until `take_off`."""

    def __init__(self) -> None:
        self._events = Events(self)
        self._losses = Losses()
        self._thread = 0

    def put_on(self) -> None:
        """Listen from now on."""
        self._thread = threading.get_ident()
        self._events.put_on_losses()

    def take_off(self) -> None:
        """Leave torch as it was."""
        self._events.take_off()

    def take(self) -> tuple[Any, dict[str, Any]]:
        """Return the step's objective, and its losses by their names in the script; begin anew."""
        return self._losses.take()

    def scaled(self, loss: Any, scaled: Any) -> None:
        """A gradient scaler has made `scaled` of a loss."""
        if threading.get_ident() == self._thread:
            self._losses.scaled(loss, scaled, caller_outside_torch())

    def differentiating(self, roots: Any, gradients: Any) -> None:
        """A backward pass begins."""
        if threading.get_ident() == self._thread:
            in_closure = inside_update(sys._getframe()) > 0  # noqa: SLF001 - what a debugger reads
            self._losses.add(roots, gradients, caller_outside_torch(), in_closure=in_closure)
