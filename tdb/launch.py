"""A training script, run as `__main__` in a worker thread, the way `python SCRIPT` would run it.

The whole script runs there, imports included, because gradient mode, autocast and default device belong to a thread.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from tdb.active import current_controller, set_active_controller
from tdb.breakpoint_hook import breakpoints_stop_here
from tdb.elsewhere.beginning import beginning_now
from tdb.errors import TrainingStopped, in_words
from tdb.finder import Finder
from tdb.finder.arrival import Arrival
from tdb.inherited import interrupts_kept_from_workers
from tdb.jobs import HEARTBEAT_SECONDS
from tdb.origin import seed_generators, seed_torch
from tdb.raising import raise_in_script
from tdb.script import Script
from tdb.signals import carried_signals
from tdb.standing import CRASHED, ENDED, FINISHED

if TYPE_CHECKING:
    from tdb.controller import DebugController
    from tdb.elsewhere.beginning import Beginning
    from tdb.main_thread import MainThread

Result = TypeVar("Result")

POLL_SECONDS = 0.02


class Run:
    """One run of a script: its thread, and how it ended.

    Args:
        controller: what the script finds as `tdb.active_controller()`.
        script: what to run.
        main_thread: runs for the script what only the main thread may.
        seed: of the global generators before the script begins, and of torch's when it is loaded, if it was not before;
            None leaves them as they are.
        in_main_thread: the script runs in the main thread, inside `beside`, and not in a thread of its own.
        again: how a run began that this one takes anew.

    Attributes:
        finder: finds the loop of a script that says nothing of it.
        began: how it began; None before that.
        error: what ended the script, if it crashed.
        exit_code: what the script left with.
        in_main_thread: the script has the main thread and its signals; not so where only its thread was copied.
        module: the script's `__main__`.
    """

    def __init__(
        self,
        controller: DebugController,
        script: Script,
        main_thread: MainThread,
        seed: int | None = None,
        *,
        in_main_thread: bool = False,
        again: Beginning | None = None,
    ) -> None:
        self.controller = controller
        self.script = script
        self.seed = seed
        self.again = again
        self.began: Beginning | None = None
        self.error: BaseException | None = None
        self.exit_code: int = 0
        self.module: types.ModuleType | None = None
        self.finder = Finder(controller)
        self._torch = Arrival("torch", lambda: None if seed is None else seed_torch(seed))
        self._main_thread = main_thread
        main_thread.raise_in_script = partial(raise_in_script, controller.gate)
        self.in_main_thread = in_main_thread
        self._started = threading.Event()
        self._gone = False
        # By the name that a plain run has in the script's log.
        self._thread = threading.Thread(target=self._work, name=threading.main_thread().name, daemon=True)
        if in_main_thread:
            self._thread = threading.main_thread()

    @property
    def started(self) -> bool:
        """Whether the script has been started."""
        return self._started.is_set()

    @property
    def lives(self) -> bool:
        """Whether the script's thread is at work, or still here to be asked about it."""
        return self.started and (not self._gone if self.in_main_thread else self._thread.is_alive())

    def ends_within(self, seconds: float, attend: Callable[[], object]) -> bool:
        """Wait until the script's thread is done, or so long, calling `attend` meanwhile; return whether it is done."""
        deadline = time.monotonic() + seconds
        while self.lives and time.monotonic() < deadline:
            attend()
            time.sleep(POLL_SECONDS)
        return not self.lives

    @property
    def thread(self) -> threading.Thread:
        """The thread that the script runs in."""
        return self._thread

    def start(self) -> None:
        """Start the script."""
        self.controller.gate.launched(self._thread)
        self.finder.thread.aside = threading.get_ident()
        self._started.set()
        if not self.in_main_thread:
            self._thread.start()

    def beside(self, converse: Callable[[], Result]) -> Result:
        """Run `converse` in another thread, and in this one, the main thread, the script when that starts it."""
        outcome: Future[Result] = Future()

        def work() -> None:
            try:
                outcome.set_result(converse())
            except BaseException as error:  # noqa: BLE001 - raised in the main thread
                outcome.set_exception(error)

        threading.Thread(target=work, name="tdb", daemon=True).start()
        while not (self.started or outcome.done()):
            with suppress(KeyboardInterrupt):  # nothing runs that it could interrupt
                self._started.wait(HEARTBEAT_SECONDS)
        if self.started:
            self._work()
        return outcome.result()

    def _work(self) -> None:
        with _process_globals_kept():
            status, reason = self._train()
            lingering = True
            while lingering:
                try:
                    self.controller.finish(status, reason, linger=True)
                    lingering = False
                except KeyboardInterrupt:  # in the main thread, after the script: there is nothing left to interrupt
                    continue
        self._gone = True

    def _train(self) -> tuple[str, str]:
        """Run the script, and return how it ended: a status, and a line about it."""
        with (
            nullcontext() if self.in_main_thread else carried_signals(self._main_thread, self.finder.notify),
            nullcontext() if self.in_main_thread else interrupts_kept_from_workers(),
            breakpoints_stop_here(),
        ):
            try:
                self._prepare()
                self.module, execute = self.script.load()
                sys.modules["__main__"] = self.module
                self.finder.put_on()
                self._execute(execute)
            except TrainingStopped:
                return ENDED, "ended by the user"
            except BaseException as error:  # noqa: BLE001 - whatever the script raises is shown in post-mortem
                self.error = error
                self.finder.crashed()
                return CRASHED, in_words(error)
            finally:
                self.finder.take_off()
                self._torch.give_up()
        return FINISHED, f"the script left with exit status {self.exit_code}" if self.exit_code else ""

    def _execute(self, execute: Callable[[], None]) -> None:
        try:
            execute()
        except TrainingStopped:
            raise
        except SystemExit as leaving:
            self.exit_code = _exit_code(leaving.code)
        except BaseException:
            self._leave_if_child(1)
            raise
        self._leave_if_child(self.exit_code)
        self.finder.end()

    def _leave_if_child(self, exit_code: int) -> None:
        """Exit if this is a process that the script has forked by itself: nobody waits for it here."""
        if current_controller() is self.controller:
            return
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)

    def _prepare(self) -> None:
        target = self.script.target
        sys.argv = [target, *self.script.arguments]
        sys.path[0:0] = [self.script.first_on_path()]
        if "torch" in sys.modules:  # the count of threads belongs to a thread: a new one starts with the default
            import torch

            torch.set_num_threads(self._main_thread.torch_threads)
        torch_is_there = "torch" in sys.modules if self.again is None else self.again.torch is not None
        if self.again is not None:
            self.again.enter()
        elif self.seed is not None:
            seed_generators(self.seed)
        if not torch_is_there:
            self._torch.wait()
        self.began = beginning_now(self.script.source)
        set_active_controller(self.controller)


@contextmanager
def _process_globals_kept() -> Iterator[None]:
    """Put back what running a script changes for the whole process, for programs that go on after it."""
    kept, controller = (sys.argv, list(sys.path), sys.modules["__main__"]), current_controller()
    try:
        yield
    finally:
        sys.argv, sys.path[:], sys.modules["__main__"] = kept
        set_active_controller(controller)


def _exit_code(code: Any) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF if -(2**63) <= code < 2**63 else 0xFF  # what has no place in a C long is -1
    print(code, file=sys.stderr)  # noqa: T201 - what `sys.exit("text")` does in a plain run
    return 1
