"""Looks on at a script that says itself where its steps end, but not what it trains: that is found for it.

The three-line loop (`tdb.active_controller()`, `capture_batch`, `wait_if_paused`) names no model. Steps are none of the
onlooker's business, so that none is counted twice.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from tdb.active import current_controller
from tdb.errors import in_words
from tdb.finder.discovery import tell_if_compiled
from tdb.finder.events import Events, Listener
from tdb.target import Training

if TYPE_CHECKING:
    from tdb.controller import DebugController
    from tdb.finder.discovery import Discovery


class Onlooker(Listener):
    """Tells the controller what is trained when a loop begins to train it, unless the script says it.

    Args:
        controller: the loop's.
        discovery: what the script has built so far.
    """

    def __init__(self, controller: DebugController, discovery: Discovery) -> None:
        self._controller = controller
        self._discovery = discovery
        self._events = Events(self)
        self._found: Training | None = None
        self._busy = False

    def put_on(self) -> None:
        """Look on from now on; torch is there."""
        self._events.look_on()
        if self._discovery.optimizers.fresh:
            self._events.listen_to(self._discovery.first_called())
        else:
            self._events.await_optimizer()

    def take_off(self) -> None:
        """Leave torch as it was."""
        self._events.take_off()

    def built(self, optimizer: Any) -> None:
        """An optimizer was made: a loop over what it trains may follow."""
        if not self._busy and self._is_loop():
            self._discovery.optimizers.add(optimizer)
            self._events.take_off()
            self.put_on()

    def called(self, module: Any, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """One of the outermost modules is called."""
        del module, inputs, keywords
        import torch

        if torch.is_grad_enabled():
            self._look()

    def updating(self, optimizer: Any) -> None:
        """An optimizer is about to make its update."""
        del optimizer
        self._look()

    def _is_loop(self) -> bool:
        thread = self._controller.gate.thread
        return thread in (None, threading.current_thread()) and current_controller() is self._controller

    def _look(self) -> None:
        if self._busy or not self._is_loop():
            return
        self._busy = True
        try:
            if self._is_unknown(self._controller.target):
                found = self._discovery.of_optimizers()
                if found is not None:
                    if found.roots is not None:
                        tell_if_compiled(found.roots, self._controller)
                    self._found = found.training
                    self._controller.discovered(found.training)
        except Exception as error:  # noqa: BLE001 - anything may be met there, and it must not end the script
            self._controller.notify(f"tdb cannot find what this script trains: {in_words(error)}")
        finally:
            self._busy = False
        self._discovery.optimizers.fresh = False
        self._events.await_optimizer()

    def _is_unknown(self, target: Any) -> bool:
        return target is None or target is self._found or (isinstance(target, Training) and target.model is None)
