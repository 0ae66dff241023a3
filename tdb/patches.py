"""Attributes of other people's classes and modules, replaced for a while and put back as they were."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

_ABSENT = object()


class Patches:
    """Replacements that come off together."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, str, Any, Any]] = []

    def replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replace `owner.name` by what `make` returns of it.

        An attribute that `owner` only inherits is inherited again afterwards.
        """
        own = vars(owner).get(name, _ABSENT)
        replacement = make(getattr(owner, name))
        setattr(owner, name, replacement)
        self._made.append((owner, name, own, replacement))

    def take_off(self) -> None:
        """Put everything back; what somebody else has replaced meanwhile stays theirs."""
        while self._made:
            owner, name, own, replacement = self._made.pop()
            if vars(owner).get(name) is not replacement:
                continue
            if own is _ABSENT:
                with suppress(AttributeError):
                    delattr(owner, name)
            else:
                setattr(owner, name, own)

    def __len__(self) -> int:
        return len(self._made)
