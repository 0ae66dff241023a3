"""What a typed line means: a command, Python, or nothing.

    line = cmd { ";;" cmd }                ";;" inside quotes or brackets does not split, nor after `alias NAME`
    cmd  = "" | "#" text | "!" python | verb ["&"] [arguments] | python

A first word is a command only if it ends at a space, at the end of the line or at "&", and only by its exact name or a
listed short form: `c.a`, `n()` and `j=1` are Python, as a pdb user expects.
"""

from __future__ import annotations

import re
from codeop import compile_command
from collections.abc import Callable, Mapping
from textwrap import dedent
from typing import TYPE_CHECKING

from tdb.errors import UsageError
from tdb.tokens import split_outside
from tdb.typed import Typed

if TYPE_CHECKING:
    from tdb.commands import Registry

_FIRST_WORD = re.compile(r"([A-Za-z_][\w-]*|\?)(?=\s|&|$)")
_PARAMETER = re.compile(r"%([1-9*])")
_DEFINITION = re.compile(r"\s*alias\s+[A-Za-z_][\w-]*\s+[^\s=]")
_CLAUSE = re.compile(r"(elif|else|except|finally)\b|[)\]}]")
_ASSIGNMENT = re.compile(r"=(?!=)")


def split_line(line: str) -> list[str]:
    """Split a line at ";;" outside quotes and brackets; empty pieces and comments vanish.

    `alias NAME MEANING` takes the rest of the line, as in pdb.
    """

    def double(text: str, position: int) -> int:
        return 2 if text.startswith(";;", position) else 0

    if line.lstrip().startswith("#"):
        return []
    found: list[str] = []
    for start, piece in split_outside(line, double):
        if _DEFINITION.match(piece):
            return [*found, line[start:].strip()]
        if text := piece.strip():
            found += [] if text.startswith("#") else [text]
    return found


def expanded(line: str, aliases: Mapping[str, str]) -> list[str]:
    """Split a line as `split_line` does, with aliases replaced by what they stand for, ";;" and all.

    In an alias `%1` to `%9` are the words that follow its name, and `%*` all of them; one without any of these is
    simply put in place of its name. An alias that comes back to itself is replaced once.
    """
    return [text for piece in split_line(line) for text in _expanded(piece, aliases, frozenset())]


def _expanded(piece: str, aliases: Mapping[str, str], used: frozenset[str]) -> list[str]:
    match = _FIRST_WORD.match(piece)
    if match is None or match[1] not in aliases or match[1] in used:
        return [piece]
    body, rest = aliases[match[1]], piece[match.end() :].strip()
    words = rest.split()

    def parameter(found: re.Match[str]) -> str:
        number = found[1]
        return rest if number == "*" else words[int(number) - 1] if int(number) <= len(words) else ""

    text = _PARAMETER.sub(parameter, body) if _PARAMETER.search(body) else f"{body} {rest}".strip()
    return [each for part in split_line(text) for each in _expanded(part, aliases, used | {match[1]})]


def goes_on(text: str) -> bool:
    """Return whether text is the beginning of a Python statement that goes on in the next line."""
    try:
        return compile_command(text, symbol="exec") is None and not text.lstrip().startswith("#")
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        return False


def pasted_lines(text: str, is_command: Callable[[str], bool]) -> list[str]:
    """Return what was pasted as it would have been typed: one command after the other, Python statements whole.

    Args:
        text: several lines.
        is_command: tells whether a line is a command, and so ends where it ends.
    """
    found: list[str] = []
    for line in dedent(text).splitlines():
        in_python = bool(found) and not is_command(found[-1])
        if in_python and (line[:1].isspace() or _CLAUSE.match(line) or goes_on(found[-1].removeprefix("!"))):
            found[-1] += f"\n{line}"
        elif line.strip():
            found.append(line)
    return found


def as_written(line: str) -> str:
    """Return a line that was read where the locale knows ASCII alone: what else there is in it was written as UTF-8."""
    if line.isascii():
        return line
    try:
        return line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:  # half a character, which no locale has made
        return line


def is_command(text: str, registry: Registry, aliases: Mapping[str, str]) -> bool:
    """Return whether a line begins with the name of a command or an alias."""
    match = _FIRST_WORD.match(text.lstrip())
    return match is not None and (match[1] in aliases or registry.find(match[1]) is not None)


def understand(text: str, registry: Registry) -> Typed:
    """Return what one piece of a line means, aliases being replaced already.

    Raises:
        UsageError: a command's name is assigned to, which is Python only with a leading "!".
    """
    if text.startswith("!"):
        return Typed(text[1:].strip(), forced=True)
    match = _FIRST_WORD.match(text)
    command = registry.find(match[1]) if match is not None else None
    if match is None or command is None:
        return Typed(text)
    arguments = text[match.end() :].strip()
    if _ASSIGNMENT.match(arguments):
        raise UsageError(f"{match[1]!r} is a command, and this would assign to it", f"In Python: !{text}")
    return Typed(text, command, arguments)
