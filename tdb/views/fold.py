"""Column headers folded into narrow lines, so that many columns fit a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORDS = re.compile(r"[^_./ -]*[_./ -]|[^_./ -]+")
_VOWELS = "aeiouy"


def fold_header(name: str, width: int) -> list[str]:
    """Return `name` in lines of at most `width` columns, folded after "_", "." or "/", else with a hyphen.

    Nothing is left out: the lines without their closing hyphens, joined, are the name. ("grad_magnitude", 8)
    gives "grad_", "magni-", "tude".
    """
    lines = [""]
    for word in _WORDS.findall(name):
        for piece in _syllables(word, width):
            if lines[-1].endswith("-") or len(lines[-1]) + len(piece) > width:
                lines.append(piece)
            else:
                lines[-1] += piece
    return [line for line in lines if line] or [""]  # a column without a name has a header, too


def _syllables(word: str, width: int) -> Iterator[str]:
    """Yield a word too long for `width` in pieces, each but the last ending in a hyphen.

    A piece begins with a consonant before a vowel, which is where most English syllables begin.
    """
    while len(word) > width:
        starts = range(width - 1, 1, -1)
        begins = (at for at in starts if word[at] not in _VOWELS and word[at + 1 : at + 2] in tuple(_VOWELS))
        letters = len(word.rstrip("_./"))
        at = next((at for at in begins if letters - at > 2), width - 1)
        yield word[:at] + "-"
        word = word[at:]
    yield word
