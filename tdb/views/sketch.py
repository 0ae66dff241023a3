"""Pictures out of characters: what can be read of them at 80 columns.

A figure scaled down to 80 by 50 points cannot be read. Images and matrices are shown by their own pixels, as large as
the terminal allows; lines, points and bars are drawn anew, with the ends of the axes as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from tdb.counted import counted
from tdb.results import Array, Curves, Distributions, Histogram, Images, Matrix, Page, Picture, Profiles, Scatter
from tdb.views import theme
from tdb.views.canvas import tick_texts
from tdb.views.curves import drawable, line_look, thin
from tdb.views.distributions import rows_with_zeros
from tdb.views.histogram import bins
from tdb.views.images import pixels as image_pixels
from tdb.views.images import scale, scale_texts, side_texts
from tdb.views.raster import (
    DIVERGING,
    GRAY,
    Pixels,
    Scale,
    block_means,
    block_size,
    enlarged,
    hex_color,
    mosaic,
    paint,
    scale_of,
)
from tdb.views.scatter import shown
from tdb.views.terminal import Cells, Drawing, Piece

PLOT_LINES = 18
LEAST_TILE = 10
"""Columns of an image with its gap, below which digits of 28x28 can no longer be told apart."""

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
COLOR_WORDS = {"RdBu_r": ("blue", "red"), "gray": ("black", "white"), "viridis": ("violet", "yellow")}


def sketch(picture: Picture, width: int, lines: int = 32, *, in_color: bool = True) -> list[Piece]:
    """Return a picture as texts and drawings that stand below one another.

    Args:
        picture: what to show.
        width: columns of the terminal.
        lines: about how many lines the picture may take; of many images those are shown that fit.
        in_color: whether there are colours; otherwise all scales run from black to white.
    """
    match picture:
        case Page():
            return [
                piece
                for part in picture.pictures
                for piece in (*filter(None, [part.title]), *sketch(part, width, lines, in_color=in_color))
            ]
        case Images():
            return _images(picture, width, lines, in_color=in_color)
        case Matrix():
            return _matrix(picture, width, lines, in_color=in_color)
        case Profiles():
            rows = Matrix(picture.values, row_name="vector", column_name="element", signed=picture.signed)
            return _matrix(rows, width, lines, in_color=in_color)
        case Curves():
            return _curves(picture, width, in_color=in_color)
        case Scatter():
            return _scatter(picture, width)
        case Histogram():
            return _histogram(picture, width)
        case Distributions():
            return _distributions(picture, width, in_color=in_color)


def _scale_line(scale: Scale, *, in_color: bool) -> str:
    """Say which colours the ends of a scale have; without colours, how dense they are."""
    low, middle, high = tick_texts([scale.low, (scale.low + scale.high) / 2, scale.high])
    first, last = COLOR_WORDS[scale.color_map] if in_color else ("blank", "dense")
    between = f", white {middle}" if in_color and scale.color_map == DIVERGING else ""
    return f"{first} {low}{between}, {last} {high}"


def _images(picture: Images, width: int, lines: int, *, in_color: bool) -> list[Piece]:
    """Return the images row by row, each row under its name and labels; as many as fit, if they are many."""
    count = len(picture.images)
    if picture.images.size == 0:
        return ["no images"]
    on_side = picture.columns == 1 and len(picture.rows) > 0
    if on_side or picture.columns:
        columns = count if on_side else picture.columns or 1
        tile, fitting = min(width // columns // 2 * 2, 2 * LEAST_TILE), count
    else:
        tile, columns, fitting = _tiling(count, width, lines, labelled=bool(picture.labels))
    tile = max(tile, 2)
    height = max(2, 2 * round(tile * picture.images.shape[1] / picture.images.shape[2] / 2))
    painted = image_pixels(picture, in_gray=not in_color)[:fitting]
    tiles = np.stack([_resized(image, height - 1, tile - 1) for image in painted])
    tiles = np.pad(tiles, ((0, 0), (0, 1), (0, 1), (0, 0)))
    pieces: list[Piece] = []
    names = ["  ".join(filter(None, texts)) for texts in zip_longest(picture.rows, scale_texts(picture), fillvalue="")]
    for row in range(-(-fitting // columns)):
        part = slice(row * columns, min((row + 1) * columns, fitting))
        if on_side:
            pieces.append(_spread(side_texts(picture), tile))
        else:
            pieces += [*names[row : row + 1], _spread(picture.labels[part], tile)]
        pieces.append(Drawing(mosaic(tiles[part], columns, gap=0)))
    shared = scale(picture)
    if fitting < count:
        pieces.append(f"{fitting:,} of {counted(count, 'image')}")
    if shared:
        pieces.append(_scale_line(shared, in_color=in_color))
    return [piece for piece in pieces if piece]


def _tiling(count: int, width: int, lines: int, *, labelled: bool) -> tuple[int, int, int]:
    """Return the columns of an image with its gap, how many stand in a row, and how many there is room for."""
    for tile in range(max(width // max(count, 1), LEAST_TILE) // 2 * 2 + 2 * LEAST_TILE, LEAST_TILE - 1, -2):
        columns = min(width // tile, count)
        rows = lines // (tile // 2 + labelled)
        if columns and columns * rows >= count:
            return tile, columns, count
    columns = max(width // LEAST_TILE, 1)
    return LEAST_TILE, columns, columns * max(lines // (LEAST_TILE // 2 + labelled), 1)


def _resized(image: Pixels, height: int, width: int) -> Pixels:
    """Return an image [H, W, 4] at another size, each pixel the mean of those it stands for."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))


def _spread(texts: Sequence[str], tile: int) -> str:
    """Return texts over their tiles, in as many lines as they have, or nothing if one is wider than its tile."""
    columns = [text.split("\n") for text in texts]
    if any(len(line) >= tile for column in columns for line in column):
        return ""
    lines = zip_longest(*columns, fillvalue="")
    return "\n".join("".join(text.ljust(tile) for text in line).rstrip() for line in lines)


def _matrix(picture: Matrix, width: int, lines: int, *, in_color: bool) -> list[Piece]:
    """Return a matrix as pixels, enlarged if it is small, by the means of blocks if it is large."""
    if picture.values.size == 0:
        return ["an empty matrix"]
    blocks = block_size(picture.values.shape, (2 * lines, width))
    means = block_means(picture.values, blocks)
    scale = scale_of(means, signed=picture.signed, limits=picture.limits)
    scale = scale if in_color else scale._replace(color_map=GRAY)
    factor = max(1, min(2 * lines // means.shape[0], width // means.shape[1], LEAST_TILE))
    rows, columns = picture.values.shape
    where = f"{rows} {picture.row_name}s down, {columns} {picture.column_name}s across"
    size = "" if blocks == (1, 1) else f", means of {blocks[0]} x {blocks[1]}"
    return [Drawing(enlarged(paint(means, scale), factor)), where + size, _scale_line(scale, in_color=in_color)]


def _histogram(picture: Histogram, width: int) -> list[Piece]:
    """Return a histogram as bars."""
    finite = picture.values[np.isfinite(picture.values)].ravel()
    if not finite.size:
        return ["no finite values"]
    counts, edges = bins(finite, most=width - 10)
    height = 2 * PLOT_LINES
    shares = np.log1p(counts) / np.log1p(counts.max()) if picture.log else counts / counts.max()
    bars = np.ceil(shares * height).repeat(max(1, (width - 10) // len(counts)))
    pixels = np.zeros((height, len(bars), 4), np.uint8)
    pixels[np.arange(height)[:, None] >= height - bars] = hex_color(theme.NO_STATUS.color)
    low, high = tick_texts([edges[0], edges[-1]])
    return [_plot(pixels, "0", str(counts.max())), f"{picture.name} {low} to {high}"]


def _distributions(picture: Distributions, width: int, *, in_color: bool) -> list[Piece]:
    """Return a line of pixels for each distribution, with its name beside."""
    if not picture.names:
        return ["nothing to show"]
    room = width - max(map(len, picture.names)) - 1
    pixels = rows_with_zeros(picture, 4, gray=not in_color)
    pixels = pixels.repeat(max(1, room // pixels.shape[1]), axis=1)[:, : max(room, 8)].repeat(2, axis=0)
    low, high = picture.exponents
    return [
        Drawing(pixels, {row: f"{name} " for row, name in enumerate(picture.names)}),
        f"-1e{high} to -1e{low}, share of zeros (black none, white all), 1e{low} to 1e{high}",
    ]


def _plot(body: Pixels | Cells, low: str, high: str) -> Drawing:
    """Return a plot with the ends of its upward axis beside it."""
    last = len(body.characters) - 1 if isinstance(body, Cells) else (len(body) - 1) // 2
    return Drawing(body, {0: f"{high} ", last: f"{low} "})


def _places(values: Array, count: int, *, log: bool) -> tuple[Array, list[str]]:
    """Return where finite values fall among `count` places from the least to the greatest, and those two as text."""
    low, high = float(values.min()), float(values.max())
    scaled = np.log10(values) if log else values.astype(np.float64)
    reach = scaled.max() - scaled.min()
    share = (scaled - scaled.min()) / reach if reach > 0 else np.full(len(values), 0.5)
    texts = [f"{low:.3g}", f"{high:.3g}"] if log else tick_texts([low, high])
    return np.round(share * (count - 1)).astype(np.intp), texts


def _curves(picture: Curves, width: int, *, in_color: bool) -> list[Piece]:
    """Return lines as pixels, in the colours that they have in the figure; without colours several as letters."""
    lines = {label: thin(*line, buckets=width) for label, line in drawable(picture).items()}
    steps = np.concatenate([steps for steps, _ in lines.values()]) if lines else np.empty(0)
    values = np.concatenate([values for _, values in lines.values()]) if lines else np.empty(0)
    finite = np.isfinite(values)
    if not finite.any():
        return ["no values to show"]
    by_letter = not in_color and len(lines) > 1
    height, across = PLOT_LINES if by_letter else 2 * PLOT_LINES, width - 10
    y = np.full(len(values), -1)
    y[finite], ends = _places(values[finite], height, log=picture.log)
    x, _ = _places(steps, across, log=False)
    pixels = np.zeros((height, across, 4), np.uint8)
    start = 0
    for order, (label, (own, _)) in enumerate(lines.items()):
        part = slice(start, start + len(own))
        start += len(own)
        ink = [order % len(LETTERS), 0, 0, 255] if by_letter else hex_color(line_look(picture, label, order)[0])
        _draw_line(pixels, x[part], height - 1 - y[part], finite[part], ink)
    span = f"{picture.y_name}, {picture.x_name} {steps.min():,} to {steps.max():,}"
    if not by_letter:
        return [_plot(pixels, *ends), span, *_key(picture, width, by_letter=False)]
    letters, blank = np.array(list(LETTERS))[pixels[..., 0]], np.zeros_like(pixels)
    cells = Cells(np.where(pixels[..., 3] > 0, letters, " "), blank, blank)
    return [_plot(cells, *ends), span, *_key(picture, width, by_letter=True)]


def _draw_line(pixels: Pixels, x: Array, y: Array, finite: Array, ink: Sequence[int]) -> None:
    """Draw a line through the finite points (x, y), in pixels, with gaps where points are not finite."""
    pixels[y[finite], x[finite]] = ink
    for at in np.flatnonzero(finite[:-1] & finite[1:]):
        length = max(abs(x[at + 1] - x[at]), abs(y[at + 1] - y[at])) + 1
        along = np.linspace((y[at], x[at]), (y[at + 1], x[at + 1]), length).round().astype(np.intp)
        pixels[along[:, 0], along[:, 1]] = ink


def _key(picture: Curves, width: int, *, by_letter: bool) -> list[Piece]:
    """Return the names of several lines, as many on a line as fit: in their colours, or after their letters."""
    rows: list[list[tuple[str, Sequence[int]]]] = [[]]
    for order, label in enumerate(picture.lines if len(picture.lines) > 1 else ()):
        name = f"{LETTERS[order % len(LETTERS)]} {label}  " if by_letter else f"{label}  "
        ink = [0, 0, 0, 0] if by_letter else hex_color(line_look(picture, label, order)[0])
        if rows[-1] and sum(len(each) for each, _ in rows[-1]) + len(name.rstrip()) > width:
            rows.append([])
        rows[-1].append((name, ink))
    return [_inked(row) for row in rows if row]


def _inked(texts: Sequence[tuple[str, Sequence[int]]]) -> Drawing:
    """Return a line of texts, each in its ink."""
    characters = np.array([list("".join(text for text, _ in texts))])
    inks = np.array([[ink for text, ink in texts for _ in text]], np.uint8)
    return Drawing(Cells(characters, inks, np.zeros_like(inks)))


def _scatter(picture: Scatter, width: int) -> list[Piece]:
    """Return points as the glyphs of their status, with the ids of those that stand out where there is room."""
    keep = shown(picture)
    if not keep.any():
        return ["no points to show"]
    across = width - 10
    names = [str(name) for name, kept in zip(picture.ids, keep, strict=True) if kept]
    room_for_name = max(map(len, names)) + 1
    x, x_ends = _places(np.asarray(picture.x, np.float64)[keep], across - room_for_name, log=picture.log)
    y, y_ends = _places(np.asarray(picture.y, np.float64)[keep], PLOT_LINES, log=picture.log)
    rows = PLOT_LINES - 1 - y
    words = np.array(picture.status or [""] * len(keep))[keep]
    looks = [theme.status_look(word) if word else theme.NO_STATUS for word in words.tolist()]
    characters = np.full((PLOT_LINES, across), " ")
    ink = np.zeros((PLOT_LINES, across, 4), np.uint8)
    characters[rows, x] = [look.glyph or "o" for look in looks]
    ink[rows, x] = [hex_color(look.color) for look in looks]
    for at in np.argsort(-np.hypot(x - np.median(x), 2 * (rows - np.median(rows))), kind="stable"):
        room = characters[rows[at], x[at] + 1 : x[at] + 2 + len(names[at])]
        if (room == " ").all():
            room[: len(names[at])] = list(names[at])
    return [
        _plot(Cells(characters, ink, np.zeros_like(ink)), *y_ends),
        f"{picture.y_name} upwards, {picture.x_name} {x_ends[0]} to {x_ends[1]} across",
    ]
