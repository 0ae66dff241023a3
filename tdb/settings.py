"""Settings: `set` lists them, `set NAME` shows one, `set NAME VALUE` changes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdb.errors import TdbError, UsageError, did_you_mean
from tdb.files import is_there

SMALLEST_BUDGET = 64 * 2**10
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def _choice(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise UsageError(f"one of {', '.join(words)}, not {text!r}")
        return text

    return parse


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise UsageError(f"on or off, not {text!r}")
    return text == "on"


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"a number from 0 to 1, not {text!r}")
    return value


def _every(text: str) -> int:
    if not re.fullmatch(r"\d{1,18}", text) or int(text) < 1:
        raise UsageError(f"a number of steps from 1, not {text!r}")
    return int(text)


def _step_on(text: str) -> str:
    if not all(part.isidentifier() for part in text.split(".")):
        raise UsageError(f"auto, tick, fetch, backward or the name of an optimizer, not {text!r}")
    return text


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text):
        raise UsageError(f"a number from 0 to 999, not {text!r}")
    return int(text)


def _folder(text: str) -> Path | None:
    """Return a folder; None for "off"."""
    if text == "off":
        return None
    try:
        path = Path(text).expanduser().absolute()
    except FileNotFoundError:
        raise UsageError(f"a folder or off, and the working folder of {text} has gone") from None
    if is_there(path) and not path.is_dir():
        raise UsageError(f"a folder or off, and {text} is a file")
    return path


def bytes_of(text: str) -> int:
    """Return a size such as 256MiB, 1GiB or 65536 in bytes; raises UsageError for anything else, or too little."""
    match = re.fullmatch(r"(\d{1,18})\s*([KMGT]?)(?:iB|B)?", text, re.IGNORECASE)
    size = 0 if match is None else int(match[1]) * _UNITS[match[2].upper()]
    if size < SMALLEST_BUDGET:
        raise UsageError(f"a size from 64KiB, such as 256MiB, not {text!r}")
    return size


def size_of(number: int) -> str:
    """Return a number of bytes as `bytes_of` reads it, in the largest unit that divides it."""
    unit = next((unit for unit in "TGMK" if number % _UNITS[unit] == 0), "")
    return f"{number // _UNITS[unit]}{unit}iB" if unit else str(number)


def plainly(value: Any) -> str:
    """Return a value that is no size as it would be typed."""
    return "on" if value is True else "off" if value is False or value is None else str(value)


@dataclass(frozen=True)
class Setting:
    """One setting: what it starts as, how it is read, what it does, and how it is written."""

    default: Any
    parse: Callable[[str], Any]
    meaning: str
    shown: Callable[[Any], str] = plainly


SETTINGS: Mapping[str, Setting] = {
    "capture.at_stops": Setting(
        False, _switch, "capture every step at which a stop point may stop; otherwise only those that it needs captured"
    ),
    "checkpoints.budget": Setting(2**30, bytes_of, "memory that checkpoints may take, for going back in time", size_of),
    "checkpoints.forks": Setting(0, _count, "copies of the process set aside, for going back in a script; CPU only"),
    "checkpoints.in_place": Setting(
        False, _switch, "go back in place in a script, too, where its own variables and counters do not go back"
    ),
    "checkpoints.spill": Setting(None, _folder, "a folder for checkpoints that do not fit into their memory; or off"),
    "figures": Setting("auto", _choice("auto", "window", "inline", "file", "off"), "where figures go"),
    "guard": Setting(True, _switch, "put back what Python at the prompt does to training modes and buffers"),
    "history.budget": Setting(256 * 2**20, bytes_of, "memory that history and trajectories may take", size_of),
    "pager": Setting(True, _switch, "show tables longer than the screen in $PAGER"),
    "record.every": Setting(10, _every, "metrics are recorded every so many steps while nobody looks"),
    "status.dead": Setting(0.01, _share, "a feature whose status metric is below this is dead"),
    "status.winner": Setting(0.05, _share, "a feature whose status metric is above this is a winner"),
    "step.on": Setting(
        "auto",
        _step_on,
        "what a step is, where tdb finds it: auto, tick, fetch, backward, or an optimizer's name",
    ),
    "traceback": Setting("short", _choice("short", "full"), "how much of a crash in training is shown"),
}


def is_setting(line: str) -> bool:
    """Return whether a line changes one of these settings, and not one of training's own values."""
    command, name, *_ = [*line.split(maxsplit=2), "", ""]
    return command == "set" and name in SETTINGS


class Settings:
    """The values in force."""

    def __init__(self) -> None:
        self._values = {name: setting.default for name, setting in SETTINGS.items()}
        self._listeners: list[Callable[[str, Any], None]] = []

    def __getitem__(self, name: str) -> Any:
        return self._values[self._known(name)]

    def change(self, name: str, text: str) -> Any:
        """Set `name` to the value that `text` spells, and return that value.

        Raises:
            TdbError: there is no such setting, or no such value, or it cannot be in force; nothing changes then.
        """
        value = self.read(name, text)
        before, self._values[name] = self._values[name], value
        told: list[Callable[[str, Any], None]] = []
        try:
            for listener in self._listeners:
                listener(name, value)
                told.append(listener)
        except TdbError:
            self._values[name] = before
            for listener in told:
                listener(name, before)
            raise
        return value

    def read(self, name: str, text: str) -> Any:
        """Return the value of `name` that `text` spells; raises TdbError if there is no such setting or value."""
        setting = SETTINGS[self._known(name)]
        try:
            return setting.parse(text)
        except UsageError as error:
            raise UsageError(f"set {name} takes {error.message}", f"Now: {self.shown(name)}") from None

    def become(self, changed: Mapping[str, str]) -> None:
        """Let exactly these not be at their default; they are given as `changed` returns them."""
        now = self.changed()
        for name in now.keys() - changed.keys():
            self.change(name, SETTINGS[name].shown(SETTINGS[name].default))
        for name, value in changed.items():
            if now.get(name) != value:
                self.change(name, value)

    def on_change(self, listener: Callable[[str, Any], None]) -> None:
        """Call `listener(name, value)` after each change; if it raises TdbError, nothing is changed.

        Those who have heard of the change by then are called with the value before.
        """
        self._listeners.append(listener)

    def described(self) -> Iterable[tuple[str, str]]:
        """Return (name, meaning) of every setting."""
        return ((name, setting.meaning) for name, setting in SETTINGS.items())

    def changed(self) -> dict[str, str]:
        """Return the settings that are not at their default, as they would be typed."""
        return {name: self.shown(name) for name, value in self._values.items() if value != SETTINGS[name].default}

    def shown(self, name: str) -> str:
        """Return the value of `name` as it would be typed."""
        value = self[name]
        return SETTINGS[name].shown(value)

    def thresholds(self) -> dict[str, float]:
        """Return "dead" and "winner", from when on a feature is either, where the user has set them."""
        values = {name: self[f"status.{name}"] for name in ("dead", "winner")}
        return {name: value for name, value in values.items() if value != SETTINGS[f"status.{name}"].default}

    @staticmethod
    def _known(name: str) -> str:
        if name not in SETTINGS:
            near = did_you_mean(name, SETTINGS)
            raise UsageError(f"no setting {name!r}", near or f"Settings: {', '.join(SETTINGS)}")
        return name
