"""Follows the loop of a script from event to event, and hands over each step that is complete."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tdb.autograd import is_transforming, out_of_transforms
from tdb.finder.by_hand import ByHand
from tdb.finder.discovery import Discovery, Found, tell_if_compiled
from tdb.finder.ends import Ends
from tdb.finder.events import Events, Listener
from tdb.finder.hand_over import HandOver
from tdb.finder.hearing import Hearing
from tdb.finder.seen import Seen
from tdb.finder.steady import Line, Steady, line_of
from tdb.finder.updates import updates_around
from tdb.layer_weight import has_lazy

if TYPE_CHECKING:
    from tdb.controller import DebugController
    from tdb.finder.loop_thread import LoopThread
    from tdb.tap import Fetch, Tap


class Follower(Listener):
    """Listens to torch and to the data, and drives the controller as an explicit loop does.

    Args:
        controller: the loop's.
        tap: tells of batches.
        thread: says whose doing an event is.
        discovery: what the script has built so far.
        notify: tells something once at the prompt.
        give_up: is called with an error of tdb's own, which must not end the script, and ends the following.
    """

    def __init__(
        self,
        controller: DebugController,
        tap: Tap,
        thread: LoopThread,
        discovery: Discovery,
        notify: Callable[[str], None],
        give_up: Callable[[Exception], None],
    ) -> None:
        self._controller = controller
        self._tap = tap
        self._thread = thread
        self._notify = notify
        self._give_up = give_up
        self._discovery = discovery
        self._optimizers = discovery.optimizers
        self._steady = Steady(controller.pass_by, self)
        self._events = Events(self, self._steady)
        self._hearing = Hearing(self._events)
        self._ends = Ends(discovery, self._hearing, notify)
        self._seen = Seen()
        self._batches = self._seen.batches
        self._by_hand = ByHand()
        self._hand_over = HandOver(controller, thread, tap, self._batches)
        self._entered = 0  # the step after which the short way was entered last
        self._has_updated = False
        self._has_lazy = False  # the model has weights that are made when it is called for the first time

    # ---- any thread ------------------------------------------------------------------------------------------------

    def put_on(self) -> None:
        """Listen from now on; torch is there."""
        self._events.put_on()
        if self._has_updated:
            self._events.ignore_clearing()
            self._ignore_updating()
        self._tap.listeners = (*self._tap.listeners, self)
        self._tap.put_on()

    def take_off(self) -> None:
        """Leave torch as it was."""
        self.look_closely()
        self._events.take_off()
        self._tap.listeners = tuple(each for each in self._tap.listeners if each is not self)
        self._tap.take_off()

    def look_closely(self) -> None:
        """Something else may come than in the step before."""
        self._steady.on = False

    def step_on(self, what: str) -> None:
        """Say what a step is: "auto", "tick", "fetch", "backward" or the name of an optimizer."""
        self._ends.choose(what)
        self.look_closely()

    def misfit(self, what: str) -> str:
        """Return why no step of the loop can be what `step_on` would say, or nothing."""
        return self._ends.misfit(what)

    # ---- the script's end ------------------------------------------------------------------------------------------

    def end(self) -> None:
        """The script has come to its end: a step whose end only the next one would have shown is complete.

        Raises:
            TrainingStopped: somebody called `stop`.
        """
        if not self._mine():
            return
        self._controller.loss_name = self._seen.loss_name()
        if self._seen.is_pending and (self._by_hand.update is not None or self._ends.is_fetch):
            self._complete()

    def stands(self) -> None:
        """The script stops itself: hand over what is known of the step under way, if it has begun."""
        if self._mine():
            self._controller.loss_name = self._seen.loss_name()
            self._hand_over.stands(self._seen.losses_so_far())

    def crashed(self) -> None:
        """The script has raised: hand over what the step under way was taken on."""
        if self._mine():
            self._controller.loss_name = self._seen.loss_name()
            loss, _ = self._seen.take_losses()
            self._hand_over.crashed(loss)

    # ---- events ----------------------------------------------------------------------------------------------------

    def built(self, optimizer: Any) -> None:
        """An optimizer was made."""
        if self._thread.is_of_the_script():
            self.look_closely()
            self._optimizers.add(optimizer)
            self._events.await_updating()
            self._safely(self._listen_early)

    def fetching(self, loader: Any, epoch: int, number: int) -> None:
        """A batch is about to be drawn."""
        del epoch, number
        is_loop, seen = self._may_begin(), self._seen
        if is_loop and self._ends.is_fetch and seen.is_pending and self._batches.is_for_training(loader):
            self._complete()

    def fetched(self, fetch: Fetch) -> None:
        """A batch was drawn."""
        if self._may_be_mine():
            self._batches.drawn(fetch)

    def exhausted(self, loader: Any, epoch: int) -> None:
        """A pass over a loader has ended."""
        if self._may_be_mine():
            self._batches.exhausted(loader, epoch)
            if self._batches.is_for_training(loader) and self._ends.pass_ended():
                self._complete()

    def called(self, module: Any, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """One of the outermost modules is called."""
        import torch

        if not torch.is_grad_enabled():
            if self._thread.is_of_the_script():
                self._batches.looked_at(inputs, keywords)
            return
        if is_transforming():
            inputs, keywords = out_of_transforms(inputs), out_of_transforms(keywords)
            if self._optimizers.fresh:
                # The model has other parameters for the moment, and would not be found by its own.
                if self._thread.may_be_here():
                    self._batches.called(inputs, keywords)
                return
        if self._steady.on and self._steady.called(inputs, keywords):
            return
        before = self._hand_over.training
        if self._may_begin():
            if self._hand_over.training is not before:
                self._hearing.hear_parts_around(module)
            if self._hearing.note(module):
                self._batches.called(inputs, keywords)

    def scaled(self, loss: Any, scaled: Any) -> None:
        """A gradient scaler has made `scaled` of a loss."""
        if self._mine():
            self._seen.scaled(loss, scaled)

    def differentiating(self, roots: Any, gradients: Any) -> bool:
        """A backward pass begins."""
        if not self._may_begin(roots):
            return False
        by_hand, seen = self._by_hand, self._seen
        if by_hand.update is not None and seen.is_pending and not by_hand.clears and self._ends.is_next_backward:
            self._complete()
        told = sys._getframe(1)  # noqa: SLF001 - what a debugger reads
        seen.differentiating(roots, gradients, told)
        return True

    def differentiated(self) -> None:
        """The backward pass is done."""
        if self._mine():
            self._seen.differentiated()
            if self._by_hand.update is not None:
                self._by_hand.update.gradients_are_there()
            if self._ends.is_backward:
                self._complete()

    def graded(self, outputs: Any, inputs: Any, factors: Any) -> None:
        """Gradients are about to be computed for the script itself: they count as a step's if it has no others."""
        if self._optimizers.any and not self._steady.on and self._may_begin() and self._optimizers.train(inputs):
            self._seen.graded(outputs, factors)

    def clearing(self) -> None:
        """Gradients are about to be cleared."""
        if not self._may_begin():
            return
        self._by_hand.clears = True
        if not self._seen.is_pending or updates_around(sys._getframe()):  # noqa: SLF001 - what a debugger reads
            return
        if self._by_hand.clearing(self._hand_over.training) and self._ends.is_clearing:
            self._complete()

    def updating(self, optimizer: Any) -> None:
        """An optimizer is about to make its update: a loop may begin that is not seen to compute gradients."""
        del optimizer
        self._may_begin()

    def updated(self, optimizer: Any) -> None:
        """An optimizer has made its update."""
        if self._mine():
            told = sys._getframe(1)  # noqa: SLF001 - what a debugger reads
            updates = updates_around(told)
            if len(updates) < 2:  # inside another, that one is still to come
                self._tick(optimizer, line_of(updates[0].f_back, told) if updates else None)
        elif self._thread.is_beside():
            self._notify("another thread trains as well: only the loop that was found first is followed")

    def skipped(self, optimizer: Any, scaler: Any) -> None:
        """A gradient scaler has left an update out."""
        if self._may_begin():
            assert self._hand_over.training is not None
            self._hand_over.training.scaler = scaler
            self._tick(optimizer)

    # ---- steps -----------------------------------------------------------------------------------------------------

    def _tick(self, optimizer: Any, updated_at: Line | None = None) -> None:
        """An update was made, begun at a line, or left out."""
        if not self._has_updated:
            self._has_updated = True
            self._by_hand.update = None
            self._events.ignore_clearing()
        self._ignore_updating()
        self._seen.updated()
        if self._ends.updated(optimizer):
            line = self._seen.line
            self._complete()
            if line is not None and updated_at is not None and self._is_steady():
                under_way = None if self._batches.from_call else self._tap.last
                self._steady.enter(line, updated_at, optimizer, under_way, self._batches.epoch)
                self._entered = self._controller.position.step

    def _ignore_updating(self) -> None:
        if not self._optimizers.fresh:
            self._events.ignore_updating()

    def _complete(self) -> None:
        """The step is complete: hand it over, and wait if training is to stop here."""
        if self._has_lazy:
            self._has_lazy = False
            self._safely(self._controller.focus_late)
        seen, batches, hearing = self._seen, self._batches, self._hearing
        loss, losses = seen.take_losses()
        self._hand_over.capture(batches.batch, loss, losses)
        if hearing.is_on and self._ends.are_learned and batches.from_loader and not batches.are_ahead:
            hearing.stop()
        hearing.called.clear()
        seen.end_step()
        self._hand_over.complete()

    def _is_steady(self) -> bool:
        """Return whether the step ahead is likely to be as the last one, which had one plain backward pass."""
        if not (self._ends.are_all_updates and self._thread.is_followed and self._hand_over.feed is None):
            return False
        if self._batches.from_call:
            return self._hearing.is_on
        return self._tap.listeners == (self,) and self._tap.last is not None and self._batches.are_of(self._tap.last)

    def _take_back(self) -> None:
        """Take in what was noted of the step under way: something in it is otherwise than in the one before."""
        noted = self._steady.leave()
        self._ends.passed(self._controller.position.step - self._entered)
        self._seen.take_in(noted)

    # ---- the beginning ---------------------------------------------------------------------------------------------

    def _mine(self) -> bool:
        """Return whether this is the loop, and a step of it."""
        if not self._thread.is_here():
            return False
        if self._steady.entered:
            self._take_back()
        return True

    def _may_be_mine(self) -> bool:
        """Return whether this is the loop, or what comes before it in a thread where it may begin."""
        return self._mine() or (not self._thread.ident and self._thread.may_be_here())

    def _may_begin(self, roots: Any = None) -> bool:
        """Return whether this is the loop; if one is about to begin here, it does.

        Args:
            roots: what is about to be differentiated, if anything is.
        """
        is_loop, fresh = self._mine(), self._optimizers.fresh
        if not fresh and self._hand_over.training is not None:
            return is_loop
        by_hand = roots is not None and not self._optimizers.any
        if not (fresh or by_hand) or not self._thread.may_be_here():
            return False
        self._safely(self._begin_with_optimizers if fresh else lambda: self._begin_by_hand(roots))
        return self._thread.is_here()

    def _safely(self, begin: Callable[[], None]) -> None:
        """Do something that looks around in the script's objects; a mistake of tdb's own must not end the script."""
        self._thread.is_busy = True
        try:
            begin()
        except Exception as error:  # noqa: BLE001 - anything may be met there
            self._give_up(error)
        finally:
            self._thread.is_busy = False

    def _listen_early(self) -> None:
        """Have the first call of what a new optimizer trains begin the loop, should nothing else begin it before."""
        modules = self._discovery.first_called()
        if modules:
            self._events.listen_to(modules)

    def _begin_with_optimizers(self) -> None:
        found = self._discovery.of_optimizers()
        if found is not None:
            self._begin(found)

    def _begin_by_hand(self, roots: Any) -> None:
        found, self._by_hand.update = self._discovery.of_roots(roots)
        self._begin(found)

    def _begin(self, found: Found) -> None:
        self._thread.begin_here()
        self._ends.begin()
        self._has_lazy = has_lazy(found.training.model)
        if found.roots is not None:
            parts = self._optimizers.belong_to(found.roots)
            self._hearing.begin(found.roots, parts, compiled=tell_if_compiled(found.roots, self._controller))
        self._hand_over.begin(found.training)
