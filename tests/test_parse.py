"""What a typed line means."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdb.commands import all_commands
from tdb.errors import UsageError
from tdb.shell.parse import expanded, is_command, pasted_lines, split_line, understand

COMMANDS = all_commands()


@pytest.mark.parametrize(
    ("line", "name", "arguments"),
    [
        ("step 5", "step", "5"),
        ("s", "step", ""),
        ("  c &", "continue", "&"),
        ("c&", "continue", "&"),
        ("continue &", "continue", "&"),
        ("? step", "help", "step"),
        ("metrics where loss > 2", "metrics", "where loss > 2"),
        ("c == 3", "continue", "== 3"),
    ],
)
def test_a_command_is_its_exact_name_or_a_listed_short_form(line: str, name: str, arguments: str) -> None:
    typed = understand(line.strip(), COMMANDS)
    assert typed.command is not None
    assert (typed.command.name, typed.arguments) == (name, arguments)


@pytest.mark.parametrize("line", ["c.a", "n()", "j=1", "s[0]", "step(3)", "x = 1", "ste 5", "model", "s+1", "(c)"])
def test_everything_else_is_python(line: str) -> None:
    assert understand(line, COMMANDS).command is None


@pytest.mark.parametrize("line", ["step = 5", "c = 3", "n =1"])
def test_assigning_to_a_command_is_refused_with_a_hint_and_never_run(line: str) -> None:
    with pytest.raises(UsageError, match="In Python: !"):
        understand(line, COMMANDS)


def test_what_was_pasted_is_commands_one_by_one_and_python_statements_whole() -> None:
    def pasted(text: str) -> list[str]:
        return pasted_lines(text, partial(is_command, registry=COMMANDS, aliases={"worst": "metrics top 3"}))

    assert pasted("watch 0\r\nstep\n\nwatch\n") == ["watch 0", "step", "watch"]
    assert pasted("x = 1\nstep\nworst\n  p x") == ["x = 1", "step", "worst", "  p x"]
    loop = "for i in range(3):\n\n    if i:\n        print(i)\n    else:\n        pass\nelse:\n    print()"
    assert pasted(f"{loop}\nstep") == [loop, "step"]
    assert pasted("y = [\n1,\n]\np y\n") == ["y = [\n1,\n]", "p y"]
    assert pasted("    x = 1\n    y = 2\n") == ["x = 1", "y = 2"]
    assert pasted('text = """\nstep\n\n"""\nstep') == ['text = """\nstep\n\n"""', "step"]
    assert pasted("\n \n") == []


def test_a_bang_forces_python() -> None:
    typed = understand("! step = 5", COMMANDS)
    assert (typed.command, typed.text, typed.forced) == (None, "step = 5", True)


def test_an_alias_is_looked_up_first() -> None:
    aliases = {
        "worst": "metrics sort win_rate asc top",
        "both": "force %2 ;; force %1",
        "all": "p [%*]",
        "step": "step",
        "again": "worst 2",
    }
    assert expanded("worst 3;; where", aliases) == ["metrics sort win_rate asc top 3", "where"]
    assert expanded("both 1 2", aliases) == ["force 2", "force 1"]
    assert expanded("all 1, 2", aliases) == ["p [1, 2]"]
    assert expanded("step 5", aliases) == ["step 5"]
    assert expanded("again", aliases) == ["metrics sort win_rate asc top 2"]
    assert expanded("worst(3)", aliases) == ["worst(3)"]


@pytest.mark.parametrize(
    ("line", "pieces"),
    [
        ("step ;; metrics", ["step", "metrics"]),
        ("p ';;' ;; step", ["p ';;'", "step"]),
        ("p f(';;', [1;;2]) ;;", ["p f(';;', [1;;2])"]),
        (";; ;;", []),
        ("# a comment ;; step", []),
        ("step ;; # done", ["step"]),
        ("p 'it''s' ;; step", ["p 'it''s'", "step"]),
        ("alias go step 2 ;; p loss", ["alias go step 2 ;; p loss"]),
        ("step ;; alias go step ;; p '#'", ["step", "alias go step ;; p '#'"]),
        ("alias go ;; step", ["alias go", "step"]),
        ("alias ;; step", ["alias", "step"]),
        ("alias = 3 ;; step", ["alias = 3", "step"]),
    ],
)
def test_a_line_splits_at_double_semicolons_outside_quotes_and_brackets(line: str, pieces: list[str]) -> None:
    assert split_line(line) == pieces


@given(st.text(max_size=40))
def test_no_line_breaks_the_parser(text: str) -> None:
    for piece in split_line(text):
        with suppress(UsageError):
            assert understand(piece, COMMANDS).text in piece
