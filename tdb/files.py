"""Files that are either the old one or the new one, never half of it."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tdb.errors import TdbError, UsageError

WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def is_there(path: Path) -> bool:
    """Return whether there is anything at `path`; what this user may not know of is not, where `Path.exists` raises."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def must_be_readable(path: Path) -> None:
    """Raise the OSError of reading what is at `path`, without opening it: what is in a pipe can be read once."""
    path.stat()
    if not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def home() -> Path:
    """Return the user's folder; of a user that the system knows nothing of, the one that containers give them."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


def must_be_replaceable(path: Path) -> None:
    """Make sure that a file can be put at `path`, as far as that can be known before.

    Raises:
        TdbError: it is a folder, a device or a pipe, it or its folder is read-only, or its folder is not there.
    """
    target = _meant_by(path)
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG | WRITABLE
        if not target.parent.is_dir():
            raise TdbError(f"cannot write {path}: No such file or directory", "Does its folder exist?") from None
    except OSError as error:
        raise TdbError(f"cannot write {path}: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        raise TdbError(f"cannot write {path}: Is a directory")
    if not stat.S_ISREG(mode):
        raise TdbError(f"cannot write {path}: it is a device or a pipe, and no file")
    if not os.access(target.parent, os.W_OK):
        raise TdbError(f"cannot write {path}: its folder is read-only")
    if not mode & WRITABLE:  # whoever has protected it wants it as it is: the system would let it be replaced
        raise TdbError(f"cannot write {path}: it is read-only")


def _meant_by(path: Path) -> Path:
    """Return where a path leads to, through all links."""
    try:
        return Path(os.path.realpath(path))
    except FileNotFoundError:
        raise TdbError(f"cannot write {path}: the working folder has gone", "Name the file from / on") from None


def as_shown(path: Path) -> str:
    """Return a path as it is shown: relative to the working folder, if that is there and the path lies below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def text_in(path: Path) -> str:
    """Return the text of a file that the user has named.

    Raises:
        UsageError: it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file beside `path` to write to, and move it into place when that has succeeded.

    A link stays a link: what it leads to is replaced. Who may read a file that was there may read the new one.

    Raises:
        TdbError: the file cannot be written, or `path` is a device or a pipe; what was there is as it was.
    """
    must_be_replaceable(path)
    shown, path = path, _meant_by(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise TdbError(f"cannot write {shown}: {error.strerror}") from None
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(_mode_at(path))
        temporary.replace(path)
    except OSError as error:
        raise TdbError(f"cannot write {shown}: {error.strerror or error}") from None
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _mode_at(path: Path) -> int:
    """Return the permissions of the file at `path`, or those of a new one if there is none."""
    with suppress(FileNotFoundError):
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def written_whole(path: Path, text: str) -> str:
    """Write `text` to `path` in one piece, and return the path as it is shown.

    Raises:
        TdbError: the file cannot be written; the old one is as it was.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # half a character stands for itself
    return str(path)


def appended(path: Path, text: str) -> None:
    """Add `text` to the end of a file, in one piece.

    Raises:
        TdbError: the file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        raise TdbError(f"cannot write {path}: {error.strerror or error}") from None
