"""Runs of the recipe that a test begins, and that end with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tdb.travel import taking
from tests.travel.training import Prompt


@pytest.fixture
def start() -> Iterator[Callable[..., Prompt]]:
    begun: list[Prompt] = []

    def begin(*arguments: Any, **options: Any) -> Prompt:
        begun.append(Prompt(*arguments, **options))
        return begun[-1]

    yield begin
    for prompt in begun:
        prompt.close()


@pytest.fixture
def checkpoint_at_each_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a checkpoint takes: on a slow machine it may be more than a person shall wait for."""
    monkeypatch.setattr(taking, "LONGEST", math.inf)
