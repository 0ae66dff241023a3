"""The grammar of arguments, read from signatures."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdb.commands.arguments import Count, Expression, File, MetricName, Text
from tdb.commands.binding import bind, parameters_of, usage_of
from tdb.errors import UsageError
from tdb.tokens import split_outside, tokens_of


def table(
    session: object,
    *columns: MetricName,
    sort: MetricName | None = None,
    desc: bool = False,
    top: Count | None = None,
    where: Expression | None = None,
) -> None:
    del session, columns, sort, desc, top, where


def step(session: object, count: Count = 1, *, background: bool = False) -> None:
    del session, count, background


def source(session: object, path: File) -> None:
    del session, path


def setting(session: object, name: MetricName, value: Text | None = None) -> None:
    del session, name, value


TABLE, STEP, SOURCE, SETTING = (parameters_of(each) for each in (table, step, source, setting))


def test_words_may_stand_in_any_order_and_the_expression_takes_the_rest() -> None:
    bound = bind("table", TABLE, "win_rate loss top 5 sort win_rate desc where loss > 2 and top < 3")
    assert bound.positional == ["win_rate", "loss"]
    assert bound.words == {"top": 5, "sort": "win_rate", "desc": True, "where": "loss > 2 and top < 3"}


def test_an_expression_keeps_its_spaces_quotes_and_dashes() -> None:
    assert bind("table", TABLE, "where a  -o 'b' > 1").words == {"where": "a  -o 'b' > 1"}


def test_the_common_options_stand_anywhere_before_the_expression() -> None:
    bound = bind("table", TABLE, "-o 'a b.csv' --json win_rate -n ^3 --no-pager")
    assert bound.positional == ["win_rate"]
    assert bound.options.output == Path("a b.csv")
    assert (bound.options.json, bound.options.pager, bound.options.pattern) == (True, False, "^3")


@pytest.mark.parametrize(
    ("text", "kept", "output", "json"),
    [
        ("loss > 2 -o a.csv", "loss > 2", "a.csv", False),
        ("loss > 2 --json -o 'a b.csv'", "loss > 2", "a b.csv", True),
        ("loss -o (1)", "loss -o (1)", None, False),
        ("loss -o", "loss -o", None, False),
        ("'x -o a.csv'", "'x -o a.csv'", None, False),
        ("loss > 2 -order", "loss > 2 -order", None, False),
    ],
)
def test_the_common_options_may_follow_an_expression(text: str, kept: str, output: str | None, json: bool) -> None:
    bound = bind("table", TABLE, f"where {text}")
    assert bound.words == {"where": kept}
    assert (bound.options.output, bound.options.json) == (output and Path(output), json)


def test_a_home_folder_is_found_in_the_name_of_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert bind("source", SOURCE, "~/look.tdb").positional == [tmp_path / "look.tdb"]
    with pytest.raises(UsageError, match="nobody knows whose folder '~no_such_user/a' is in"):
        bind("source", SOURCE, "~no_such_user/a")


def test_text_that_has_begun_keeps_what_looks_like_an_option() -> None:
    assert bind("set", SETTING, "figures a --json").positional == ["figures", "a --json"]
    assert bind("set", SETTING, "figures --json a").options.json


@pytest.mark.parametrize(
    ("name", "parameters", "text", "message"),
    [
        ("step", STEP, "x", "step takes a number from 1, not 'x'. Usage: step [N] [&]"),
        ("step", STEP, "0", "step takes a number from 1, not '0'. Usage: step [N] [&]"),
        ("step", STEP, "3 4", "step cannot use '4'. Usage: step [N] [&]"),
        ("step", STEP, "--jsn", "step has no option '--jsn'. Did you mean: --json"),
        ("step", STEP, "-q", "step has no option '-q'. Usage: step [N] [&]"),
        ("table", TABLE, "top", "table top needs N. Usage: table [COL...] [sort COL] [desc] [top N] [where EXPR]"),
        (
            "table",
            TABLE,
            "top many",
            "table top takes a number from 1, not 'many'. Usage: table [COL...] [sort COL] [desc] [top N] [where EXPR]",
        ),
        ("table", TABLE, "-o", "table -o needs FILE. Usage: table [COL...] [sort COL] [desc] [top N] [where EXPR]"),
        ("source", SOURCE, "", "source needs FILE. Usage: source FILE"),
    ],
)
def test_a_mistake_is_one_line_with_the_way_out(name: str, parameters: object, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        bind(name, parameters, text)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_the_way_out_is_an_example_with_the_word_that_was_wrong() -> None:
    examples = ["table top 3", "table sort loss"]
    wrong = [("top many", "table top 3"), ("sort", "table sort loss"), ("-q", "table sort loss")]
    for text, example in [*wrong, ("-o", "table top 3 -o answer.json"), ("-n", "table top 3 -n loss")]:
        with pytest.raises(UsageError, match=f"Example: {example}$"):
            bind("table", TABLE, text, examples)


def test_the_way_out_of_a_word_too_many_is_an_example_without_options() -> None:
    examples = ["source a.tdb", "source b.tdb", "source c.tdb sort loss"]
    sorted_source = (*SOURCE, *(each for each in TABLE if each.word == "sort"))
    with pytest.raises(UsageError, match=r"source cannot use 'twice'. Example: source b.tdb$"):
        bind("source", sorted_source, "a.tdb twice", examples)


def test_usage_is_made_from_the_signature() -> None:
    assert usage_of("table", TABLE) == "Usage: table [COL...] [sort COL] [desc] [top N] [where EXPR]"


def test_a_word_in_quotes_or_brackets_is_one() -> None:
    words = ["a", "b c", "[0:5, 17]", "f(x, y)", "d"]
    assert [token.text for token in tokens_of("a 'b c' [0:5, 17] f(x, y) \"d\"")] == words


@given(st.text(alphabet="ab;'\"\\ ()[]{}", max_size=30))
def test_splitting_loses_nothing_and_never_raises(text: str) -> None:
    def double(whole: str, position: int) -> int:
        return 2 if whole.startswith(";;", position) else 0

    pieces = split_outside(text, double)
    assert ";;".join(piece for _, piece in pieces) == text
    assert all(text[start : start + len(piece)] == piece for start, piece in pieces)
