"""Pictures inside a terminal: as PNG where it takes one, else as cells of characters.

What the terminal can do is read from the environment, never asked of the terminal: programs that ask have eaten what
was typed ahead.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tdb.results import Array
from tdb.views.number import printable
from tdb.views.raster import Pixels

Graphics: TypeAlias = Literal["kitty", "iterm2", "truecolor", "256", "shades", "none"]

SHADES, ASCII_SHADES = " ░▒▓█", " .:-=+*#%@"
COLORED = ("truecolor", "256")
KITTY_CHUNK = 4096


def graphics_of(environ: Mapping[str, str]) -> Graphics:
    """Return how the terminal that `environ` speaks of shows pictures.

    "kitty" and "iterm2" take PNG files; "truecolor" and "256" get half-blocks of that many colours; "shades" has no
    colours; "none" is no terminal for pictures at all.
    """
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if term in ("", "dumb"):
        return "none"
    if environ.get("NO_COLOR"):
        return "shades"
    if "TMUX" not in environ and not term.startswith(("screen", "tmux")):
        if "KITTY_WINDOW_ID" in environ or term == "xterm-kitty" or program == "ghostty":
            return "kitty"
        if program in ("iTerm.app", "WezTerm") or environ.get("LC_TERMINAL") == "iTerm2":
            return "iterm2"
    if environ.get("COLORTERM") in ("truecolor", "24bit"):
        return "truecolor"
    return "256" if "256color" in term else "shades"


def kitty(png: bytes, columns: int) -> str:
    """Return the escape sequences that show a PNG file `columns` wide, asking for no answer (q=2)."""
    data = base64.standard_b64encode(png).decode()
    chunks = [data[at : at + KITTY_CHUNK] for at in range(0, len(data), KITTY_CHUNK)]
    heads = [f"a=T,f=100,q=2,c={columns},", *[""] * (len(chunks) - 1)]
    more = [1] * (len(chunks) - 1) + [0]
    return "".join(f"\x1b_G{head}m={m};{chunk}\x1b\\" for head, m, chunk in zip(heads, more, chunks, strict=True))


def iterm2(png: bytes, columns: int) -> str:
    """Return the escape sequence that shows a PNG file `columns` wide."""
    data = base64.standard_b64encode(png).decode()
    return f"\x1b]1337;File=inline=1;size={len(png)};width={columns};preserveAspectRatio=1:{data}\x07"


class Cells(NamedTuple):
    """Characters [R, C] with the colours [R, C, 4] of their ink and of the paper behind.

    An opacity of 0 stands for the terminal's own colour.
    """

    characters: NDArray[np.str_]
    ink: Pixels
    paper: Pixels


def half_blocks(pixels: Pixels) -> Cells:
    """Return pixels [H, W, 4] as cells, two pixels in each: the upper one in ink, the lower one in paper."""
    pixels = np.pad(pixels, ((0, len(pixels) % 2), (0, 0), (0, 0)))
    upper, lower = pixels[0::2].copy(), pixels[1::2].copy()
    above, below = upper[..., 3] > 0, lower[..., 3] > 0
    characters = np.select([above, below], ["▀", "▄"], " ")
    only_below = below & ~above
    upper[only_below], lower[only_below] = lower[only_below], 0
    return Cells(characters, upper, lower)


def shades(pixels: Pixels, *, ascii_only: bool = False) -> Cells:
    """Return pixels [H, W, 4] as cells without colours, two pixels in each, denser where they are lighter."""
    ramp = np.array(list(ASCII_SHADES if ascii_only else SHADES))
    pixels = np.pad(pixels, ((0, len(pixels) % 2), (0, 0), (0, 0)))
    light = pixels[..., :3] @ np.array([0.299, 0.587, 0.114]) * (pixels[..., 3] > 0) / 255
    pairs = (light[0::2] + light[1::2]) / 2
    blank = np.zeros((*pairs.shape, 4), np.uint8)
    return Cells(ramp[np.round(pairs * (len(ramp) - 1)).astype(np.intp)], blank, blank)


class Drawing(NamedTuple):
    """Pixels or cells, with a text at the left of some of their lines."""

    body: Pixels | Cells
    beside: Mapping[int, str] = {}


Piece: TypeAlias = str | Drawing


def lines_of(pieces: Sequence[Piece], graphics: Graphics, *, ascii_only: bool = False) -> list[str]:
    """Return texts and drawings as the lines of a terminal that shows `graphics`."""
    lines = []
    for piece in pieces:
        if isinstance(piece, str):
            lines += [printable(line, ascii_only=ascii_only) for line in piece.split("\n")]
            continue
        cells = piece.body
        if not isinstance(cells, Cells):
            in_color = graphics in COLORED and not ascii_only
            cells = half_blocks(cells) if in_color else shades(cells, ascii_only=ascii_only)
        margin = max(map(len, piece.beside.values()), default=0)
        lines += [piece.beside.get(row, "").rjust(margin) + line for row, line in enumerate(encode(cells, graphics))]
    return lines


def encode(cells: Cells, graphics: Graphics) -> list[str]:
    """Return cells as lines of text, with colour sequences where `graphics` has colours."""
    if graphics not in COLORED:
        return ["".join(row).rstrip() for row in cells.characters.tolist()]
    inks, papers = (_codes(colors, graphics) for colors in (cells.ink, cells.paper))
    lines = []
    for characters, row_inks, row_papers in zip(cells.characters.tolist(), inks, papers, strict=True):
        line, last = "", ("", "")
        for character, ink, paper in zip(characters, row_inks, row_papers, strict=True):
            if (ink, paper) != last:
                line += f"\x1b[{';'.join(filter(None, ('0', ink and f'38;{ink}', paper and f'48;{paper}')))}m"
                last = (ink, paper)
            line += character
        lines.append(line + ("\x1b[0m" if last != ("", "") else ""))
    return lines


def _codes(colors: Pixels, graphics: Graphics) -> list[list[str]]:
    """Return each colour [R, C, 4] as the parameters of a colour sequence, empty for the terminal's own."""
    opaque = colors[..., 3] > 0
    rgb = colors[..., :3].astype(int)
    if graphics == "256":
        codes = np.char.add("5;", color_256(rgb).astype(np.str_))
    else:
        red, green, blue = (rgb[..., part].astype(np.str_) for part in range(3))
        codes = np.char.add(np.char.add(np.char.add("2;", red), np.char.add(";", green)), np.char.add(";", blue))
    listed: list[list[str]] = np.where(opaque, codes, "").tolist()
    return listed


def color_256(rgb: Array) -> NDArray[np.intp]:
    """Return the nearest of xterm's 256 colours to each of `rgb` [..., 3]: one of its cube or of its greys."""
    levels = np.array([0, 95, 135, 175, 215, 255])
    cube = np.abs(rgb[..., None] - levels).argmin(axis=-1)
    grey = np.clip(np.round((rgb.mean(axis=-1) - 8) / 10), 0, 23).astype(np.intp)
    cube_error = np.square(levels[cube] - rgb).sum(axis=-1)
    grey_error = np.square((grey * 10 + 8)[..., None] - rgb).sum(axis=-1)
    nearest: NDArray[np.intp] = np.where(grey_error < cube_error, 232 + grey, 16 + cube @ np.array([36, 6, 1]))
    return nearest
