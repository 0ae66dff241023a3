"""How things look: the words, glyphs, markers and colours that tables and figures share."""

from __future__ import annotations

from typing import NamedTuple


class StatusLook(NamedTuple):
    """How a feature's status shows: a glyph and a style in text, a marker and a colour in figures."""

    glyph: str
    style: str
    marker: str
    color: str


STATUS = {
    "dead": StatusLook("x", "red", "X", "#c62828"),
    "contender": StatusLook("~", "yellow", "o", "#b8860b"),
    "winner": StatusLook("*", "green", "*", "#2e7d32"),
    "unknown": StatusLook("?", "magenta", "D", "#6a1b9a"),
}

NO_STATUS = StatusLook("", "", "o", "#4c78a8")

NOT_FINITE = "bold white on red"
DIM = "dim"
HEADER = "bold"


def status_look(word: str) -> StatusLook:
    """Return how a status shows; a word that a rule has added shows like "unknown"."""
    return STATUS.get(word, STATUS["unknown"])


def status_text(word: str) -> str:
    """Return a status as its glyph and its word."""
    return f"{status_look(word).glyph} {word}"
