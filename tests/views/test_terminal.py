"""Pictures inside a terminal, decoded again: by the protocols' own rules, and by a virtual screen."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from tdb.results import Curves, Histogram, Images, Matrix, Page, Picture, Profiles, Scatter
from tdb.views.raster import Scale, hex_color, paint
from tdb.views.sketch import PLOT_LINES, sketch
from tdb.views.terminal import Drawing, Graphics, encode, graphics_of, half_blocks, iterm2, kitty, lines_of, shades

RANDOM = np.random.default_rng(0)
TRUECOLOR = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "none"),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, "none"),
        (TRUECOLOR, "truecolor"),
        ({"TERM": "xterm-256color"}, "256"),
        ({"TERM": "vt100"}, "shades"),
        (TRUECOLOR | {"NO_COLOR": "1"}, "shades"),
        (TRUECOLOR | {"KITTY_WINDOW_ID": "3"}, "kitty"),
        ({"TERM": "xterm-kitty"}, "kitty"),
        (TRUECOLOR | {"TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        (TRUECOLOR | {"TERM_PROGRAM": "WezTerm"}, "iterm2"),
        (TRUECOLOR | {"LC_TERMINAL": "iTerm2"}, "iterm2"),
        (TRUECOLOR | {"KITTY_WINDOW_ID": "3", "TMUX": "/tmp/tmux-0/default,1,0"}, "truecolor"),
        ({"TERM": "screen-256color", "TERM_PROGRAM": "iTerm.app"}, "256"),
    ],
)
def test_what_the_terminal_can_do_is_read_from_the_environment(environ: dict[str, str], expected: Graphics) -> None:
    assert graphics_of(environ) == expected


@given(st.binary(min_size=1, max_size=20_000))
def test_kitty_gets_the_file_in_chunks_and_is_asked_for_no_answer(png: bytes) -> None:
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", kitty(png, 40))
    keys = [dict(pair.split("=") for pair in head.split(",")) for head, _ in chunks]
    assert keys[0] | {"m": ""} == {"a": "T", "f": "100", "q": "2", "c": "40", "m": ""}
    assert [key["m"] for key in keys] == ["1"] * (len(keys) - 1) + ["0"]
    assert max(len(data) for _, data in chunks) <= 4096
    assert base64.b64decode("".join(data for _, data in chunks)) == png


def test_iterm2_gets_the_file_in_one_piece() -> None:
    head, data = iterm2(b"\x89PNG...", 60).removesuffix("\x07").split(":")
    assert head == "\x1b]1337;File=inline=1;size=7;width=60;preserveAspectRatio=1"
    assert base64.b64decode(data) == b"\x89PNG..."


def screen_of(lines: list[str], width: int = 80) -> pyte.Screen:
    """What a terminal shows after these lines."""
    screen = pyte.Screen(width, len(lines) + 1)
    pyte.Stream(screen).feed("\r\n".join(lines))
    return screen


def pixels_on(screen: pyte.Screen, rows: int, columns: int) -> np.ndarray:
    """The pixels [2 * rows, columns, 4] that half-blocks on a screen show."""
    pixels = np.zeros((2 * rows, columns, 4), np.uint8)
    for row in range(rows):
        for column in range(columns):
            cell = screen.buffer[row][column]
            ink, paper = ([0, 0, 0, 0] if color == "default" else hex_color(color) for color in (cell.fg, cell.bg))
            upper, lower = {"▀": (ink, paper), "▄": (paper, ink), " ": (paper, paper)}[cell.data]
            pixels[2 * row, column], pixels[2 * row + 1, column] = upper, lower
    return pixels


@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 12), st.just(3))),
    st.integers(0, 2**16),
)
def test_half_blocks_show_every_pixel_in_its_colour(rgb: np.ndarray, seed: int) -> None:
    opaque = np.random.default_rng(seed).random(rgb.shape[:2]) < 0.7
    pixels = np.concatenate([rgb, (opaque * 255)[..., None].astype(np.uint8)], axis=-1) * opaque[..., None]
    lines = encode(half_blocks(pixels), "truecolor")
    for line in lines:
        assert [*re.findall(r"\x1b\[([0-9;]*)m", line), "0"][-1 if "\x1b" not in line else -2] == "0", (
            "ends its colours"
        )
    shown = pixels_on(screen_of(lines), len(lines), pixels.shape[1])[: len(pixels)]
    np.testing.assert_array_equal(shown, pixels)


def test_256_colours_are_used_where_there_are_no_more() -> None:
    red = np.array([[[255, 0, 0, 255]]], np.uint8)
    assert encode(half_blocks(red), "256") == ["\x1b[0;38;5;196m▀\x1b[0m"]


def test_without_colours_lighter_is_denser() -> None:
    ramp = paint(np.tile(np.linspace(0, 1, 10), (2, 1)), Scale(0.0, 1.0, "gray"))
    assert encode(shades(ramp, ascii_only=True), "shades") == [" .:-=+*#%@"]
    assert encode(shades(ramp), "shades") == ["  ░░▒▒▓▓██"]


def shown(
    picture: Picture, width: int = 80, graphics: Graphics = "truecolor", *, ascii_only: bool = False
) -> list[str]:
    in_color = graphics == "truecolor" and not ascii_only
    return lines_of(sketch(picture, width, in_color=in_color), graphics, ascii_only=ascii_only)


def test_without_colours_lines_are_told_apart_by_letters_and_scales_by_density() -> None:
    rising, falling = np.arange(50.0), np.arange(50.0)[::-1]
    lines = shown(Curves({"31": (np.arange(50), rising), "17": (np.arange(50), falling)}, "win_rate"), 40, "shades")
    above, below = lines[0].removeprefix("49 ").split(), lines[17].removeprefix(" 0 ").split()
    assert ([*map(set, above)], [*map(set, below)]) == ([{"b"}, {"a"}], [{"a"}, {"b"}])
    assert lines[-1] == "a 31  b 17"
    assert shown(Matrix(np.eye(2), limits=(0, 1)), graphics="shades")[-1] == "blank 0, dense 1"


def test_the_key_of_many_lines_names_all_of_them() -> None:
    many = {str(at): (np.arange(2), np.array([at, at + 1.0])) for at in range(64)}
    assert " ".join(screen_of(shown(Curves(many, "win_rate"))).display).split()[-64:] == [*many]


def test_a_matrix_of_64_is_shown_pixel_by_pixel_at_80_columns() -> None:
    values = RANDOM.uniform(-1, 1, (64, 64))
    lines = shown(Matrix(values, limits=(-1, 1), row_name="feature", column_name="feature"))
    expected = paint(values, Scale(-1.0, 1.0, "RdBu_r"))
    np.testing.assert_array_equal(pixels_on(screen_of(lines), 32, 64), expected)
    assert lines[32:] == ["64 features down, 64 features across", "blue -1, white 0, red 1"]


def test_a_larger_matrix_is_shown_by_block_means() -> None:
    values = np.zeros((640, 800))
    values[:10, :10] = 1.0
    lines = shown(Matrix(values, limits=(-1, 1)))
    assert lines[-2] == "640 rows down, 800 columns across, means of 10 x 10"
    first = pixels_on(screen_of(lines), 32, 80)[0, 0]
    np.testing.assert_array_equal(first, paint(np.ones(1), Scale(-1.0, 1.0, "RdBu_r"))[0])


def test_as_many_digits_are_shown_as_can_be_read() -> None:
    digits = RANDOM.random((128, 28, 28))
    lines = shown(Images(digits, labels=[str(at % 10) for at in range(128)]))
    assert lines[0].split() == [str(at) for at in range(8)]
    assert lines[-2:] == ["40 of 128 images", f"black {digits.min():.3f}".rstrip("0").rstrip(".") + ", white 1"]
    assert len(lines) <= 34


def test_forces_have_their_names_and_norms_over_them() -> None:
    picture = Images(
        RANDOM.normal(size=(4, 28, 28)),
        labels=["norm 1", "norm 2", "norm 3", "norm 4"],
        signed=True,
        columns=1,
        rows=["weight", "grad delta", "SOM delta", "combined"],
        scales=[1.0, 2.0, 3.0, 4.0],
    )
    lines = shown(picture)
    assert [re.split(r"  +", line) for line in lines[:3]] == [
        list(picture.rows),
        list(picture.labels),
        ["±1", "±2", "±3", "±4"],
    ]
    assert "+-1" in "".join(shown(picture, ascii_only=True))


def test_points_are_glyphs_of_their_status_with_ids_beside_them() -> None:
    picture = Scatter(
        np.array([0.0, 1.0, 2.0]),
        np.array([0.0, 5.0, 2.0]),
        "x",
        "y",
        [7, 8, 9],
        status=["dead", "winner", "contender"],
    )
    screen = screen_of(shown(picture)).display
    assert "*8" in screen[0]
    assert "x7" in screen[PLOT_LINES - 1]
    assert any("~9" in line for line in screen)
    assert shown(picture)[-1] == "y upwards, x 0 to 2 across"


def test_a_rising_line_rises_in_its_own_colour() -> None:
    lines = shown(Curves({"feature 3": (np.arange(50), np.arange(50.0))}, "win_rate", colors={"feature 3": 3}))
    assert lines[-1] == "win_rate, step 0 to 49"
    assert lines[0].startswith("49 ")
    assert lines[PLOT_LINES - 1].lstrip().startswith("0 ")
    margin = lines[0].index("49 ") + 3
    pixels = pixels_on(screen_of([line[margin:] for line in lines[:PLOT_LINES]]), PLOT_LINES, 70)
    heights = [np.flatnonzero(column).min() for column in pixels[..., 3].T if column.any()]
    assert (np.diff(heights) <= 0).all()
    assert heights[0] == 2 * PLOT_LINES - 1
    assert heights[-1] == 0
    assert {tuple(color) for color in pixels[pixels[..., 3] > 0].tolist()} == {tuple(hex_color("#9467bd"))}


def test_bars_are_as_high_as_their_counts() -> None:
    lines = shown(Histogram(np.repeat([0, 1, 2], [10, 40, 20]), "label"))
    margin = len("40 ")
    pixels = pixels_on(screen_of([line[margin:] for line in lines[:PLOT_LINES]]), PLOT_LINES, 69)
    heights = (pixels[..., 3] > 0).sum(axis=0)
    assert sorted(set(heights.tolist())) == [9, 18, 36]


ALL = [
    Images(RANDOM.random((30, 28, 28))),
    Images(RANDOM.random((5, 32, 20, 3))),
    Matrix(RANDOM.normal(size=(300, 7)), signed=False),
    Profiles(RANDOM.normal(size=(3, 500))),
    Curves({f"feature {at}": (np.arange(900), RANDOM.normal(size=900)) for at in range(12)}, "y", log=True),
    Scatter(*RANDOM.normal(size=(2, 500)), "x", "y", np.arange(500)),
    Histogram(RANDOM.normal(size=500), "h"),
    Page([Matrix(np.eye(3), title="one"), Matrix(np.eye(4), title="other")]),
]


@pytest.mark.parametrize("width", [20, 60, 80, 200])
@pytest.mark.parametrize("at", range(len(ALL)))
def test_no_line_is_wider_than_the_terminal(at: int, width: int) -> None:
    for graphics in ("truecolor", "256", "shades"):
        for line in shown(ALL[at], width, graphics):
            bare = re.sub(r"\x1b\[[0-9;]*m", "", line)
            # Words under a plot may be longer than a very narrow terminal; pixels never are.
            assert len(bare) <= max(width, 52)
    assert all(line.isascii() for line in shown(ALL[at], width, "shades", ascii_only=True))


def test_a_figure_as_png_is_what_a_graphics_terminal_gets() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(buffer, "PNG")
    data = "".join(re.findall(r";([^;\x1b]*)\x1b\\", kitty(buffer.getvalue(), 10)))
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (30, 20)


def test_drawings_keep_their_words_at_the_left() -> None:
    pixel = np.full((4, 3, 4), 255, np.uint8)
    assert lines_of([Drawing(pixel, {0: "10 ", 1: "0 "})], "shades") == ["10 ███", " 0 ███"]
