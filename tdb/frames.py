"""The training thread's Python stack, and Python evaluated in it as pdb does.

tdb's own frames are hidden: the selected frame is the training loop's, where it waits at the boundary.
"""

from __future__ import annotations

import ctypes
import functools
import linecache
import re
import sys
import sysconfig
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from tdb.errors import TdbError, in_words
from tdb.files import as_shown

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = str(Path(__file__).parent) + "/"
FILE_NAME = "<tdb>"
INSTALLED = frozenset({"site-packages", "dist-packages"})
STANDARD = sysconfig.get_path("stdlib") + "/"
_CONVENIENCE = re.compile(r"\$_(\w*)")


@dataclass(frozen=True)
class Place:
    """A line of the user's code."""

    file: str
    line: int
    function: str
    source: str

    def __str__(self) -> str:
        return f"{self.file}({self.line}) {self.function}"


def is_own(frame: FrameType) -> bool:
    """Return whether a frame runs code of tdb, or of the machinery that starts threads and lets them wait."""
    return _is_own_file(frame.f_code.co_filename)


def is_torch(frame: FrameType) -> bool:
    """Return whether a frame runs code of torch."""
    torch = sys.modules.get("torch")
    return torch is not None and _is_in_package(frame.f_code.co_filename, torch.__file__ or "torch")


def is_library(frame: FrameType) -> bool:
    """Return whether a frame runs code that was installed, such as a framework's, or Python's own."""
    return frame.f_globals.get("__name__") != "__main__" and _is_library_file(frame.f_code.co_filename)


def runs_a_cell(frame: FrameType) -> bool:
    """Return whether a frame is IPython's that runs a cell: all outside of it is the notebook's machinery."""
    return frame.f_code.co_name == "run_code" and frame.f_globals.get("__name__") == "IPython.core.interactiveshell"


def innermost_of_user(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame of the user's own files; where there is none, the innermost not of tdb or torch."""
    fallback = None
    while frame is not None:
        if not (is_own(frame) or is_torch(frame)):
            if not is_library(frame):
                return frame
            fallback = fallback or frame
        frame = frame.f_back
    return fallback


def user_frame() -> FrameType | None:
    """Return the innermost frame of the user's own files that has led to this call; see `innermost_of_user`."""
    return innermost_of_user(sys._getframe())  # noqa: SLF001 - what a debugger lives by


@functools.lru_cache(1024)  # asked in every step, and slow with cold caches
def _is_own_file(name: str) -> bool:
    return name.startswith((HERE, "<frozen")) or name == threading.__file__


@functools.lru_cache(1024)
def _is_library_file(name: str) -> bool:
    return not INSTALLED.isdisjoint(Path(name).parts) or name.startswith(STANDARD)


@functools.lru_cache(1024)
def _is_in_package(name: str, package: str) -> bool:
    return name.startswith(str(Path(package).parent) + "/")


def stack_of(thread: threading.Thread | None) -> list[FrameType]:
    """Return the user's frames of `thread`, outermost first; empty if it has ended or only runs code of tdb."""
    frame = sys._current_frames().get(thread.ident or -1) if thread is not None else None  # noqa: SLF001 - what pdb uses
    return _user_frames(frame)


def stack_of_error(traceback: TracebackType | None) -> list[tuple[FrameType, int]]:
    """Return the user's frames of an exception, outermost first, each with the line that it had come to.

    A frame itself says where it has got to since: `except` and `finally` have run in it.
    """
    found = []
    while traceback is not None:
        found.append((traceback.tb_frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    outermost = max((place for place, (frame, _) in enumerate(found, 1) if runs_a_cell(frame)), default=0)
    return [(frame, line) for frame, line in found[outermost:] if not is_own(frame)]


def _user_frames(frame: FrameType | None) -> list[FrameType]:
    """Return the frames from `frame` outwards without tdb's own, and from the first that is not torch's either.

    Those of a cell are all that there are in a notebook.
    """
    frames: list[FrameType] = []
    # A boundary may lie inside a call of torch's, such as the update: the line that called it is where training waits.
    while frame is not None and (is_own(frame) or is_torch(frame)):
        frame = frame.f_back
    while frame is not None and not runs_a_cell(frame):
        if not is_own(frame):
            frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def place_of(frame: FrameType, line: int | None = None) -> Place:
    """Return where a frame is, or one of its lines, the file relative to the working folder if it lies below it."""
    path = Path(frame.f_code.co_filename)
    line = line or frame.f_lineno or 0  # none between two lines of a running thread
    source = linecache.getline(str(path), line, frame.f_globals).strip()
    return Place(as_shown(path), line, frame.f_code.co_name, source)


def compiled(text: str, mode: str) -> CodeType:
    """Compile what was typed, without Python's remarks on its style: each would be a line on the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        return compile(text, FILE_NAME, mode)


class Namespace:
    """Where Python typed at the prompt is evaluated: a frame's variables, and names made at the prompt itself."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}
        self._notices: list[str] = []
        self._stop = 0
        self._shadowing: set[str] = set()  # names that were made here and have a value in the script, too

    def at_stop(self, number: int) -> None:
        """Forget at another stop what was made here and hides a value of the script: it would hide its later ones."""
        if number != self._stop:
            for name in self._shadowing:
                self.made.pop(name, None)
            self._stop, self._shadowing = number, set()

    def take_notices(self) -> list[str]:
        """Return which assignments training will not see, and forget it."""
        notices, self._notices = self._notices, []
        return notices

    def run(
        self,
        text: str,
        frame: FrameType | None,
        module: Mapping[str, Any],
        convenience: Mapping[str, Any],
        *,
        lasting: bool = True,
    ) -> Any:
        """Evaluate an expression, or execute a statement, and return the value (None for a statement).

        Args:
            text: Python, in which `$_name` reads `convenience["name"]`.
            frame: the frame whose variables are seen and assigned; without one, `module`'s are.
            module: the script's global names.
            convenience: values of `$_step` and the like.
            lasting: the frame will run on, so that what is assigned in it matters.

        Raises:
            TdbError: whatever the Python raised, as one line.
        """
        used = set(_CONVENIENCE.findall(text))
        if unknown := used - set(convenience):
            known = ", ".join(f"$_{name}" for name in convenience)
            raise TdbError(f"no value $_{min(unknown)}", f"There are {known}")
        text = _CONVENIENCE.sub(r"__tdb_\1", text).strip()
        extra = {**self.made, **{f"__tdb_{name}": convenience[name] for name in used}}
        variables = frame.f_globals if frame is not None else module
        local = frame.f_locals if frame is not None else {}
        try:
            try:
                code = compiled(text, "eval")
            except SyntaxError:
                return self._execute(compiled(text, "exec"), frame, dict(variables), extra, lasting)
            # One dictionary for all, so that a comprehension sees the frame's variables too.
            return eval(code, {**variables, **extra, **local})  # noqa: S307 - a debugger evaluates what is typed
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # `p exit()` is no way out, as in pdb
            raise TdbError(in_words(error)) from error

    def _execute(
        self, code: Any, frame: FrameType | None, module: dict[str, Any], extra: dict[str, Any], lasting: bool
    ) -> None:
        names: dict[str, Any] = dict(frame.f_locals) if frame is not None else {}
        merged = {**extra, **names}
        before = dict(merged)
        exec(code, frame.f_globals if frame is not None else module, merged)  # noqa: S102 - as above
        own = set()
        if frame is not None and frame.f_locals is not frame.f_globals:
            own = {*frame.f_code.co_varnames, *frame.f_code.co_cellvars, *frame.f_code.co_freevars}
            assign_locals(frame, {name: merged[name] for name in own & set(merged)})
        elif frame is not None:
            changed = {name: value for name, value in merged.items() if name not in extra or extra[name] is not value}
            frame.f_globals.update(changed)
        self._delete(before.keys() - merged.keys(), frame, own)
        if frame is not None:
            assigned = [name for name, value in merged.items() if name not in before or before[name] is not value]
            self._note_what_does_not_last(frame, assigned, own, lasting)
        self.made.update(
            {
                name: value
                for name, value in merged.items()
                if name not in own and name not in names and not name.startswith("__tdb_")
            }
        )

    def _delete(self, names: set[str], frame: FrameType | None, own: set[str]) -> None:
        """Delete what a statement has deleted, as far as Python allows it."""
        for name in names:
            self.made.pop(name, None)
            if frame is not None and frame.f_locals is frame.f_globals:
                frame.f_globals.pop(name, None)
            elif frame is not None and name in own:
                self._notices.append(f"{name} stays: a local variable of {frame.f_code.co_name} cannot be deleted here")

    def _note_what_does_not_last(self, frame: FrameType, assigned: list[str], own: set[str], lasting: bool) -> None:
        function = frame.f_code.co_name
        for name in assigned:
            if not lasting and (name in own or frame.f_locals is frame.f_globals):
                self._notices.append(f"{name} is assigned, but {function} will not run on: training is over")
            elif name not in own and frame.f_locals is not frame.f_globals and name in frame.f_globals:
                self._shadowing.add(name)
                self._notices.append(
                    f"{name} is no local variable of {function}: the new value is known at this prompt alone, until "
                    f"training goes on; for the script: ! globals()[{name!r}] = ..."
                )


def assign_locals(frame: FrameType, values: Mapping[str, Any]) -> None:
    """Assign local variables of a running function.

    From Python 3.13 on `f_locals` writes through; before, it is a copy that has to be pushed back.
    """
    local = frame.f_locals
    local.update(values)
    if sys.version_info < (3, 13):
        ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
