"""Where figures go: files, the terminal, windows; and what is said of them."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.backend_bases import MouseButton, MouseEvent
from PIL import Image

from tdb.errors import StateError, TdbError, UsageError
from tdb.results import Curves, Matrix, Page, Scatter
from tdb.shell.figures import FigureSink, default_mode

MATRIX = Matrix(np.eye(3), caption="three ones")
COLOR = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


class Stream(io.StringIO):
    """An output that is a terminal, or is not."""

    def __init__(self, *, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__()
        self._terminal = terminal
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal


def sink(
    mode: str, folder: Path, environ: Mapping[str, str] = COLOR, *, encoding: str = "utf-8", **how: bool
) -> FigureSink:
    return FigureSink(
        mode, folder / "tdb-figures", out=Stream(terminal=True, encoding=encoding), environ=environ, **how
    )


@pytest.mark.parametrize(
    ("environ", "terminal", "expected"),
    [
        (COLOR, True, "inline"),
        (COLOR, False, "file"),
        ({"TERM": "dumb"}, True, "file"),
        (COLOR | {"DISPLAY": ":0", "MPLBACKEND": "Agg"}, True, "inline"),
        ({"DISPLAY": ":0"}, False, "file"),
    ],
)
def test_the_default_is_chosen_from_terminal_and_environment(
    environ: dict[str, str], terminal: bool, expected: str
) -> None:
    assert default_mode(environ, Stream(terminal=terminal)) == expected


def test_a_display_and_a_toolkit_mean_windows_for_a_person() -> None:
    pytest.importorskip("_tkinter")
    out = Stream(terminal=True)
    assert default_mode(COLOR | {"DISPLAY": ":0"}, out) == "window"
    assert default_mode(COLOR | {"DISPLAY": ":0"}, out, interactive=False) == "inline"


def test_files_are_numbered_and_named_after_their_command(tmp_path: Path) -> None:
    figures = sink("file", tmp_path)
    folder = tmp_path / "tdb-figures"
    assert figures.show(MATRIX, "cosmat") == ["three ones", str(folder / "001-cosmat.png")]
    assert figures.show(MATRIX, "traj win_rate/x")[1] == str(folder / "002-traj-win_rate-x.png")
    assert sink("file", tmp_path).show(MATRIX, "batch")[1] == str(folder / "003-batch.png"), "numbers go on"
    assert Image.open(folder / "001-cosmat.png").size > (200, 100)


def test_off_says_what_the_figure_would_show_and_writes_nothing(tmp_path: Path) -> None:
    assert sink("off", tmp_path).show(MATRIX, "cosmat") == ["three ones"]
    assert list(tmp_path.iterdir()) == []


def test_inline_is_half_blocks_where_there_are_colours(tmp_path: Path) -> None:
    lines = sink("inline", tmp_path).show(MATRIX, "cosmat")
    assert "\x1b[0;38;2;103;0;31;48;2;103;0;31m▀" in lines[0]
    assert lines[-1] == "three ones"


@pytest.mark.parametrize(("rows", "drawn"), [("24", 17), ("12", 5), ("3", 4), ("100", 32)])
def test_an_inline_matrix_is_no_taller_than_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: str, drawn: int
) -> None:
    monkeypatch.setenv("LINES", rows)
    lines = sink("inline", tmp_path).show(Matrix(np.eye(64), caption="many rows"), "heat")
    assert len([line for line in lines if "\x1b" in line]) <= drawn
    assert len(lines) <= max(drawn + 3, 7)


def test_inline_is_ascii_where_the_encoding_can_do_no_more(tmp_path: Path) -> None:
    lines = sink("inline", tmp_path, encoding="ascii").show(MATRIX, "cosmat")
    assert "@" in lines[0]
    assert all(line.isascii() and "\x1b" not in line for line in lines)


def test_inline_is_a_png_for_kitty(tmp_path: Path) -> None:
    (escape, said) = sink("inline", tmp_path, COLOR | {"KITTY_WINDOW_ID": "1"}).show(MATRIX, "cosmat")
    assert re.match(r"\x1b_Ga=T,f=100,q=2,c=\d+,m=[01];iVBOR", escape)
    assert said == "three ones"


def test_inline_on_a_dumb_terminal_is_the_path_of_a_file(tmp_path: Path) -> None:
    lines = sink("inline", tmp_path, {"TERM": "dumb"}).show(MATRIX, "cosmat")
    assert lines == [str(tmp_path / "tdb-figures" / "001-cosmat.png"), "three ones"]


def test_auto_follows_the_terminal_and_the_mode_can_be_set(tmp_path: Path) -> None:
    figures = sink("auto", tmp_path)
    assert "▀" in figures.show(MATRIX, "cosmat")[0]
    figures.mode = "off"
    assert figures.show(MATRIX, "cosmat") == ["three ones"]


@pytest.mark.parametrize(
    ("suffix", "magic"),
    [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("npy", b"\x93NUMPY"), ("PNG", b"\x89PNG")],
)
def test_the_suffix_chooses_the_format(tmp_path: Path, suffix: str, magic: bytes) -> None:
    path = tmp_path / f"figure.{suffix}"
    assert sink("off", tmp_path).save(MATRIX, path) == str(path)
    assert path.read_bytes().startswith(magic)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name], "nothing else is left behind"


def test_npy_holds_the_data(tmp_path: Path) -> None:
    sink("off", tmp_path).save(MATRIX, tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), np.eye(3))


def test_an_unknown_suffix_is_said_with_the_known_ones(tmp_path: Path) -> None:
    for name in ("figure.jpeg", "figure"):
        with pytest.raises(UsageError, match="cannot write a figure as") as caught:
            sink("off", tmp_path).save(MATRIX, tmp_path / name)
        assert caught.value.hint == "It can be: .png .svg .pdf .npy"


def test_a_missing_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(TdbError, match=r"cannot write .*a\.png"):
        sink("off", tmp_path).save(MATRIX, tmp_path / "missing" / "a.png")


def test_a_failed_save_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(b"old")
    with pytest.raises(UsageError, match="different shapes"):
        sink("off", tmp_path).save(Page([MATRIX, Matrix(np.eye(4))]), path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npy"]


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "tdb-figures").write_text("a file in the way")
    with pytest.raises(TdbError, match=r"cannot write to .*tdb-figures"):
        sink("file", tmp_path).show(MATRIX, "cosmat")


def test_without_a_person_there_are_no_windows(tmp_path: Path) -> None:
    assert sink("window", tmp_path, interactive=False).show(MATRIX, "cosmat")[-1].endswith("001-cosmat.png")


def test_where_no_window_opens_one_line_says_so_and_files_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", ":987")  # where no server listens
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    figures = sink("window", tmp_path)
    first = figures.show(MATRIX, "cosmat")
    assert first[0].startswith("no window can be opened")
    assert first[1].endswith("001-cosmat.png")
    assert first[2] == "three ones"
    assert not figures.has_windows
    assert len(figures.show(MATRIX, "cosmat")) == 2, "it is said once"


def window_canvas(figures: FigureSink, name: str) -> Any:
    assert figures._windows is not None
    return figures._windows._windows[name].manager.canvas


def send(canvas: Any, name: str, x: float, y: float, *, double: bool = False) -> None:
    event = MouseEvent(name, canvas, x, y, button=MouseButton.LEFT, dblclick=double)
    canvas.callbacks.process(name, event)


def drag(canvas: Any, start: float, end: float, y: float) -> None:
    send(canvas, "button_press_event", start, y)
    for x in np.linspace(start, end, 5):
        send(canvas, "motion_notify_event", x, y)
    send(canvas, "button_release_event", end, y)


needs_display = pytest.mark.skipif(not os.environ.get("DISPLAY"), reason="opens real windows: needs a display")


@needs_display
def test_a_click_on_a_point_names_its_feature(tmp_path: Path) -> None:
    clicked: list[int] = []
    figures = sink("window", tmp_path)
    figures.on_click = clicked.append
    picture = Scatter(
        np.array([1.0, 2.0, 4.0]), np.array([1.0, 4.0, 2.0]), "x", "y", [10, 20, 30], caption="three points"
    )
    assert figures.show(picture, "scatter") == ["three points"]
    canvas = window_canvas(figures, "scatter")
    x, y = canvas.figure.axes[0].transData.transform((2.0, 4.0))
    send(canvas, "button_press_event", x, y)
    assert clicked == [20]
    figures.close()
    assert not figures.has_windows


@needs_display
def test_a_window_is_kept_for_its_command_and_closing_it_forgets_it(tmp_path: Path) -> None:
    figures = sink("window", tmp_path)
    figures.show(MATRIX, "cosmat")
    canvas = window_canvas(figures, "cosmat")
    figures.show(Matrix(np.eye(5), caption="five"), "cosmat")
    assert window_canvas(figures, "cosmat") is canvas
    assert canvas.figure.axes[0].images[0].get_array().shape == (5, 5)
    canvas.manager.destroy()
    figures.pump()
    assert not figures.has_windows
    figures.show(MATRIX, "cosmat")
    assert figures.has_windows
    figures.close()


@needs_display
def test_a_range_of_steps_is_chosen_by_dragging(tmp_path: Path) -> None:
    figures = sink("window", tmp_path)
    steps = np.arange(1000)
    figures.show(Curves({"loss": (steps, np.sin(steps / 50))}, "loss"), "loss")
    canvas = window_canvas(figures, "loss")
    axes = canvas.figure.axes[0]
    (start, y), (end, _) = axes.transData.transform([(300, 0), (600, 0)])
    drag(canvas, start, end, y)
    shown = canvas.figure.axes[0].get_lines()[0].get_xdata()
    assert 295 <= shown.min() <= 305
    assert 595 <= shown.max() <= 605
    send(canvas, "button_press_event", start, y, double=True)
    assert len(canvas.figure.axes[0].get_lines()[0].get_xdata()) == 1000
    figures.close()


@needs_display
def test_the_training_script_never_meets_our_windows_in_pyplot(tmp_path: Path) -> None:
    figures = sink("window", tmp_path)
    figures.show(MATRIX, "cosmat")
    assert Gcf.get_all_fig_managers() == []
    figures.close()


@pytest.mark.parametrize("mode", ["file", "inline"])
def test_where_matplotlib_fails_that_is_said_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib")
    monkeypatch.setitem(os.environ, "MPLBACKEND", "nonsense")
    made = sink(mode, tmp_path)
    fails = r"^matplotlib fails: ValueError: .*'nonsense'.*: `set figures off` does without figures$"
    for shown in (lambda: made.show(MATRIX, "heatmap"), lambda: made.save(MATRIX, tmp_path / "x.png")):
        with pytest.raises(StateError, match=fails):
            shown()
    made.save(MATRIX, tmp_path / "x.npy")
    made.mode = "off"
    assert made.show(MATRIX, "heatmap") == ["three ones"]
