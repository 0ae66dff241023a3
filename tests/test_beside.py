"""What is computed beside training: in another thread, or where it is asked for, and the same in either."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tdb.beside import NAME, Beside
from tests.conftest import PATIENCE


def here() -> str:
    return threading.current_thread().name


@pytest.fixture
def held() -> Iterator[tuple[Beside, threading.Event]]:
    """A thread that is at work, until the event is set."""
    beside, begun, over = Beside(), threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        over.wait(PATIENCE)

    beside.begin(hold)
    assert begun.wait(PATIENCE)
    yield beside, over
    over.set()


def test_a_job_is_done_in_a_thread_of_its_own() -> None:
    begun = threading.Event()
    job = Beside().begin(lambda: (begun.set(), here()))
    assert begun.wait(PATIENCE)
    assert job.result()[1] == NAME


def test_what_has_not_begun_is_computed_where_it_is_asked_for(held: tuple[Beside, threading.Event]) -> None:
    beside, over = held
    done: list[str] = []
    assert beside.begin(lambda: done.append(here())).result() is None
    assert done == [here()]
    over.set()
    assert beside.begin(lambda: 2).result() == 2  # the thread has passed over the one before
    assert done == [here()]


def test_an_error_comes_where_the_result_is_asked_for() -> None:
    beside = Beside()
    job = beside.begin(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        job.result()
    assert beside.begin(lambda: 3).result() == 3


def test_a_copy_of_the_process_computes_what_its_thread_would_have() -> None:
    beside, process, begun, over = Beside(), os.getpid(), threading.Event(), threading.Event()

    def compute() -> int:
        begun.set()
        if os.getpid() == process:
            over.wait(PATIENCE)
        return 7

    under_way = beside.begin(compute)
    assert begun.wait(PATIENCE)
    copy = os.fork()
    if copy == 0:
        os._exit(under_way.result() + beside.begin(lambda: 1).result())
    assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == 8
    over.set()
    assert under_way.result() == 7


@pytest.mark.parametrize("flushes", [True, False])
def test_numbers_that_are_all_but_zero_are_what_they_are_in_the_thread_that_asks(flushes: bool) -> None:
    tiny, begun = np.full(1000, np.finfo(np.float32).tiny), threading.Event()
    torch.set_flush_denormal(flushes)
    try:
        job = Beside().begin(lambda: (begun.set(), here(), tiny * np.float32(0.5)))
        assert begun.wait(PATIENCE)
        _, thread, halves = job.result()
        assert thread == NAME
        np.testing.assert_array_equal(halves, tiny * np.float32(0.5))
        assert (halves == 0).all() == flushes
    finally:
        torch.set_flush_denormal(False)


def test_the_thread_ends_with_its_owner() -> None:
    beside, begun, threads = Beside(), threading.Event(), []
    beside.begin(lambda: (threads.append(threading.current_thread()), begun.set()))
    assert begun.wait(PATIENCE)
    del beside
    gc.collect()
    threads[0].join(PATIENCE)
    assert not threads[0].is_alive()
