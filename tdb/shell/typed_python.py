"""What was typed and is no command: Python, or a command that does not exist."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from tdb.commands.python import part_of
from tdb.errors import StateError, TdbError, UsageError, did_you_mean
from tdb.prompt_python import compiled, run_python
from tdb.results import Result, Text
from tdb.shell.parse import goes_on
from tdb.standing import READY
from tdb.travel.edits import changes, note_python

if TYPE_CHECKING:
    from tdb.session import Session
    from tdb.typed import Typed

MISTYPED = 0.85
"""How like a command's name a word is that was meant to be it; another may be one that the script brings."""


def answer_python(session: Session, typed: Typed) -> Result:
    """Evaluate what was typed in the selected frame.

    Raises:
        UsageError: it looks like a command, and there is none of this name, or like the first line of several.
        TdbError: what the Python raised.
    """
    if goes_on(typed.text):
        raise UsageError("this is the first line of more Python", "`interact` reads Python of several lines")
    try:
        value = run_python(session, typed.text)
    except StateError:
        if typed.forced or not _looks_unknown(typed.text):
            raise
        raise _unknown(session, typed.text) from None
    except TdbError as error:
        if typed.forced or not isinstance(error.__cause__, NameError | SyntaxError):
            raise
        if _looks_unknown(typed.text):
            raise _unknown(session, typed.text) from None
        raise
    notes = session.take_notices()
    if changes(typed.text, forced=typed.forced):
        notes += note_python(session, typed.text)
    if value is None:
        return Result(notes=notes, data={"value": None})
    session.value = value
    part = part_of(value)
    return Result([part], {"value": value if isinstance(part, Text) else part}, notes)


def _looks_unknown(text: str) -> bool:
    word, _, rest = text.partition(" ")
    if not word.replace("-", "_").isidentifier():
        return False
    return not rest or _does_not_compile(text)


def _unknown(session: Session, text: str) -> UsageError:
    word = text.split(maxsplit=1)[0]
    if word in session.aliases:  # it was replaced already, and has come back
        return UsageError(f"the alias {word!r} leads back to itself", f"Another meaning: alias {word} step 10")
    names = session.registry.names()
    near = did_you_mean(word, names) or "`help` lists the commands"
    if session.status == READY and session.run is not None and not get_close_matches(word, names, cutoff=MISTYPED):
        near += "; those of the script are known from `start` on"
    return UsageError(f"unknown command {word!r} (nor Python)", near)


def _does_not_compile(text: str) -> bool:
    try:
        compiled(text, "exec")
    except (SyntaxError, ValueError):
        return True
    return False
