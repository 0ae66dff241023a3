"""Histories for tests, recorded step by step."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tdb.history import History
from tests.conftest import PATIENCE, join


def append(
    history: History,
    timeline: int,
    tick: int,
    step: int,
    epoch: int | None,
    wall_time: Any,
    loss: Any,
    metrics: Mapping[str, Any] | None = None,
    stopped: bool = False,
) -> None:
    """Record one boundary: with metrics, name -> [D], if it has any, and marked if training stops there."""
    if metrics:
        block = np.stack([np.asarray(values, np.float32) for values in metrics.values()])
        history.append_metrics(timeline, np.array([[tick, step]]), tuple(metrics), block[None])
    history.append_steps(timeline, [(tick, step, epoch, loss, wall_time)])
    if stopped:
        history.mark(step, "stop")


def read_while_written(
    read: Callable[[int], object], write: Callable[[int], object], is_enough: Callable[[], bool] = lambda: True
) -> None:
    """Write step after step while two threads read, which take turns much more often than usual.

    Args:
        read: reads once, in the thread of that number, and asserts that what it sees is whole.
        write: writes a step.
        is_enough: whether so much was written as the test is about; a slow machine takes longer for it.
    """
    done, reads, faults = threading.Event(), [0, 0], list[str]()

    def work(number: int) -> None:
        try:
            while not done.is_set():
                read(number)
                reads[number] += 1
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            faults.append(repr(error))

    readers = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for reader in readers:
            reader.start()
        began = time.monotonic()
        for step in itertools.count(1):
            write(step)
            seconds = time.monotonic() - began
            if faults or seconds > PATIENCE or (seconds > 1.5 and min(reads) > 0 and is_enough()):
                break
    finally:
        done.set()
        sys.setswitchinterval(interval)
        join(*readers)
    assert faults == []
    assert min(reads) > 0
