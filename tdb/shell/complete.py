"""Completion: commands, then their arguments by kind; file names where a file is meant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from tdb.commands.binding import COMMON_OPTIONS
from tdb.names import command_names

if TYPE_CHECKING:
    from tdb.commands import Command
    from tdb.session import Session


class ShellCompleter(Completer):
    """Offers what would be right at the cursor."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield completions of the word before the cursor."""
        text = document.text_before_cursor.rpartition(";;")[2].lstrip()
        offered = self._session.shell.completions(document.text_before_cursor)
        if offered is not None:
            word = document.text_before_cursor.rpartition(" ")[2]
            yield from (Completion(each, -len(word)) for each in offered)
            return
        words = text.split(" ")
        if len(words) == 1:
            yield from _matching(words[0], command_names(self._session))
            return
        command = self._session.registry.find(words[0])
        if command is None:
            return
        before = words[-2] if len(words) > 2 else ""
        if self._wants_file(command, before):
            yield from self._paths.get_completions(Document(words[-1]), complete_event)
            return
        yield from _matching(words[-1], self._arguments(command, words[1:-1]))

    def _wants_file(self, command: Command, before: str) -> bool:
        files = [each for each in command.parameters if each.kind.name == "FILE"]
        return before == "-o" or any(each.role == "positional" or each.word == before for each in files)

    def _arguments(self, command: Command, before: list[str]) -> Iterable[tuple[str, str]]:
        """Yield what may follow the words before the cursor."""
        named = {each.word: each for each in command.parameters if each.role in ("word", "flag")}
        last = named.get(before[-1].removeprefix("--")) if before else None
        if last is not None and last.role == "word":
            yield from last.kind.complete(self._session)
            return
        places = command.places
        taken = sum(word not in named for word in before)
        if places:  # the last one takes the rest
            yield from places[min(taken, len(places) - 1)].kind.complete(self._session)
        yield from ((word, parameter.usage) for word, parameter in named.items())
        yield from ((option, "") for option in COMMON_OPTIONS)


def _matching(prefix: str, candidates: Iterable[tuple[str, str]]) -> Iterable[Completion]:
    for word, meaning in candidates:
        if word.startswith(prefix):
            yield Completion(word, -len(prefix), display_meta=meaning)
