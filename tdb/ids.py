"""Feature ids as they are typed: `3 17 42`, `3,17,42`, `0:64:16`, `@dead`, `all`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from tdb.errors import StateError, TdbError, UsageError

MOST_FEATURES = 2**20
"""No layer is taken to have more before it is known how many it has."""

_RANGE = re.compile(r"(-?\d{0,18}):(-?\d{0,18})(?::(\d{1,18}))?")


def looks_like_ids(word: str) -> bool:
    """Return whether a word can only be meant as ids."""
    return word == "all" or word.startswith("@") or re.fullmatch(r"[\d:,-]+", word) is not None


def ids_of(words: Iterable[str], count: int, groups: Mapping[str, Sequence[int]]) -> list[int]:
    """Return the features that the words name, each once, in the order named.

    Args:
        words: what was typed, split at spaces.
        count: D; features are 0..D-1.
        groups: "dead", "watch" and the like -> their features.

    Raises:
        TdbError: there is no such feature, or no such group.
        UsageError: a word names no feature.
    """
    found: dict[int, None] = {}
    for part in (part for word in words for part in word.split(",") if part):
        found.update(dict.fromkeys(_ids(part, count, groups)))
    return list(found)


def early_ids(words: Iterable[str], groups: Mapping[str, Sequence[int]]) -> list[int]:
    """Return the features that the words name before it is known how many there are; arguments as in `ids_of`.

    Raises:
        StateError: what a word names depends on the number of features, as with `all` and `8:`, or on a step.
        TdbError: no layer has so many features.
        UsageError: a word names no feature.
    """
    words = [part for word in words for part in word.split(",") if part]
    for word in words:
        if word == "all" or re.fullmatch(r"@(?!watch$).*|.*-.*|\d*:(:\d+)?", word):
            raise StateError(
                f"which features {word!r} are is known from the first step on", "Until then by number: 0 15 31, 0:64:16"
            )
    return ids_of(words, MOST_FEATURES, groups)


def _ids(word: str, count: int, groups: Mapping[str, Sequence[int]]) -> Iterable[int]:
    if word == "all":
        return range(count)
    if word.startswith("@"):
        if word[1:] not in groups:
            raise UsageError(f"no group {word!r}", f"Groups: {', '.join('@' + name for name in groups)}, all")
        return groups[word[1:]]
    if match := _RANGE.fullmatch(word):
        start, stop, step = (int(part) if part else None for part in match.groups())
        if step == 0:
            raise UsageError(f"{word!r} steps by 0", "A range is A:B or A:B:S, as in numpy")
        for bound in (start, stop):
            if bound is not None and abs(bound) > count:
                raise TdbError(f"no feature {bound}", f"features are 0..{count - 1}")
        return range(count)[start:stop:step]
    if not re.fullmatch(r"\d{1,18}", word):
        raise UsageError(f"{word!r} is no feature", f"features are 0..{count - 1}, A:B[:S], @dead and the like, or all")
    if int(word) >= count:
        raise TdbError(f"no feature {word}", f"features are 0..{count - 1}")
    return [int(word)]
