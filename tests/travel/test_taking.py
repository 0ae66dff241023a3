"""When checkpoints are taken, what they cost, and in which memory."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from tdb.guard import generators
from tdb.step import Position
from tdb.travel.pace import LEAST_STEPS, NEAR_SECONDS, NEAR_STEPS, SHARE, Pace
from tdb.travel.slots import LARGE, Slots
from tests.travel.training import Prompt

Start = Callable[..., Prompt]


@pytest.mark.parametrize(
    ("cost", "step"),
    [(1e-4, 1e-3), (1e-4, 2e-2), (3e-2, 1e-3), (3e-1, 1e-1), (1e-2, 3e-1)],
    ids=["near by steps", "near by time", "dear", "dear, of long steps", "not as near, of long steps"],
)
def test_checkpoints_take_their_share_of_the_time_or_less_whatever_comes_in_between(cost: float, step: float) -> None:
    pace, chance, now, due, steps = Pace(), random.Random(0), 0.0, 0, 50_000
    taken: list[int] = []
    before = Position()
    for tick in range(steps):
        now += step * (1 + 4 * (chance.random() < 0.3))  # another process, or another loop in turns with this one
        here = Position(tick, wall_time=now)
        if tick >= due:
            pace.arrived(here, before)
            now += cost
            taken.append(tick)
            pace.took(cost)
            due = tick + pace.interval
            pace.left(tick, now)
        before = here
    wanted = max(LEAST_STEPS, min(NEAR_STEPS, NEAR_SECONDS / step), cost / (SHARE * step))
    assert np.median(np.diff(taken)) == pytest.approx(wanted, abs=1)
    assert len(taken) * cost <= 1.1 * SHARE * step * steps + cost  # the first is before all steps


@pytest.mark.usefixtures("checkpoint_at_each_stop")
def test_going_back_from_where_it_was_told_to_stop_takes_one_step_again(start: Start) -> None:
    prompt = start("control")
    prompt.do("until", "30")
    assert [prompt.do("back").data["replayed"] for _ in range(2)] == [1, 1]
    prompt.do("until", "40")
    prompt.do("step", 9)
    assert [prompt.do("back").data["replayed"] for _ in range(2)] == [1, 1]
    prompt.do("tbreak", "55")
    prompt.do("continue")
    assert prompt.step == 55
    assert prompt.do("back").data["replayed"] == 1
    for _ in range(2):
        prompt.do("step")
    assert prompt.do("back").data["replayed"] <= 2  # from where it went on, there is no checkpoint


def test_steps_that_are_taken_again_leave_a_trail(start: Start) -> None:
    prompt = start("control")
    prompt.do("until", "50")
    kept = prompt.controller.travel.checkpoints
    far = next(step for step in range(40, 5, -1) if all(each.tick not in range(step - 4, step) for each in kept))
    again = [prompt.do("goto", far).data["replayed"], *(prompt.do("back").data["replayed"] for _ in range(2))]
    assert again[0] > 4
    assert again[1:] == [1, 1]
    assert len({(each.tick, each.edits, each.kept) for each in kept}) == len(kept)  # none is taken twice


def test_memory_is_taken_up_again_and_never_while_it_is_held() -> None:
    tensors = {("large",): torch.randn(LARGE // 8), ("more",): torch.randn(LARGE // 8), ("small",): torch.randn(3)}
    slots = Slots()
    first = slots.copy(tensors, {})
    for each in tensors.values():
        each.add_(1)
    second = slots.copy(tensors, first)
    places = {path: copied.tensor.data_ptr() for path, copied in first.items()}
    assert all(second[path].tensor.data_ptr() != place for path, place in places.items())
    assert slots.used == 2 * sum(each.nbytes for each in tensors.values())
    slots.release(first)
    for each in tensors.values():
        each.add_(1)
    third = slots.copy(tensors, second)
    assert {path: copied.tensor.data_ptr() for path, copied in third.items()} == places
    slots.release(third)
    again = slots.copy(tensors, third)  # nobody holds those any more: what they share is not taken for a copy
    assert all(torch.equal(again[path].tensor, tensor) for path, tensor in tensors.items())
    assert slots.used == 2 * sum(each.nbytes for each in tensors.values())


def test_numpys_generator_is_read_as_it_is() -> None:
    read, write = generators()[1]
    np.random.seed(3)
    kept = np.random.get_state()
    moves = (np.random.randn, np.random.rand, lambda: None, lambda: np.random.seed(3), lambda: np.random.normal(size=3))
    chance = random.Random(1)
    for _ in range(200):
        chance.choice(moves)()
        told, known = read(), np.random.get_state()
        assert (told[0], told[2:]) == (known[0], known[2:])
        assert np.array_equal(told[1], known[1])
    write(kept)
    assert np.array_equal(read()[1], kept[1])
