"""Signals, of which tdb handles some, and a script in a worker thread others.

`signal.signal` raises in any thread but the main one. While a script runs, its calls are handed to the main thread,
which looks into its inbox whenever it waits. SIGINT stays tdb's own (Ctrl-C pauses): the script's handler is kept, and
returned by `signal.getsignal` and by the next `signal.signal` as if it were installed. Of the other signals that tdb
handles the script sees what handles them in a plain run, until it installs a handler of its own. What its handlers
raise is raised in its own thread.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tdb.main_thread import MainThread


class _Carried:
    """A handler of the script's, run in the main thread: what it raises is for the script, which may wait for it."""

    def __init__(self, handler: Callable[[int, Any], Any], main_thread: MainThread) -> None:
        self.handler = handler
        self._main_thread = main_thread

    def __call__(self, number: int, frame: Any) -> None:
        try:
            self.handler(number, frame)
        except Exception as error:  # noqa: BLE001 - raised in the script
            self._main_thread.later(partial(self._main_thread.raise_in_script, error))


_handled: dict[int, tuple[Any, Any]] = {}
"""The signals that tdb handles: its handler, and what handled them before."""


@contextmanager
def handled(numbers: Iterable[int], handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Handle signals while the context lasts; a process that is forked meanwhile handles them as without tdb.

    The workers of a pool are ended by SIGTERM: under tdb's handler one that waits for a lock may wait for ever.
    """
    before = {number: signal.signal(number, handler) for number in numbers}
    _handled.update({number: (handler, previous) for number, previous in before.items()})
    try:
        yield
    finally:
        for number, previous in before.items():
            _handled.pop(number, None)
            signal.signal(number, previous)


def _as_without_tdb() -> None:
    for number, (handler, previous) in _handled.items():
        if signal.getsignal(number) is handler:  # and not one of the script's
            signal.signal(number, previous)
    _handled.clear()


os.register_at_fork(after_in_child=_as_without_tdb)  # for good: Python has no way to take it back


@contextmanager
def carried_signals(main_thread: MainThread, notify: Callable[[str], None]) -> Iterator[None]:
    """Make the signal module's functions for the main thread work in the calling thread while the context lasts.

    Args:
        main_thread: runs them.
        notify: is told once that a handler for Ctrl-C is not what Ctrl-C calls.
    """
    plain_signal, plain_getsignal, plain_wakeup = signal.signal, signal.getsignal, signal.set_wakeup_fd

    def carried(number: int, handler: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            return plain_signal(number, handler)
        if number == signal.SIGINT:
            previous, main_thread.interrupt_handler = main_thread.interrupt_handler, handler
            if callable(handler) and handler is not signal.default_int_handler:
                notify("the script handles SIGINT: Ctrl-C still pauses, `interrupt` calls the script's handler")
            return previous
        ours, without = _handled.get(number, (None, None))
        wanted = _Carried(handler, main_thread) if callable(handler) else handler
        wanted = ours if ours is not None and handler == without else wanted  # what would end the script ends tdb
        return as_without_tdb(number, main_thread.call(lambda: plain_signal(number, wanted)))

    def current(number: int) -> Any:
        if threading.current_thread() is threading.main_thread():
            return plain_getsignal(number)
        return (
            main_thread.interrupt_handler
            if number == signal.SIGINT
            else as_without_tdb(number, plain_getsignal(number))
        )

    def as_without_tdb(number: int, handler: Any) -> Any:
        ours, without = _handled.get(number, (None, None))
        if isinstance(handler, _Carried):
            return handler.handler
        return without if handler is ours and ours is not None else handler

    def wakeup(descriptor: int, *, warn_on_full_buffer: bool = True) -> int:
        return int(main_thread.call(lambda: plain_wakeup(descriptor, warn_on_full_buffer=warn_on_full_buffer)))

    signal.signal, signal.getsignal = carried, current  # type: ignore[assignment]
    signal.set_wakeup_fd = wakeup
    try:
        yield
    finally:
        signal.signal, signal.getsignal, signal.set_wakeup_fd = plain_signal, plain_getsignal, plain_wakeup
