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


@pytest.mark.parametrize("cycle", ["A", "AB", "ABC", "AAAAAB", "AAB", "AAABBC"])
def test_a_cycle_in_which_all_have_their_turn_is_a_step_from_the_first_on(cycle: str) -> None:
    assert cut(cycle * 20) == f"{cycle} " * 20


def test_a_cycle_in_which_the_others_come_more_than_once_is_found_by_its_period() -> None:
    assert cut("AABCBC" * 20).endswith("AABCBC " * 15)
    assert cut("ABB" * 20).endswith("ABB " * 15)


def test_others_that_nothing_was_known_of_in_the_first_step_have_their_turn_after_the_first() -> None:
    """As in loops with a critic that is trained before what it criticises was ever called."""
    called = {"A": "A", "B": "AB", "C": "ABC"}  # by the name of who updates

    def cut_as_known(ticks: str) -> str:
        rule, cut_up, known = StepRule(), "", ""
        for tick in ticks:
            known += called[tick]
            complete = rule.tick(ord(tick), lambda: set(map(ord, known)))  # noqa: B023 - called at once
            cut_up += tick + (" " if complete else "")
            known = "" if complete else known
        return cut_up

    assert cut_as_known("AB" * 10) == "A BAB " + "AB " * 8
    assert cut_as_known("ABC" * 10) == "A BCABC " + "ABC " * 8
    assert cut_as_known("A" * 20) == "A " * 20


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


def test_no_tick_is_lost_or_counted_twice_whatever_comes() -> None:
    draw = random.Random(0)
    for _ in range(200):
        ticks = "".join(draw.choices("AAAABBC", k=draw.randrange(1, 120)))
        steps = cut(ticks)
        assert steps.replace(" ", "") == ticks
        assert len(steps.split()) >= 1
        assert max(map(len, steps.split())) <= 64 + PATIENCE
