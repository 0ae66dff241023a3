"""How many of something, in words."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """Return "1 step", "2 steps", "1,000 steps"; `many` where the plural is not the word with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size_in_words(size: int) -> str:
    """Return a number of bytes as it is read: "2.0 GiB", "1.5 MiB", "40 KiB", "800 bytes"."""
    if size >= 2**30:
        return f"{size / 2**30:,.1f} GiB"
    if size >= 2**20:
        return f"{size / 2**20:,.1f} MiB"
    return f"{size / 2**10:,.0f} KiB" if size >= 2**10 else counted(size, "byte")
