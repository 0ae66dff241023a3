"""A line as words: what spaces and separators part, and what quotes and brackets hold together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_OPENING, _CLOSING, _QUOTES = "([{", ")]}", "'\""


@dataclass(frozen=True)
class Token:
    """A word of the line, and where it starts."""

    text: str
    start: int


def split_outside(text: str, separator: Callable[[str, int], int]) -> list[tuple[int, str]]:
    """Split `text` where `separator(text, i)` gives a length, but never inside quotes or brackets.

    Returns (start, piece) pairs. An unclosed quote or bracket simply lasts to the end.
    """
    pieces: list[tuple[int, str]] = []
    start = depth = position = 0
    quote = ""
    while position < len(text):
        character = text[position]
        if quote:
            position += 2 if character == "\\" else 1
            quote = "" if character == quote else quote
            continue
        if depth == 0 and (length := separator(text, position)):
            pieces.append((start, text[start:position]))
            position += length
            start = position
            continue
        # An apostrophe inside a word is no quote: `assert loss < 1 don't`.
        if character in _QUOTES and not (position and text[position - 1].isalnum()):
            quote = character
        depth += (character in _OPENING) - (character in _CLOSING and depth > 0)
        position += 1
    return [*pieces, (start, text[start:])]


def tokens_of(text: str) -> list[Token]:
    """Split arguments at spaces outside quotes and brackets, and drop the quotes around a whole word."""

    def space(text: str, position: int) -> int:
        return int(text[position].isspace())

    tokens = []
    for start, piece in split_outside(text, space):
        if not piece:
            continue
        quoted = len(piece) > 1 and piece[0] in _QUOTES and piece[-1] == piece[0]
        tokens.append(Token(piece[1:-1] if quoted else piece, start))
    return tokens


def lines_of(text: str) -> list[str]:
    r"""Return the lines of commands that a text is: "\n" alone ends one, all else that does may stand in a string."""
    return text.removesuffix("\n").split("\n")
