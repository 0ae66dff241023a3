"""Settings: a value that cannot be in force leaves everything as it was."""

from __future__ import annotations

from typing import Any

import pytest

from tdb.errors import StateError, UsageError
from tdb.settings import Settings, bytes_of, size_of


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


def test_sizes_are_read_as_they_are_shown() -> None:
    for text, size in (("64KiB", 2**16), ("3MiB", 3 * 2**20), ("2gb", 2**31), ("1T", 2**40), ("65537", 65537)):
        assert bytes_of(text) == size
        assert bytes_of(size_of(size)) == size
    assert size_of(2**41) == "2TiB"
    with pytest.raises(UsageError, match="a size from 64KiB, such as 256MiB, not '1PiB'"):
        bytes_of("1PiB")
