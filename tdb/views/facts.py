"""Names with their values, and text as it is."""

from __future__ import annotations

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
    """Yield the lines of a text as they are, folded at `width`."""
    for line in printable(text.text, ascii_only=ascii_only).expandtabs().splitlines():
        yield from folded([(line, "")], width)
