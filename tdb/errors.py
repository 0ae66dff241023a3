"""What can go wrong, as the user sees it.

TdbError                     a mistake that one line explains; the session goes on
├── UsageError               the line itself is wrong: unknown command, bad argument (exit status 2)
└── StateError               the line is right, but not now: training is running, finished, not started
    └── NotCapturedError     this step was not captured from its start: taken again, it is
TrainingStopped              raised inside the training loop by `stop()`, to unwind it
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

# The exit status of what a Ctrl-C has ended.
INTERRUPTED_STATUS = 130
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


class TdbError(Exception):
    """One line that says what is wrong, and a hint that says what would be right.

    A hint that begins with a capital letter is a sentence of its own; any other follows a colon.
    """

    code = "error"
    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        if not self.hint:
            return self.message
        return f"{self.message}{'. ' if self.hint[0].isupper() else ': '}{self.hint}"


class UsageError(TdbError):
    """The typed line cannot be understood."""

    code = "usage"
    exit_status = 2


class StateError(TdbError):
    """The command does not apply in the present state of training."""

    code = "state"


class NotCapturedError(StateError):
    """What only a step has that was captured from its start, of one that was not."""

    def __init__(self, message: str = "this step was not captured") -> None:
        super().__init__(message, "`step` captures the next one")


class TrainingStopped(SystemExit):
    """Unwinds a training loop that was told to stop.

    A SystemExit, so that `except Exception` in the loop does not swallow it, and a bare thread ends without a
    traceback.
    """


def in_words(error: BaseException) -> str:
    """Return "ValueError: too big", or, as Python does, the type alone of an exception that says nothing."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - an exception of the script's own; Python says the same
        said = "<exception str() failed>"
    return f"{type(error).__name__}: {said}".removesuffix(": ")


def in_a_line(error: BaseException) -> str:
    """Return the first line of `in_words`: torch's own errors go on about backends."""
    return in_words(error).partition("\n")[0]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that there is not enough memory, as Python, torch and its backends say it."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in OUT_OF_MEMORY)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "Did you mean: a, b" for the known names close to `word`, or containing it, or an empty string."""
    names = list(known)
    near = get_close_matches(word, names, n=3) or [name for name in names if len(word) > 1 and word in name][:3]
    return f"Did you mean: {', '.join(near)}" if near else ""
