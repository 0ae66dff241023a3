"""A session as a readable text file that somebody else can rerun.

    # A recorded tdb session ...
    #: script train.py                  how the run began
    #: arguments --lr 0.1
    step 5                              a command
    #= stopped step 5 loss 0.125        where training stood then: what a replay checks

Everything that is no command begins with "#", so the file is also one that `source` and `tdb -x` take.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from tdb.errors import UsageError
from tdb.journal import PAUSED_BY_HAND, Entry, Standing
from tdb.origin import Origin
from tdb.standing import RUNNING
from tdb.tokens import lines_of

Given = TypeVar("Given")
Found = TypeVar("Found")

FORMAT = 1
ABOUT, CHECK = "#:", "#="
HEADER = """\
# A recorded tdb session: `tdb replay FILE` runs it again and says whether it came out the same.
# Lines that begin with none of these are commands, and may be edited. "#:" says how the run began,
# "#=" where training stood after the command above it."""
NOT_REPEATED = frozenset({"record", "quit", "q", "exit", "wait", "pause", "history", "source"})
"""Commands that mean nothing in a rerun, or whose lines stand there already."""


# ---- writing ---------------------------------------------------------------------------------------------------------


class Transcript:
    """A session as the text of a file that grows with it."""

    def __init__(self) -> None:
        self._said: set[str] = set()  # of how the run began
        self._under_way = ""  # what lets training run in the background; what it comes to is known when it stops

    def begin(self, origin: Origin, entries: Iterable[Entry], date: str = "") -> str:
        """Return the text so far; `date` is shown as it is."""
        header = [HEADER, *([f"# Recorded {date}."] if date else [])]
        return _text([*header, *self._news(origin), "", *self._lines(entries)])

    def go_on(self, origin: Origin, entry: Entry) -> str:
        """Return what an entry adds, and what has come to be known of how the run began."""
        return _text([*self._news(origin), *self._lines([entry])])

    def _news(self, origin: Origin) -> list[str]:
        news = [line for line in _about(origin) if line not in self._said]
        self._said.update(news)
        return news

    def _lines(self, entries: Iterable[Entry]) -> Iterator[str]:
        for entry in entries:
            word = entry.text.partition(" ")[0]
            if entry.has_moved:
                if entry.after.reason == PAUSED_BY_HAND:
                    yield f"# {self._under_way or entry.text}: stopped by hand"
                    yield f"until {entry.after.step}"
                elif self._under_way or entry.text:
                    yield (self._under_way or entry.text).removesuffix("&").rstrip()
                yield f"{CHECK} {check_text(entry.after)}"
                self._under_way = ""
            elif entry.after.status == RUNNING:
                if entry.before.status != RUNNING:
                    self._under_way = entry.text
                elif word not in NOT_REPEATED:
                    yield f"# while training ran, and so not repeated: {entry.text}"
            elif entry.error:
                yield f"# failed: {entry.text}"
                yield from (f"#   *** {line}" for line in entry.error.splitlines())
            elif word not in NOT_REPEATED:
                yield entry.text


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _about(origin: Origin) -> Iterator[str]:
    yield f"{ABOUT} recording {FORMAT}"
    yield f"{ABOUT} {'module' if origin.is_module else 'script'} {shlex.quote(origin.target)}"
    if origin.arguments:
        yield f"{ABOUT} arguments {shlex.join(origin.arguments)}"
    if origin.seed is not None:
        yield f"{ABOUT} seed {origin.seed}"
    if origin.threads is not None:
        yield f"{ABOUT} threads {origin.threads}"
    for name, value in origin.environment.items():
        yield f"{ABOUT} environment {shlex.quote(f'{name}={value}')}"
    for name, value in origin.versions.items():
        yield f"{ABOUT} version {name} {value}"


def check_text(stood: Standing) -> str:
    """Return "stopped step 5 epoch 1 loss 0.125": exact, as `float` reads it."""
    epoch = "" if stood.epoch is None else f" epoch {stood.epoch}"
    loss = "" if stood.loss is None else f" loss {stood.loss!r}"
    return f"{stood.status} step {stood.step}{epoch}{loss}"


# ---- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """Where training has to stand."""

    status: str
    step: int
    epoch: int | None = None
    loss: float | None = None

    def differences(self, stood: Standing) -> list[str]:
        """Return in words what is not the same, to the last bit of the loss."""
        found = []
        if self.status != stood.status:
            found.append(f"training is {stood.status}, and was {self.status}")
        if self.step != stood.step:
            found.append(f"at step {stood.step}, and was at step {self.step}")
        if self.epoch != stood.epoch:
            found.append(f"epoch {stood.epoch}, and was {self.epoch}")
        if not same(self.loss, stood.loss):
            found.append(f"loss {stood.loss!r}, and was {self.loss!r}{_size(self.loss, stood.loss)}")
        return found


def same(one: float | None, other: float | None) -> bool:
    """Return whether two losses are the same number, NaN being the same as NaN."""
    if one is None or other is None:
        return one is other
    return one == other or (math.isnan(one) and math.isnan(other))


def _size(one: float | None, other: float | None) -> str:
    if one is None or other is None or not (math.isfinite(one) and math.isfinite(other)):
        return ""
    return f": it differs by {abs(one - other):.3g}"


class Line(NamedTuple):
    """One line of a recording that does something: its number in the file, its kind and its text."""

    number: int
    kind: Literal["command", "check"]
    text: str


@dataclass(frozen=True)
class Recording:
    """A recorded session."""

    name: str
    origin: Origin
    lines: Sequence[Line]


def parse_recording(text: str, name: str) -> Recording:
    """Return the session that a file's text holds; `name` is what the file is called in messages.

    Raises:
        UsageError: it is no recording, or a line of it cannot be understood.
    """
    about: dict[str, list[str]] = {}
    lines: list[Line] = []
    for number, line in enumerate(lines_of(text), 1):
        if line.startswith(ABOUT):
            key, _, value = line.removeprefix(ABOUT).strip().partition(" ")
            about.setdefault(key, []).append(value.strip())
        elif line.startswith(CHECK):
            check = line.removeprefix(CHECK).strip()
            _checked(parse_check, check, f"{name}:{number}")
            lines.append(Line(number, "check", check))
        elif not line.lstrip().startswith("#"):
            lines.append(Line(number, "command", line))
    if "recording" not in about or not about.keys() & {"script", "module"}:
        raise UsageError(f"{name} is no recorded session", "`record FILE` at the prompt writes one")
    if about["recording"] != [str(FORMAT)]:
        raise UsageError(f"{name} was recorded by another version of tdb: its format is {about['recording'][0]}")
    return Recording(name, _checked(_origin, about, name), lines)


def _checked(parse: Callable[[Given], Found], given: Given, name: str) -> Found:
    try:
        return parse(given)
    except (ValueError, IndexError) as error:
        raise UsageError(f"{name}: {error}") from None


def parse_check(text: str) -> Check:
    """Return the check that `check_text` has written.

    Raises:
        ValueError: it is none.
    """
    status, *rest = text.split()
    words = dict(zip(rest[::2], rest[1::2], strict=True))
    if "step" not in words or words.keys() - {"step", "epoch", "loss"}:
        raise ValueError(f"a check is such as `stopped step 5 epoch 1 loss 0.125`, not {text!r}")
    epoch, loss = words.get("epoch"), words.get("loss")
    return Check(
        status, int(words["step"]), None if epoch is None else int(epoch), None if loss is None else float(loss)
    )


def _origin(about: dict[str, list[str]]) -> Origin:
    def last(key: str) -> str:
        return about.get(key, [""])[-1]

    is_module = "module" in about
    (target,) = shlex.split(last("module" if is_module else "script"))
    environment = [shlex.split(each)[0].partition("=") for each in about.get("environment", [])]
    return Origin(
        target,
        tuple(shlex.split(last("arguments"))),
        is_module,
        int(last("seed")) if last("seed") else None,
        int(last("threads")) if last("threads") else None,
        {name: value for name, _, value in environment},
        {name: value for name, _, value in (each.partition(" ") for each in about.get("version", []))},
    )
