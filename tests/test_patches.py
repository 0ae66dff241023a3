"""What is replaced for a while is afterwards as it was, in whatever order replacements come off."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest

from tdb.patches import Patches


class Base:
    """A class of somebody else's."""

    def say(self) -> str:
        return "plain"


class Derived(Base):
    """One that inherits what is replaced."""


def louder(plain: Callable[[Base], str]) -> Callable[[Base], str]:
    return lambda owner: f"{plain(owner)}!"


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_replacements_of_replacements_come_off_in_any_order(order: tuple[int, ...]) -> None:
    plain, each = Base.say, [Patches(), Patches(), Patches()]
    for patches in each:
        patches.replace(Base, "say", louder)
        patches.replace(Derived, "say", louder)
    assert Base().say() == "plain!!!"
    for number in order:
        each[number].take_off()
    assert Base.say is plain
    assert "say" not in vars(Derived)


def test_what_others_have_put_there_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    patches = Patches()
    patches.replace(Derived, "say", louder)
    monkeypatch.setattr(Derived, "say", lambda _: "theirs")
    patches.take_off()
    assert Derived().say() == "theirs"
