"""From updates to steps, as sequences of optimizers' names; a space is where a step ends."""

from __future__ import annotations

import random

import pytest

from tdb.finder.steps import PATIENCE, StepRule


def cut(ticks: str, taking_part: str | None = None) -> str:
    """Return the ticks with a space after each that completes a step."""
    rule, cut_up = StepRule(), ""
    expected = {ord(each) for each in (ticks if taking_part is None else taking_part)}
    for tick in ticks:
        cut_up += tick + (" " if rule.tick(ord(tick), lambda: expected) else "")
    return cut_up


def cut_as_known(ticks: str, called: dict[str, str]) -> str:
    """As `cut`, where those take part that were called in the step; `called` has whose, by the name of who updates."""
    rule, cut_up, known = StepRule(), "", ""
    for tick in ticks:
        known += called[tick]
        complete = rule.tick(ord(tick), lambda: set(map(ord, known)))  # noqa: B023 - called at once
        cut_up += tick + (" " if complete else "")
        known = "" if complete else known
    return cut_up


@pytest.mark.parametrize("cycle", ["A", "AB", "ABC", "AAAAAB", "AAB", "AAABBC"])
def test_a_cycle_in_which_all_have_their_turn_is_a_step_from_the_first_on(cycle: str) -> None:
    assert cut(cycle * 20) == f"{cycle} " * 20


def test_a_cycle_in_which_the_others_come_more_than_once_is_found_by_its_period() -> None:
    assert cut("AABCBC" * 20).endswith("AABCBC " * 15)
    assert cut("ABB" * 20).endswith("ABB " * 15)


def test_others_that_nothing_was_known_of_in_the_first_step_have_their_turn_after_the_first() -> None:
    """As in loops with a critic that is trained before what it criticises was ever called."""
    called = {"A": "A", "B": "AB", "C": "ABC"}
    assert cut_as_known("AB" * 10, called) == "A BAB " + "AB " * 8
    assert cut_as_known("ABC" * 10, called) == "A BCABC " + "ABC " * 8
    assert cut_as_known("A" * 20, called) == "A " * 20


def test_an_optimizer_for_another_phase_is_not_waited_for_for_long() -> None:
    assert cut("A" * 20, "AB") == "A" * PATIENCE + " " + "A " * (20 - PATIENCE)
    assert cut("A" * 20 + "B" * 20, "AB").endswith("B " * 12)
    assert cut("A" * 20, "A") == "A " * 20


def test_updates_that_are_left_out_shift_nothing() -> None:
    assert cut("ABABAB" + "B" + "ABAB") == "AB AB AB B AB AB "
    assert cut("ABC" * 3 + "AC" + "ABC") == "ABC ABC ABC AC ABC "


def test_when_the_cycle_changes_the_new_one_is_learned() -> None:
    assert cut("AB" * 10 + "AAAAAB" * 10).endswith("AAAAAB " * 5)
    assert cut("AAAAAB" * 10 + "AB" * 20).endswith("AB " * 10)


def test_a_cycle_of_which_a_part_was_taken_for_steps_is_found_all_the_same() -> None:
    """As of a critic that is updated five times before what it criticises is called."""
    assert cut_as_known("AAAAAB" * 20, {"A": "A", "B": "AB"}).endswith("AAAAAB " * 15)
    assert cut_as_known("A" * 31 + "AAAB" * 20, {"A": "A", "B": "AB"}).endswith("AAAB " * 15)


@pytest.mark.parametrize("length", [4, 20])
def test_where_passes_are_one_optimizer_s_and_then_another_s_each_update_is_a_step(length: int) -> None:
    rule, steps = StepRule(), 0
    for each in range(8):
        steps += sum(rule.tick(each % 2, lambda: {0, 1}) for _ in range(length))
        steps += rule.pass_ended({0, 1})
    assert 8 * length - steps == min(length, PATIENCE) - 1  # as long as nobody knew


def test_no_tick_is_lost_or_counted_twice_whatever_comes() -> None:
    draw = random.Random(0)
    for _ in range(200):
        ticks = "".join(draw.choices("AAAABBC", k=draw.randrange(1, 120)))
        steps = cut(ticks)
        assert steps.replace(" ", "") == ticks
        assert len(steps.split()) >= 1
        assert max(map(len, steps.split())) <= 64 + PATIENCE
