"""Finds the loop of a script as it runs, and tells the controller what an explicit loop would tell it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tdb.active import when_explicit
from tdb.autograd import is_transforming, out_of_transforms
from tdb.errors import in_words
from tdb.finder.arrival import Arrival
from tdb.finder.batches import Batches, labels_in
from tdb.finder.children import Children
from tdb.finder.discovery import Discovery, Found, tell_if_compiled
from tdb.finder.events import Events, Listener, inside_update
from tdb.finder.feed import Feed
from tdb.finder.hearing import Hearing
from tdb.finder.losses import Losses
from tdb.finder.onlooker import Onlooker
from tdb.finder.optimizers import HandUpdate, parameters_of
from tdb.finder.steady import Line, Steady, line_of
from tdb.finder.steps import StepRule
from tdb.frames import user_frame
from tdb.layer_weight import has_lazy
from tdb.tap import Fetch, Tap

if TYPE_CHECKING:
    from tdb.controller import DebugController
    from tdb.passes.passes import Passes
    from tdb.target import Training

# So many times gradients are cleared without an optimizer's update: the script updates by hand.
UPDATES_BY_HAND = 3


class Finder(Listener):
    """Finds where steps end, and what they were taken on.

    Attributes:
        tap: the batches that the script draws; others may listen, too.
        skipped_updates: how many updates a gradient scaler has left out.
        aside: the thread in which somebody types at the prompt: what happens there is no training.
    """

    def __init__(self, controller: DebugController) -> None:
        self.tap = Tap()
        self.skipped_updates = 0
        self.aside = threading.get_ident()
        self._controller = controller
        self._events = Events(self)
        self._arrival = Arrival("torch", self._put_on_now)
        self._children = Children(self)
        self._on = False
        self._thread: threading.Thread | None = None  # the loop's
        self._loop = 0  # its identity, in a process that is not a child that goes its own way
        self._is_child = False
        self._busy = False  # tdb itself is at work in the loop's thread
        self._told: set[str] = set()
        self._step_on = "auto"
        self._rule = StepRule()
        self._discovery = Discovery()
        self._optimizers = self._discovery.optimizers
        self._onlooker = Onlooker(controller, self._discovery)
        self._explicit = False  # the script says itself where its steps end
        self._losses = Losses()
        self._graded = Losses()  # of gradients that were not added up in the parameters
        self._batches = Batches()
        self._target: Training | None = None
        self._hearing = Hearing(self._events)
        self._by_hand: HandUpdate | None = None
        self._updates = 0
        self._cleared = 0  # times that gradients were cleared after a backward pass, as long as there was no update
        self._clears = False  # the script clears gradients in a way that is seen
        self._pending = False  # something has happened that is going to be a step
        self._inside: list[int] = []  # the optimizers that are making their updates, the outer one first
        self._steady = Steady(controller.pass_by)
        self._entered = 0  # the step after which the short way was entered last
        self._line: Line | None = None  # where the step's backward pass began, if it was plain and the only one
        self._scaled = False  # a gradient scaler has its part in the step
        self._has_lazy = False  # the model has weights that are made when it is called for the first time
        self._feed: Feed | None = None  # through which batches come that are to be given again

    # ---- any thread ------------------------------------------------------------------------------------------------

    def put_on(self) -> None:
        """Find the loop of what runs from now on."""
        self._on = True
        self._children.put_on()
        self._arrival.wait()
        when_explicit(self._stand_aside)

    def take_off(self) -> None:
        """Leave everything as it was."""
        self._on = self._steady.on = False
        self._arrival.give_up()
        self._onlooker.take_off()
        self._events.take_off()
        self.tap.listeners = tuple(each for each in self.tap.listeners if each is not self)
        self.tap.take_off()
        self._children.take_off()

    def step_on(self, what: str) -> None:
        """Say what a step is: "auto", "tick", "fetch", "backward" or the name of an optimizer."""
        self._step_on = what
        self._steady.on = False

    def notify(self, text: str) -> None:
        """Tell something once at the prompt."""
        if text not in self._told:
            self._told.add(text)
            self._controller.notify(text)

    def _stand_aside(self) -> None:
        self.take_off()
        self._explicit = True
        self._arrival.wait()

    def _put_on_now(self) -> None:
        if self._explicit:
            self._onlooker.put_on()
        elif self._on:
            self._events.put_on()
            if self._updates:
                self._events.ignore_clearing()
            self.tap.listeners = (*self.tap.listeners, self)
            self.tap.put_on()

    # ---- child processes -------------------------------------------------------------------------------------------

    def left_behind(self) -> None:
        """This process was forked from the one that is debugged: what happens in it is nobody's business."""
        self._loop, self._is_child = 0, True
        self._steady.on = False

    def follow(self) -> None:
        """This forked process goes on as the script, in the thread that forked it: find its loop here."""
        self._thread = threading.current_thread()
        self._loop, self._is_child = threading.get_ident(), False

    # ---- the script's end ------------------------------------------------------------------------------------------

    def end(self) -> None:
        """The script has come to its end: a step whose end only the next one would have shown is complete.

        Raises:
            TrainingStopped: somebody called `stop`.
        """
        if self._mine() and self._pending and (self._by_hand is not None or self._step_on == "fetch"):
            self._complete()

    def crashed(self) -> None:
        """The script has raised: hand over what the step under way was taken on."""
        if self._mine():
            batch = self._batches.under_way()
            loss, _ = self._losses.take()
            if batch is not None:
                self._controller.capture_batch(batch, loss, labels=labels_in(batch), epoch=self._batches.epoch)

    # ---- events ----------------------------------------------------------------------------------------------------

    def built(self, optimizer: Any) -> None:
        """An optimizer was made."""
        if self._busy or not self._on or self._is_child or threading.get_ident() == self.aside:
            return
        self._steady.on = False
        self._optimizers.add(optimizer)
        self._safely(self._listen_early)

    def fetching(self, loader: Any, epoch: int, number: int) -> None:
        """A batch is about to be drawn."""
        del epoch, number
        begun = self._may_begin()
        if begun and self._step_on == "fetch" and self._pending and self._batches.is_for_training(loader):
            self._complete()

    def fetched(self, fetch: Fetch) -> None:
        """A batch was drawn."""
        if self._mine() or (not self._loop and self._on and not self._busy and self._can_be_here()):
            self._batches.drawn(fetch)

    def exhausted(self, loader: Any, epoch: int) -> None:
        """A pass over a loader has ended."""
        if self._mine():
            self._batches.exhausted(loader, epoch)
            is_ours = self._step_on == "auto" and self._batches.is_for_training(loader)
            if is_ours and self._rule.pass_ended(self._optimizers.all()):
                self._complete()

    def called(self, module: Any, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """One of the outermost modules is called."""
        import torch

        if not torch.is_grad_enabled():
            return
        if is_transforming():
            inputs, keywords = out_of_transforms(inputs), out_of_transforms(keywords)
            if self._optimizers.fresh:
                # The model has other parameters for the moment, and would not be found by its own.
                if self._on and not self._busy and self._can_be_here():
                    self._batches.called(inputs, keywords)
                return
        if self._steady.on and self._steady.called(inputs, keywords):
            return
        before = self._target
        if self._may_begin():
            if self._target is not before:
                self._hearing.hear_parts_around(module)
            if self._hearing.note(module):
                self._batches.called(inputs, keywords)

    def scaled(self, loss: Any, scaled: Any) -> None:
        """A gradient scaler has made `scaled` of a loss."""
        if self._mine():
            self._losses.scaled(loss, scaled, user_frame())
            self._scaled = True

    def differentiating(self, roots: Any, gradients: Any) -> bool:
        """A backward pass begins."""
        if (self._steady.on and self._steady.differentiating(roots, gradients)) or not self._may_begin(roots):
            return False
        if self._by_hand is not None and self._pending and not self._clears and self._step_on == "auto":
            self._complete()
        self._batches.use()
        in_closure = bool(self._inside) and inside_update(sys._getframe()) > 0  # noqa: SLF001 - what a debugger reads
        user = user_frame()
        self._losses.add(roots, gradients, user, in_closure=in_closure)
        alone = not (self._pending or in_closure or self._scaled) and gradients is None
        self._line = line_of(user, sys._getframe()) if alone else None  # noqa: SLF001 - as above
        return True

    def differentiated(self) -> None:
        """The backward pass is done."""
        if not self._mine():
            return
        self._pending = True
        if self._by_hand is not None:
            self._by_hand.gradients_are_there()
        if self._step_on == "backward":
            self._complete()

    def graded(self, outputs: Any, inputs: Any, factors: Any) -> None:
        """Gradients are about to be computed for the script itself: they count as a step's if it has no others."""
        if self._optimizers.any and not self._steady.on and self._may_begin() and self._optimizers.train(inputs):
            self._graded.take()  # in a mode of torch's the same call comes twice
            self._graded.add(outputs, factors, user_frame(), in_closure=False)

    def clearing(self) -> None:
        """Gradients are about to be cleared."""
        if not self._may_begin():
            return
        self._clears = True
        if not self._pending or self._inside:
            return
        if self._by_hand is None:
            self._cleared += 1
            if self._cleared < UPDATES_BY_HAND or self._target is None:
                return
            self._by_hand = HandUpdate(parameters_of(self._target.optimizers))
        if self._step_on in ("auto", "tick"):
            self._complete()

    def updating(self, optimizer: Any) -> None:
        """An optimizer is about to make its update."""
        if self._steady.on and self._steady.noted and self._steady.updating(optimizer):
            return
        if self._may_begin():
            if self._inside:  # a wrapper's update, or a subclass's; or one that an exception has ended
                del self._inside[inside_update(sys._getframe()) - 1 :]  # noqa: SLF001 - what a debugger reads
            self._inside.append(id(optimizer))

    def updated(self, optimizer: Any) -> None:
        """An optimizer has made its update."""
        if self._steady.on and self._steady.noted and self._steady.updated(optimizer):
            return
        if not self._mine():
            self._not_mine()
            return
        if len(self._inside) > 1:
            del self._inside[inside_update(sys._getframe()) - 1 :]  # noqa: SLF001 - as above
            if self._inside:  # the outer one is still to come
                return
        self._inside.clear()
        self._tick(optimizer)

    def skipped(self, optimizer: Any, scaler: Any) -> None:
        """A gradient scaler has left an update out."""
        if self._may_begin():
            assert self._target is not None
            self._target.scaler = scaler
            self._inside.clear()
            self.skipped_updates += 1
            self._tick(optimizer)

    # ---- steps -----------------------------------------------------------------------------------------------------

    def _tick(self, optimizer: Any) -> None:
        self._updates += 1
        if self._updates == 1:
            self._by_hand = None
            self._events.ignore_clearing()
        self._pending = True
        if self._batches.batch is None:  # no backward pass was seen: torch.autograd.grad, torch.func
            self._batches.use()
        self._losses.fall_back_on(self._graded)
        self._losses.update()
        if self._step_on == "auto":
            complete = self._rule.tick(self._optimizers.number(optimizer), self._taking_part)
        elif self._step_on in ("tick", "fetch", "backward"):
            complete = self._step_on == "tick"
        else:
            complete = self._is_chosen(optimizer)
        if complete:
            line = self._line
            self._complete()
            if line is not None and self._is_steady():
                under_way = None if self._batches.from_call else self.tap.last
                self._steady.enter(line, optimizer, under_way, self._batches.epoch)
                self._entered = self._controller.position.step

    def _is_steady(self) -> bool:
        """Return whether the step ahead is likely to be as the last one, which had one plain backward pass."""
        if (
            len(self._rule.cycle) != 1
            or self._step_on not in ("auto", "tick")
            or not self._on
            or self._feed is not None
        ):
            return False
        if self._batches.from_call:
            return self._hearing.is_on
        return self.tap.listeners == (self,) and self.tap.last is not None and self._batches.are_of(self.tap.last)

    def _take_back(self) -> None:
        """Take in what was noted of the step under way: something in it is otherwise than in the one before."""
        noted = self._steady.leave()
        self._rule.passed(self._controller.position.step - self._entered)
        if noted.inputs is not None:
            self._batches.called(*noted.inputs)
        if noted.line is not None:
            if noted.used is not None:
                self._batches.drawn(noted.used)
            self._batches.use()
            self._losses.add_noted(noted.line.code, noted.line.instruction, noted.loss)
            self._line, self._pending = noted.line, True
        if noted.drawn is not None:
            self._batches.drawn(noted.drawn)
        if noted.updating is not None:
            self._inside.append(id(noted.updating))

    def _taking_part(self) -> set[int]:
        hearing = self._hearing
        return self._optimizers.taking_part(hearing.called) if hearing.is_possible else self._optimizers.all()

    def _is_chosen(self, optimizer: Any) -> bool:
        names = self._discovery.names
        if self._step_on not in names.values():
            known = ", ".join(names.values())
            self.notify(f"no optimizer {self._step_on!r} is known ({known}): every update is a step")
            return True
        return names.get(id(optimizer)) == self._step_on

    def _complete(self) -> None:
        """The step is complete: hand it over, and wait if training is to stop here."""
        controller, batches = self._controller, self._batches
        if self._has_lazy:
            self._has_lazy = False
            self._safely(controller.focus_late)
        loss, losses = self._losses.take()
        self._graded.take()
        feed, batch = self._feed, batches.batch
        epoch = batches.epoch if feed is None else feed.epoch
        controller.capture_batch(batch, loss, labels=labels_in(batch), epoch=epoch)
        if losses:
            controller.capture_step_data("losses", losses)
        if self._target is not None:
            self._target.step, self._target.epoch = controller.position.step + 1, epoch
        if self._hearing.is_on and self._rule.cycle and batches.from_loader and not batches.are_ahead:
            self._hearing.stop()
        batches.end_step()
        self._hearing.called.clear()
        self._line = None
        self._pending = self._scaled = False
        self._busy = True
        try:
            if feed is None:
                controller.wait_if_paused()
            else:
                feed.step_is_complete()
                with feed.passes.standing():
                    controller.wait_if_paused()
        finally:
            self._busy = False

    def _feed_through(self, begin: Callable[[], Passes]) -> str:
        """Let batches come through passes from here on, or return why they cannot; see `tdb.target.Training.feed`."""
        if not self._batches.from_loader:
            return ""
        under_way = self.tap.last
        loader = under_way.loader() if under_way is not None else None
        if under_way is None or loader is None or not self._batches.are_of(under_way):
            return "its steps draw from several loaders, or a batch ahead"
        self._feed = Feed(begin(), loader, self._batches.epoch or 1)
        self._feed.join(under_way)
        self.tap.begun = self._feed.begun
        return ""

    # ---- the beginning ---------------------------------------------------------------------------------------------

    def _mine(self) -> bool:
        """Return whether this is the loop, and a step of it."""
        if threading.get_ident() != self._loop or not self._on or self._busy:
            return False
        if self._steady.entered:
            self._take_back()
        return True

    def _may_begin(self, roots: Any = None) -> bool:
        """Return whether this is the loop; if one is about to begin here, it does.

        Args:
            roots: what is about to be differentiated, if anything is.
        """
        if self._busy or not self._on:
            return False
        if self._steady.entered and threading.get_ident() == self._loop:
            self._take_back()
        fresh = self._optimizers.fresh
        if not fresh and self._target is not None:
            return threading.get_ident() == self._loop
        if not (fresh or (roots is not None and not self._optimizers.any)) or not self._can_be_here():
            return False
        self._safely(self._begin_with_optimizers if fresh else lambda: self._begin_by_hand(roots))
        return threading.get_ident() == self._loop and self._on

    def _safely(self, begin: Callable[[], None]) -> None:
        """Do something that looks around in the script's objects; a mistake of tdb's own must not end the script."""
        self._busy = True
        try:
            begin()
        except Exception as error:  # noqa: BLE001 - anything may be met there
            self.take_off()
            self.notify(f"tdb cannot find the loop of this script: {in_words(error)}")
        finally:
            self._busy = False

    def _can_be_here(self) -> bool:
        """Return whether the loop may be in this thread: there is one loop at a time."""
        me = threading.current_thread()
        other = self._thread is not None and self._thread is not me and self._thread.is_alive()
        return not other and me.ident != self.aside and not self._is_child

    def _not_mine(self) -> None:
        if self._on and not self._busy and self._loop and threading.get_ident() != self.aside:
            self.notify("another thread trains as well: only the loop that was found first is followed")

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
        found, self._by_hand = self._discovery.of_roots(roots)
        self._begin(found)

    def _begin(self, found: Found) -> None:
        self._thread, self._loop = threading.current_thread(), threading.get_ident()
        self._rule = StepRule()
        self._feed = self.tap.begun = None
        self._target = found.training
        self._target.feed = self._feed_through
        self._target.step = self._controller.position.step
        self._has_lazy = has_lazy(found.training.model)
        if found.roots is not None:
            parts = self._optimizers.belong_to(found.roots)
            self._hearing.begin(found.roots, parts, compiled=tell_if_compiled(found.roots, self._controller))
        self._controller.begin(found.training)
