"""Commands from `-c`, `-x` and a pipe: a script. The first error ends it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tdb.shell.interpreter import Interpreter


@dataclass(frozen=True)
class Source:
    """One `-c COMMAND` or `-x FILE`."""

    text: str
    is_file: bool


def run_sources(interpreter: Interpreter, sources: Sequence[Source], *, go_on: bool) -> bool:
    """Run them in order; return whether all succeeded. With `go_on` a failing command does not end the script."""
    succeeded = True
    for source in sources:
        if source.is_file:
            lines = Path(source.text).read_text().splitlines()
            succeeded &= interpreter.lines(lines, source.text, echo=True, go_on=go_on)
        else:
            succeeded &= interpreter.execute(source.text)
        if not (succeeded or go_on):
            break
    return succeeded


def run_stdin(interpreter: Interpreter, *, go_on: bool) -> bool:
    """Run what is piped in, each line as it arrives."""
    return interpreter.lines(sys.stdin, "<stdin>", go_on=go_on)
