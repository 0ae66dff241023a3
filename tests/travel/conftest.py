"""Runs of the recipe that a test begins, and that end with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

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
