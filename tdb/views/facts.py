"""Names with their values, and text as it is."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from tdb.results import Facts, Text
from tdb.views import theme
from tdb.views.lines import Line, folded, pad, prose, text_width
from tdb.views.number import printable, value_text

NARROWEST_VALUE = 20


def facts_lines(
    facts: Facts, width: int | None = None, *, full: bool = False, ascii_only: bool = False
) -> Iterator[Line]:
    """Yield one line a name, the values below one another; a value too long for `width` is wrapped."""
    if facts.title:
        yield from prose(printable(facts.title, ascii_only=ascii_only), theme.HEADER, width)
    names = [printable(str(name), ascii_only=ascii_only) for name in facts.values]
    indent = max(map(text_width, names), default=0) + 2
    for name, value in zip(names, facts.values.values(), strict=True):
        text = value_text(value, full=full, ascii_only=ascii_only)
        room = max((width or 0) - indent, NARROWEST_VALUE)
        pieces = textwrap.wrap(text, room) if width else [text]
        for label, piece in zip((name, *[""] * len(pieces)), pieces or [""], strict=False):
            yield [(pad(label, indent), theme.DIM), (piece, "")]


def text_lines(text: Text, width: int | None = None, *, ascii_only: bool = False) -> Iterator[Line]:
    """Yield the lines of a text as they are, folded at `width`, prose between words."""
    shown = printable(text.text, ascii_only=ascii_only).expandtabs()
    if text.is_prose and width:
        shown = re.sub(r"(?<=.)\n(?=\S)", " ", shown)  # paragraphs are broken anew
    for line in shown.splitlines():
        if text.is_prose and line:
            yield from prose(line, "", width)
            continue
        place = next((place for place in text.places if line.endswith(place)), "")
        fitting = [line] if width is None or not place else with_place(line.removesuffix(place), place, width)
        for each in fitting:
            yield from folded([(each, "")], width)


def with_place(line: str, place: str, width: int) -> list[str]:
    """Return a line that ends in a place as one of at most `width` columns, or as two if that cannot be.

    The space before the place goes first, then folders from the left; what is still too long stands below.
    """
    before, room = line.rstrip(), width - text_width(line)
    if text_width(place) <= room:
        return [line + place]
    gap = line[len(before) :][:2] if before else line
    room = width - text_width(before + gap)
    if text_width(fitting := _from_left(place, room)) <= room:
        return [before + gap + fitting]
    return [before, f"  {_from_left(place, width - 2)}"]


def _from_left(place: str, room: int) -> str:
    """Return a place without as many of its first folders as make it fit into `room` columns; the file's name stays."""
    shown = place
    while text_width(shown) > room and "/" in place:
        place = place.partition("/")[2]
        shown = f".../{place}"
    return shown
