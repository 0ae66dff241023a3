"""Settings: a value that cannot be in force leaves everything as it was."""

from __future__ import annotations

from typing import Any

import pytest

from tdb.errors import StateError
from tdb.settings import Settings


def test_a_refused_change_is_taken_back_from_those_who_have_heard_of_it() -> None:
    settings, heard = Settings(), list[tuple[str, Any]]()

    def refuse(name: str, value: Any) -> None:
        if value == 3:
            raise StateError(f"{name} cannot be {value}")

    settings.on_change(lambda *change: heard.append(change))
    settings.on_change(refuse)
    settings.on_change(lambda *_: heard.append(("too", "late")))
    with pytest.raises(StateError, match=r"record\.every cannot be 3"):
        settings.change("record.every", "3")
    assert heard == [("record.every", 3), ("record.every", 10)]
    assert settings["record.every"] == 10
