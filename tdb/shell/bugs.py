"""A mistake of tdb's own: one line for the user, the traceback in a log file."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from tdb.errors import TdbError, in_words, is_out_of_memory

if TYPE_CHECKING:
    from pathlib import Path


def logged(error: BaseException, log_file: Path) -> TdbError:
    """Write the traceback of a bug to a log file, and return the line that says so; what is no bug is only told."""
    if is_out_of_memory(error):
        return TdbError("there is not enough memory for this answer", in_words(error))
    text = "".join(traceback.format_exception(error))
    message = f"a bug in tdb: {in_words(error)}"
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("a", encoding="utf-8") as log:
            log.write(f"{text}\n")
    except OSError:
        return TdbError(message, f"Its traceback:\n{text}")
    return TdbError(message, f"Its traceback is in {log_file}")


def was_interrupted(error: BaseException) -> bool:
    """Return whether a Ctrl-C is at the bottom of an error: a module that it came into while it was imported fails."""
    cause = error.__cause__ or error.__context__
    return isinstance(error, KeyboardInterrupt) or (cause is not None and was_interrupted(cause))
