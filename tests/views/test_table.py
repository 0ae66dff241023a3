"""Tables as text: exact at a given width, whole in a pipe, exact numbers in a file."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from rich.console import Console

from tdb.results import Facts, Table, Text
from tdb.views import csv_text, plain_text, renderable
from tdb.views.fold import fold_header
from tdb.views.lines import text_width
from tdb.views.number import shared_format

METRICS = [
    "win_rate",
    "grad_magnitude",
    "som_magnitude",
    "feature_novelty",
    "effective_win",
    "gradient_weight",
    "contender_weight",
    "attraction_weight",
]


def bcl_table(rows: int = 3) -> Table:
    """A table with the columns, the status and the summary of BCL's metrics."""
    values = {name: np.linspace(0.001 + at, 0.9 + at / 100, rows, dtype=np.float32) for at, name in enumerate(METRICS)}
    return Table(
        {"feature_id": np.array([31, 4, 17])[:rows] if rows <= 3 else np.arange(rows), **values},
        status=(["dead", "contender", "winner"] * rows)[:rows],
        summary={
            word: {name: float(measure(column)) for name, column in values.items()}
            for word, measure in (("mean", np.mean), ("min", np.min), ("max", np.max))
        },
        note=f"{rows} of 64 rows, sorted by win_rate ascending",
    )


def on_terminal(part: Table | Facts | Text, width: int, *, color: bool = False, ascii_only: bool = False) -> str:
    """What a terminal of this width shows of a part, spaces at the ends of lines left aside."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=color, color_system="standard" if color else None)
    console.print(renderable(part, width=width, ascii_only=ascii_only), end="")
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def lines(text: str) -> list[str]:
    """The lines of an expected screen, without the indentation of the test."""
    return [line[8:] for line in text.strip("\n").split("\n")][:-1]


def test_the_nine_columns_of_bcl_stand_side_by_side_at_80_columns() -> None:
    assert on_terminal(bcl_table(), 80).split("\n") == lines(
        """
                        grad_   som_    fea- effec-   gra- conten- attrac-
           fea-   win_ magni- magni-   ture_  tive_ dient_    der_   tion_
        ture_id   rate   tude   tude novelty    win weight  weight  weight status
        ──────────────────────────────────────────────────────────────────────────────
             31 0.0010 1.0010 2.0010  3.0010 4.0010 5.0010  6.0010  7.0010 x dead
              4 0.4505 0.9555 1.4605  1.9655 2.4705 2.9755  3.4805  3.9855 ~ contender
             17 0.9000 0.9100 0.9200  0.9300 0.9400 0.9500  0.9600  0.9700 * winner
        ──────────────────────────────────────────────────────────────────────────────
           mean 0.4505 0.9555 1.4605  1.9655 2.4705 2.9755  3.4805  3.9855
            min 0.0010 0.9100 0.9200  0.9300 0.9400 0.9500  0.9600  0.9700
            max 0.9000 1.0010 2.0010  3.0010 4.0010 5.0010  6.0010  7.0010
        3 of 64 rows, sorted by win_rate ascending
        """
    )


def test_at_60_columns_they_come_in_two_blocks_each_with_id_and_status() -> None:
    assert on_terminal(bcl_table(2), 60).split("\n") == lines(
        """
                             grad_    som_
        feature_            magni-  magni-  feature_
              id  win_rate    tude    tude   novelty  status
        ─────────────────────────────────────────────────────────
              31    0.0010  1.0010  2.0010    3.0010  x dead
               4    0.9000  0.9100  0.9200    0.9300  ~ contender
        ─────────────────────────────────────────────────────────
            mean    0.4505  0.9555  1.4605    1.9655
             min    0.0010  0.9100  0.9200    0.9300
             max    0.9000  1.0010  2.0010    3.0010

                                       conten-  attrac-
        feature_    effec-  gradient_     der_    tion_
              id  tive_win     weight   weight   weight  status
        ────────────────────────────────────────────────────────────
              31    4.0010     5.0010   6.0010   7.0010  x dead
               4    0.9400     0.9500   0.9600   0.9700  ~ contender
        ────────────────────────────────────────────────────────────
            mean    2.4705     2.9755   3.4805   3.9855
             min    0.9400     0.9500   0.9600   0.9700
             max    4.0010     5.0010   6.0010   7.0010
        2 of 64 rows, sorted by win_rate ascending
        """
    )


@pytest.mark.parametrize("width", [20, 40, 60, 72, 80, 100, 200])
def test_no_line_is_too_wide_and_no_value_missing(width: int) -> None:
    table = bcl_table(5)
    shown = on_terminal(table, width)
    assert max(map(len, shown.split("\n"))) <= width
    for column in table.columns.values():
        for value in column.tolist():
            assert (f"{value:.4f}" if isinstance(value, float) else str(value)) in shown
    assert shown.count("dead") >= list(table.status).count("dead")


def test_status_is_a_glyph_a_word_and_a_colour() -> None:
    table = Table({"id": [0, 1, 2, 3]}, status=["dead", "contender", "winner", "unknown"])
    shown = on_terminal(table, 80, color=True)
    for look in ("\x1b[31mx dead", "\x1b[33m~ contender", "\x1b[32m* winner", "\x1b[35m? unknown"):
        assert look in shown


def test_nan_and_infinity_stand_out_and_are_counted() -> None:
    table = Table({"id": [0, 1, 2], "loss": [0.5, float("nan"), float("inf")], "b": [float("nan"), 1.0, 2.0]})
    shown = on_terminal(table, 80, color=True)
    assert "NaN in 2 rows, inf in 1 row" in shown
    assert "\x1b[1;37;41m   nan\x1b[0m" in shown


def test_what_a_user_named_is_never_taken_as_markup_or_escape() -> None:
    table = Table({"name": ["[bold]x[/]", "a\x1b[2Jb", "two\nlines"]}, title="[red]t", note="see [count]")
    shown = on_terminal(table, 80)
    for text in ("[bold]x[/]", "a\\x1b[2Jb", "two lines", "[red]t", "see [count]"):
        assert text in shown
    assert "\x1b" not in shown


def test_a_pipe_gets_every_digit_and_neither_boxes_nor_blocks() -> None:
    table = Table(
        {"id": np.arange(2), "rate": np.float32([0.1, 1e-7]), "exact": np.array([1 / 3, 2.0])},
        status=["winner", "dead"],
        summary={"mean": {"rate": 0.05, "exact": 1.1666666666666667}},
    )
    assert plain_text(table).split("\n") == [
        "  id   rate               exact  status",
        "   0    0.1  0.3333333333333333  * winner",
        "   1  1e-07                 2.0  x dead",
        "mean   0.05  1.1666666666666667",
        "",
    ]


def test_ascii_only_is_ascii() -> None:
    table = Table({"name": ["naïve", "µ"], "x": [1.0, 2.0]}, summary={"max": {"x": 2.0}}, title="±")
    assert on_terminal(table, 60, ascii_only=True).isascii()
    assert "na\\xefve" in plain_text(table, ascii_only=True)


def test_long_text_is_wrapped_before_columns_are_moved() -> None:
    table = Table({"num": [1, 2], "where": ["when " + "loss > 2 and " * 5 + "epoch > 3", "nan"], "hits": [10, 20]})
    assert on_terminal(table, 50).split("\n") == lines(
        """
        num  where                                hits
        ──────────────────────────────────────────────
          1  when loss > 2 and loss > 2 and loss    10
             > 2 and loss > 2 and loss > 2 and
             epoch > 3
          2  nan                                    20
        """
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0083, 0.2, 0.9844], "%.4f"),
        ([0.0, 0.0], "%.4f"),
        ([1e-5, 2e-5, 0.5], "%.2e"),
        ([1234.5, 0.1], "%.2f"),
        ([1e7, 1.0], "%.2e"),
        ([float("nan"), float("inf"), 0.3], "%.4f"),
        ([], "%.4f"),
    ],
)
def test_one_format_tells_the_numbers_of_a_column_apart(values: list[float], expected: str) -> None:
    assert shared_format(np.array(values)) == expected


def test_an_empty_table_shows_its_columns() -> None:
    table = Table({"id": [], "loss": np.empty(0)}, note="0 of 64 rows")
    assert plain_text(table) == "id  loss\n0 of 64 rows\n"
    assert "loss" in on_terminal(table, 80)


NAMES = st.text("abcdefghijklmnopqrstuvwxyz_./", min_size=1, max_size=30)


@given(NAMES, st.integers(5, 20))
def test_folding_a_header_loses_nothing_and_fits(name: str, width: int) -> None:
    folded = fold_header(name, width)
    assert max(map(text_width, folded)) <= width
    assert "".join(line.removesuffix("-") for line in folded) == name


@given(arrays.arrays(np.float32, st.integers(1, 20)), st.lists(st.text(max_size=5), min_size=20, max_size=20))
def test_csv_gives_back_every_number_and_text(numbers: np.ndarray, texts: list[str]) -> None:
    texts = [text.replace("\r", "").replace("\0", "") for text in texts[: len(numbers)]]
    table = Table({"x": numbers, "name": texts}, status=["dead"] * len(numbers))
    header, *rows = csv.reader(io.StringIO(csv_text(table)))
    assert header == ["x", "name", "status"]
    np.testing.assert_array_equal(np.array([row[0] for row in rows], np.float32), numbers)
    assert [row[1] for row in rows] == texts


def test_facts_stand_in_two_columns_and_wrap() -> None:
    facts = Facts({"status": "stopped", "loss": 0.104234, "watches": [3, 17], "why": "word " * 12, "epoch": None})
    assert on_terminal(facts, 40).split("\n") == lines(
        """
        status   stopped
        loss     0.104234
        watches  3, 17
        why      word word word word word word
                 word word word word word word
        epoch    -
        """
    )
    assert plain_text(Facts({"loss": 0.1 + 0.2})) == "loss  0.30000000000000004\n"


def test_text_is_shown_as_it_is() -> None:
    assert plain_text(Text("a [b]\n  c\td")) == "a [b]\n  c     d\n"
    at_a_stop = Text("> step 3  loss 0.5        folder/deep/train.py(88) train", ["folder/deep/train.py(88) train"])
    assert [on_terminal(at_a_stop, width).splitlines() for width in (60, 50, 46, 40, 24)] == [
        ["> step 3  loss 0.5        folder/deep/train.py(88) train"],
        ["> step 3  loss 0.5  folder/deep/train.py(88) train"],
        ["> step 3  loss 0.5  .../train.py(88) train"],
        ["> step 3  loss 0.5", "  folder/deep/train.py(88) train"],
        ["> step 3  loss 0.5", "  .../train.py(88) train"],
    ]
    assert on_terminal(Text("x" * 25), 10).split("\n") == ["x" * 10, "x" * 10, "x" * 5]


def test_prose_is_broken_between_words() -> None:
    text = "one two three\nfour\n\nExample:\n    one two three\n    four\n"
    assert plain_text(Text(text, is_prose=True)) == text
    broken = ["one two", "three four", "", "Example:", "    one", "    two", "    three", "    four"]
    assert on_terminal(Text(text, is_prose=True), 10).split("\n") == broken


def test_a_table_of_blank_names_has_no_header() -> None:
    assert plain_text(Table({"": ["a", "bc"], " ": [1, 2]}, title="counts")) == "counts\na   1\nbc  2\n"


def test_numbers_of_different_quantities_have_a_format_of_their_own() -> None:
    table = Table({"tensor": ["grad", "inputs"], "max": np.array([3.389e-07, 255.0])}, mixed=True)
    shown = on_terminal(table, 80)
    assert "grad    3.389e-07" in shown
    assert "inputs        255" in shown
