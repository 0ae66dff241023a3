"""The frames of a Python stack: whose code they run, and where they are.

tdb's own are hidden: what is looked at is the training loop, where it waits at the boundary.
"""

from __future__ import annotations

import functools
import gc
import linecache
import sys
import sysconfig
import threading
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

from tdb.files import as_shown

HERE = str(Path(__file__).parent) + "/"
INSTALLED = frozenset({"site-packages", "dist-packages"})
STANDARD = sysconfig.get_path("stdlib") + "/"
MAY_COLLECT_UNDER_LOCK = sys.version_info < (3, 12)  # until 3.11.9, https://github.com/python/cpython/issues/106883


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


def frames_of_threads() -> dict[int, FrameType]:
    """Return the innermost frame of each thread, by the thread's number.

    Python 3.11 may collect garbage meanwhile, under a lock that threads need to begin and to end: a finalizer that
    starts one, or lets another thread run that does, would wait for ever, and hold the interpreter. None comes here.
    """
    collects = MAY_COLLECT_UNDER_LOCK and gc.isenabled()
    if collects:
        gc.disable()
    try:
        return sys._current_frames()  # noqa: SLF001 - what pdb uses
    finally:
        if collects:
            gc.enable()


def stack_of(thread: threading.Thread | None) -> list[FrameType]:
    """Return the user's frames of `thread`, outermost first; empty if it has ended or only runs code of tdb."""
    frame = frames_of_threads().get(thread.ident or -1) if thread is not None else None
    return _user_frames(frame)


def stack_of_error(traceback: TracebackType | None) -> list[tuple[FrameType, int]]:
    """Return the user's frames of an exception, outermost first, each with the line that it had come to.

    A frame itself says where it has got to since: `except` and `finally` have run in it.
    """
    found = _lines_of(traceback)
    return [(frame, line) for frame, line in found[frames_around_cell(traceback) :] if not is_own(frame)]


def frames_around_cell(traceback: TracebackType | None) -> int:
    """Return how many of the outermost frames of an exception are those of a notebook that runs a cell."""
    return max((place for place, (frame, _) in enumerate(_lines_of(traceback), 1) if runs_a_cell(frame)), default=0)


def _lines_of(traceback: TracebackType | None) -> list[tuple[FrameType, int]]:
    lines = []
    while traceback is not None:
        lines.append((traceback.tb_frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    return lines


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
