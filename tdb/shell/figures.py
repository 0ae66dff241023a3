"""Where figures go: a window, the terminal itself, a file, or nowhere.

Only the main thread comes here. Training may use matplotlib's pyplot at the same time, so nothing here touches its
state: windows are made by the toolkit's own canvas, and pyplot never hears of them.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import textwrap
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO, TypeAlias

import numpy as np

from tdb.errors import StateError, TdbError, UsageError, in_words
from tdb.files import replacing
from tdb.results import Picture
from tdb.serialise import to_array
from tdb.shell.windows import Windows, has_display
from tdb.views.figure import caption, draw
from tdb.views.number import printable, takes_only_ascii
from tdb.views.sketch import sketch
from tdb.views.terminal import COLORED, graphics_of, iterm2, kitty, lines_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Mode: TypeAlias = Literal["auto", "window", "inline", "file", "off"]

FORMATS = (".png", ".svg", ".pdf", ".npy")
CELLS_PER_INCH = 12
"""A figure of 8 inches is 96 columns wide where a terminal takes it as it is."""

MOST_LINES, FEWEST_LINES = 32, 4
LINES_BESIDE = 7
"""Of a terminal, around a picture: the command, what it shows and on which scale, the next prompt and its toolbar."""

NUMBERED = re.compile(r"(\d+)-")


def default_mode(environ: Mapping[str, str], out: TextIO, *, interactive: bool = True) -> Mode:
    """Return where figures go when nobody has said: a window, the terminal, or files if `out` is no terminal."""
    if not out.isatty():
        return "file"
    if interactive and has_display(environ):
        return "window"
    return "file" if graphics_of(environ) == "none" else "inline"


def _need_matplotlib() -> None:
    """Make sure that figures can be drawn.

    Raises:
        StateError: they cannot: MPLBACKEND names nothing, or a file of the user's has the name of one of its modules.
    """
    try:
        import_module("matplotlib")
    except Exception as error:
        raise StateError(f"matplotlib fails: {in_words(error)}", "`set figures off` does without figures") from error


class FigureSink:
    """Shows pictures.

    Args:
        mode: where figures go; "auto" asks `default_mode`, "" is the same.
        folder: where files go that nobody has named.
        out: the stream that the lines of `show` will be printed to.
        interactive: whether a person is there to look at windows.
        environ: what the environment says of terminal and display.
        on_click: called with a feature's id when its point in a window is clicked.
    """

    def __init__(
        self,
        mode: str = "auto",
        folder: Path = Path("tdb-figures"),
        *,
        out: TextIO,
        interactive: bool = True,
        environ: Mapping[str, str] = os.environ,
        on_click: Callable[[int], None] | None = None,
    ) -> None:
        self.mode = mode
        self.on_click = on_click
        self.moment: Callable[[], str] = str  # what is to stand on a figure besides what it shows: when that was
        self._folder = folder
        self._out = out
        self._interactive = interactive
        self._environ = environ
        self._windows: Windows | None = None
        # A name in a script may have letters that the figures' font lacks, and shows boxes then; nothing is to be done.
        warnings.filterwarnings("ignore", "Glyph", UserWarning, r"tdb\.")

    def show(self, picture: Picture, name: str) -> list[str]:
        """Show a picture and return the lines to print: what it shows, and where it is if that is not plain to see.

        Args:
            picture: what to show.
            name: the command that made it; in a window it takes the place of the last one of that name.
        """
        said = [printable(caption(picture), ascii_only=self._ascii_only)]
        if self._interactive:
            said = textwrap.wrap(said[0], shutil.get_terminal_size().columns)
        mode = self._resolved()
        if mode != "off":
            _need_matplotlib()
        match mode:
            case "window":
                return [*self._in_window(picture, name), *said]
            case "inline":
                return [*self._inline(picture, name), *said]
            case "off":
                return said
        return [*said, self._numbered(picture, name)]

    def save(self, picture: Picture, path: Path) -> str:
        """Write a picture to `path` and return the path; the suffix says how: .png, .svg, .pdf or .npy (its data).

        Raises:
            UsageError: the suffix is none of these.
            TdbError: the file cannot be written; one that was there is as it was.
        """
        suffix = path.suffix.lower()
        if suffix not in FORMATS:
            raise UsageError(f"cannot write a figure as {suffix or path.name!r}", f"It can be: {' '.join(FORMATS)}")
        if suffix != ".npy":
            _need_matplotlib()
        with replacing(path) as temporary, temporary.open("wb") as file:
            if suffix == ".npy":
                np.save(file, to_array(picture), allow_pickle=False)
            else:
                self._drawn(picture).savefig(file, format=suffix[1:])
        return str(path)

    def _drawn(self, picture: Picture) -> Figure:
        return draw(picture, moment=self.moment())

    @property
    def has_windows(self) -> bool:
        """Whether a window is open, whose events `pump` has to run."""
        return self._windows is not None and len(self._windows) > 0

    def pump(self) -> None:
        """Run the windows' events for a fiftieth of a second; the prompt calls this while it waits."""
        if self._windows is not None:
            self._windows.pump()

    def close(self) -> None:
        """Close all windows."""
        if self._windows is not None:
            self._windows.close()

    @property
    def _ascii_only(self) -> bool:
        return takes_only_ascii(self._out.encoding)

    def _resolved(self) -> str:
        """Return the mode that holds now; without a person there are no windows."""
        if self.mode in ("auto", ""):
            return default_mode(self._environ, self._out, interactive=self._interactive)
        return self.mode if self._interactive or self.mode != "window" else "file"

    def _in_window(self, picture: Picture, name: str) -> list[str]:
        """Show a picture in the window of its command; where windows fail, say so once and write files from then on."""
        if self._windows is None:
            self._windows = Windows(lambda feature: self.on_click and self.on_click(feature))
        try:
            self._windows.show(picture, name, self.moment())
        except StateError as error:
            self.mode = "file"
            return [str(error), self._numbered(picture, name)]
        return []

    def _inline(self, picture: Picture, name: str) -> list[str]:
        """Return the lines that show a picture inside the terminal, or the path of a file if it cannot."""
        graphics = graphics_of(self._environ)
        if graphics == "none":
            return [self._numbered(picture, name)]
        columns, rows = shutil.get_terminal_size((80, MOST_LINES + LINES_BESIDE))
        if graphics in ("kitty", "iterm2"):
            figure = self._drawn(picture)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png")
            wanted = round(figure.get_figwidth() * CELLS_PER_INCH)
            escape = kitty if graphics == "kitty" else iterm2
            return [escape(buffer.getvalue(), min(wanted, columns))]
        in_color = graphics in COLORED and not self._ascii_only
        lines = min(max(rows - LINES_BESIDE, FEWEST_LINES), MOST_LINES)
        return lines_of(sketch(picture, columns, lines, in_color=in_color), graphics, ascii_only=self._ascii_only)

    def _numbered(self, picture: Picture, name: str) -> str:
        """Write a picture as the next of the folder's numbered files, and return its path."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            matches = [NUMBERED.match(path.name) for path in self._folder.iterdir()]
        except OSError as error:
            raise TdbError(f"cannot write to {self._folder}: {error.strerror}", "Try `set figures off`") from None
        last = max((int(match[1]) for match in matches if match), default=0)
        stem = re.sub(r"[^\w.]+", "-", name).strip("-") or "figure"
        return self.save(picture, self._folder / f"{last + 1:03d}-{stem}.png")
