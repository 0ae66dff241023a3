"""Thousands of malformed lines: each is answered by one line, and training notices none of them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tdb.commands import Command, all_commands
from tdb.errors import TdbError
from tdb.shell.show import Show
from tdb.typed import Typed
from tests.sessions.test_stops import MODEL
from tests.typing_session import TypingSession

LEFT_OUT = {
    "quit": "leaves",
    "pipe": "runs programs of the shell",
    "shell": "likewise",
    "source": "runs the lines of files, which are well-formed or not by themselves",
    "record": "writes the whole session anew after every line",
}
# A well-formed one would let training go on, so each of these gets a piece that no argument of theirs can be.
MOVES = {
    "start", "step", "next", "until", "return", "detach", "continue", "pause", "wait", "interrupt", "phase", "skip",
    "overhead",
    "pystep", "back", "goto", "reverse-continue", "restart", "checkpoint", "fork", "switch", "branches", "detect",
}  # fmt: skip
WRONG_EVERYWHERE = ["[", "(", "@@", "&& 1", "\x00", "== ]", '"', "🜲 ["]
JUNK = [
    "when", "while", "changed", "epoch", "every", "loss", "step", "win_rate", "[31]", "[999]", "[", "]", "(", ")", "{",
    "<", ">", "==", "=", "|", "||", "&", "&&", "**", "<<", "@", "@dead", "'", '"', "\\'", ".", ",", ":", ";", ";;",
    " ;; ",
    "if", "lambda: 0", "__class__", "loss.item()", "nosuch(loss)", "prev(", "mean(", "since(loss", "ema(loss, 10**9)",
    "0.01", "-1", "+", "1e99", "99999999999999999999", "-99999999999999999999", "nan", "inf", "0x", "1_0", "12x", "x3",
    "\x00", "\x1b[2J", "\t", "\r", "\x7f", "é", "𝔘", "\u202e", "\ud800", "🜲", "%", "%1", "$", "$_", "$_no", "!",
    "?", "#",
    "--json", "-o", "-o /nowhere/x", "-o .", "-n", "-n (", "--no-pager", "--", "--nosuch", "-x", "\\", "None",
    "yield", "*",
]  # fmt: skip


def bases(command: Command) -> list[str]:
    """Return what is mutated: the names and the examples of a command."""
    return [command.name, *command.short, *command.examples]


BY_HAND = [
    "p exit()", "! raise SystemExit", "! raise KeyboardInterrupt", "p " + "(" * 5000, "break when " + "-" * 3000 + "1",
    "break " + "9" * 5000, "step " + "9" * 5000 + " [", "\ud800\ud800", "p '\x00'",
]  # fmt: skip
LINES = [base for each in all_commands() if each.name not in LEFT_OUT for base in bases(each)]
FIRST_WORDS = {word: each.name for each in all_commands() for word in (each.name, *each.short)}
LINES_AT_ONCE = 25
"""A line takes a millisecond, and what hypothesis draws for it three: so it draws only where some of them begin."""


def lines(seed: int) -> Iterator[str]:
    """Yield malformed lines."""
    chance = random.Random(seed)
    for _ in range(LINES_AT_ONCE):
        yield mutated(chance.choice(LINES), chance)


def junk(chance: random.Random) -> str:
    """Return something that has no place in a line, or up to three characters of any kind."""
    if chance.random() < 0.5:
        return chance.choice(JUNK)
    most = chance.choice([0x7F, 0xFF, 0x2FFF, 0x10FFFF])
    return "".join(chr(chance.randint(0, most)) for _ in range(chance.randint(0, 3)))


def mutated(base: str, chance: random.Random) -> str:
    """Return a line with mistakes in it; those that would move training get one in any case."""
    line = base
    for _ in range(chance.randint(1, 3)):
        at, extra = chance.randint(0, len(line)), junk(chance)
        match chance.choice(["insert", "insert", "replace", "delete", "double", "swap"]):
            case "insert":
                line = line[:at] + extra + line[at:]
            case "replace":
                line = line[:at] + extra + line[at + len(extra) :]
            case "delete":
                line = line[:at] + line[at + chance.randint(1, 3) :]
            case "double":
                line = line[:at] + line[at // 2 : at] + line[at:]
            case _:
                line = " ".join(reversed(line.split(" ")))
    return " ;; ".join(harmless(piece, chance.choice(WRONG_EVERYWHERE)) for piece in line.split(";;"))


def harmless(piece: str, wrong: str) -> str:
    """Return a piece of a line that cannot move training, leave, or run programs and files."""
    words = piece.replace("&", " ").split()
    name = FIRST_WORDS.get(words[0], "") if words else ""
    if not words or name in LEFT_OUT:  # nothing repeats the line before it
        return f"nosuch {piece}"
    return f"{piece} {wrong}" if name in MOVES else piece


class SomeWidth(Show):
    """A terminal whose width changes with every answer."""

    answers = 0

    @property
    def _width(self) -> int:
        return (20, 40, 80, 200)[self.answers % 4]

    def _text(self, parts: Sequence[Any]) -> None:
        self.answers += 1
        super()._text(parts)

    def error(self, typed: Typed, error: TdbError, location: str = "") -> None:
        """Show it in one line, whose shape the test reads; how lines are broken has a test of its own."""
        self.terminal = False
        super().error(typed, error, location)
        self.terminal = True


def digest(model: torch.nn.Module) -> str:
    """Return a hash of a model's weights and of torch's generator."""
    tensors = [*model.state_dict().values(), torch.get_rng_state()]
    return hashlib.sha256(b"".join(each.numpy().tobytes() for each in tensors)).hexdigest()


class Narrow(Show):
    """A terminal of 40 columns."""

    _width = 40  # type: ignore[assignment]


def test_an_error_is_broken_between_words_and_its_caret_stays_under_its_place(
    make_session: Callable[..., TypingSession],
) -> None:
    session = make_session(MODEL)
    show = session.interpreter.show
    session.interpreter.show = Narrow(session.session, show.sink, session.out, session.out, terminal=True)
    session.play("""
        (tdb) step x
        *** step takes a number of steps, not
        'x'. Example: step 5
    """)
    line = "break when loss < 0.5 and loss > 0.25 or nosuch(loss) > 3 and prev(loss) > 0.0625"
    shown = session.type(line).splitlines()
    text = f"*** {line}"
    place = text.index("nosuch")
    assert [shown[0], shown[1], *shown[-1:]] == [text[:40], text[40:80], text[80:]]
    assert shown[2].startswith(" " * (place - 40) + "^ ")
    assert len(shown) > 4  # the reason is wrapped, too
    assert all(len(each) <= 40 for each in shown)


@pytest.mark.filterwarnings("error::SyntaxWarning")  # it would be a second line on the terminal
def test_malformed_lines_get_one_line_each_and_training_notices_nothing(
    make_session: Callable[..., TypingSession], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAGER", "cat")
    session = make_session(MODEL)
    show = session.interpreter.show
    session.interpreter.show = SomeWidth(session.session, show.sink, session.out, session.out, terminal=True)
    session.type("step 3")
    model = vars(session.session.run.module)["model"]  # type: ignore[union-attr]
    before, refused = digest(model), 0

    def answered(line: str) -> None:
        nonlocal refused
        session.session.settings.change("figures", "off")
        shown = session.type(line)
        session.interpreter.abandon()
        assert "bug in tdb" not in shown, (line, shown)
        assert "Traceback" not in shown, (line, shown)
        pieces = [index for index, text in enumerate(shown.split("\n")) if text.startswith("*** ")]
        if pieces:  # else it was well-formed after all
            refused += 1
            last = shown.rstrip("\n").split("\n")[pieces[-1] :]
            assert len(pieces) == 1, (line, shown)
            assert len(last) == 1 or (len(last) == 2 and last[1].lstrip().startswith("^")), (line, shown)
        assert session.controller.position.step == 3, line
        assert session.session.status == "stopped", line

    @settings(
        max_examples=7500 // LINES_AT_ONCE,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**64 - 1))
    def type_some(seed: int) -> None:
        for line in lines(seed):
            answered(line)

    for line in BY_HAND:
        answered(line)
    type_some()
    assert refused >= 5000, refused
    assert session.type("p 1 + 1") == "2\n"
    assert digest(model) == before
    session.type("clear;; undisplay;; watch clear")
    assert "Training finished after 200 steps" in session.type("continue").replace("\n", "")
