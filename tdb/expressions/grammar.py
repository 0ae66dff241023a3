"""What may stand in an expression: the functions it may call, the operators, and where an error's caret goes.

Everything not listed here is refused when the expression is set, so no expression can reach an attribute, a builtin
or a module, whatever it spells.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tdb.errors import UsageError
from tdb.expressions import functions, memory

LONGEST_TEXT = 1000  # characters; with the next limit it bounds the time and the stack that checking may take
DEEPEST_NESTING = 60
LARGEST_INTEGER = 2**63


@dataclass(frozen=True)
class Function:
    """A function that an expression may call.

    Attributes:
        call: what computes it; a function that remembers gets the memory and a key before its arguments.
        usage: how it is written, for help and completion.
        summary: what it gives, for help and completion.
        parameters: their names, in order; those after `required` may be left out or given by name.
        many: further arguments may follow.
        remembers: it looks back over steps.
    """

    call: Callable[..., Any]
    usage: str
    summary: str
    parameters: tuple[str, ...] = ("x",)
    required: int = 1
    many: bool = False
    remembers: bool = False


FUNCTIONS: Mapping[str, Function] = {
    "abs": Function(abs, "abs(x)", "absolute value of each entry"),
    "min": Function(functions.smallest, "min(x)", "smallest entry; min(a, b): the smaller of both", many=True),
    "max": Function(functions.largest, "max(x)", "largest entry; max(a, b): the larger of both", many=True),
    "mean": Function(functions.mean, "mean(x)", "mean of all entries"),
    "std": Function(functions.standard_deviation, "std(x)", "population standard deviation of all entries"),
    "median": Function(functions.median, "median(x)", "median of all entries"),
    "sum": Function(functions.total, "sum(x)", "sum of all entries; sum(win_rate < 0.01) counts"),
    "any": Function(functions.some, "any(x)", "whether an entry is true"),
    "all": Function(functions.every, "all(x)", "whether every entry is true"),
    "isnan": Function(np.isnan, "isnan(x)", "which entries are NaN"),
    "isfinite": Function(
        np.isfinite, "isfinite(x)", "which entries are neither NaN nor infinite: x[isfinite(x)] has those alone"
    ),
    "argmin": Function(np.argmin, "argmin(x)", "position of the smallest entry"),
    "argmax": Function(np.argmax, "argmax(x)", "position of the largest entry"),
    "norm": Function(functions.norm, "norm(x)", "Euclidean norm along the last axis: one number a row"),
    "cos": Function(functions.cosine, "cos(a, b)", "cosine of a and b along the last axis", ("a", "b"), 2),
    "len": Function(len, "len(x)", "number of entries along the first axis"),
    "prev": Function(memory.previous, "prev(x, n=1)", "x as it was n steps ago", ("x", "n"), 1, remembers=True),
    "delta": Function(memory.delta, "delta(x)", "x minus x at the step before", remembers=True),
    "ema": Function(
        memory.moving_average, "ema(x, n)", "exponential moving average of span n", ("x", "n"), 2, remembers=True
    ),
    "crosses": Function(
        memory.crosses, "crosses(x, level)", "whether x reached or passed level", ("x", "level"), 2, remembers=True
    ),
    "since": Function(memory.since, "since(EXPR)", "steps since EXPR was last true", ("EXPR",), remembers=True),
}
COMPARISONS: Mapping[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.BitAnd, ast.BitOr)
TEXT = 'text has no place in an expression, but as a key: scores["accuracy"]'
REFUSED: Mapping[type[ast.AST], str] = {
    ast.NamedExpr: "`:=` assigns, an expression only looks",
    ast.Lambda: "lambda has no place in an expression",
    ast.IfExp: "if ... else has no place in an expression: use and, or",
    ast.ListComp: "a comprehension is not needed: any, all and sum work on whole arrays",
    ast.SetComp: "a comprehension is not needed: any, all and sum work on whole arrays",
    ast.DictComp: "a comprehension is not needed: any, all and sum work on whole arrays",
    ast.GeneratorExp: "a comprehension is not needed: any, all and sum work on whole arrays",
    ast.Tuple: "one value is wanted here, not several with a comma",
    ast.List: "a list has a place only inside [ ], as in win_rate[[3, 17]]",
    ast.Slice: "a slice has a place only directly inside [ ]",
    ast.JoinedStr: TEXT,
}
NUMBER_GLUED_TO_WORD = re.compile(r"\b[0-9][\w.]*?(?:and|else|for|if|in|is|not|or)")
OTHER_LANGUAGES: Mapping[str, str] = {
    "&&": "two conditions are joined by `and`",
    "||": "two conditions are joined by `or`",
    "<>": "to differ is written !=",
    ":=": REFUSED[ast.NamedExpr],
    "=": "`=` assigns; to compare write ==",
    "!": "the opposite is written `not`",
}


@dataclass(frozen=True)
class Source:
    """The text of an expression, and what was typed before it on the same line."""

    text: str
    before: str = ""

    def error(self, place: ast.AST | int, reason: str) -> UsageError:
        """Return the error whose message is the line and, under it, a caret at the place and the reason.

        The caret's column counts from the message's own start: whoever prints a prefix before the message indents the
        second line by the prefix's width.
        """
        column = place if isinstance(place, int) else self.column(getattr(place, "col_offset", 0))
        line = "".join(each if each.isprintable() else " " for each in self.before + self.text)
        return UsageError(f"{line}\n{' ' * (len(self.before) + column)}^ {reason}")

    def column(self, offset: int) -> int:
        """Return the column of a byte offset, which is how ast counts."""
        return len(self.text.encode()[:offset].decode(errors="ignore"))

    def of(self, node: ast.AST) -> str:
        """Return the text a node was read from."""
        return ast.get_source_segment(self.text, node) or ""


def parse(source: Source) -> ast.expr:
    """Return the syntax tree of one expression.

    Raises:
        UsageError: it is empty, too long, not one line of plain text, or no Python expression.
    """
    text = source.text
    if not text:
        raise source.error(0, "an expression is missing")
    if len(text) > LONGEST_TEXT:
        raise UsageError(f"the expression has {len(text)} characters", f"At most {LONGEST_TEXT} are read")
    strange = next((place for place, character in enumerate(text) if not character.isprintable()), None)
    if strange is not None:
        raise source.error(strange, "only printable characters on one line can be read")
    if glued := NUMBER_GLUED_TO_WORD.search(text):  # Python would read it, with a warning on the terminal
        raise source.error(glued.start(), "a number and a word need a blank between them")
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise _syntax_error(source, error) from None
    except (ValueError, MemoryError, RecursionError):
        raise source.error(0, "the expression is too deeply nested to be read") from None


def _syntax_error(source: Source, error: SyntaxError) -> UsageError:
    text = source.text
    if _is_expression(f"{text} 0"):
        return source.error(len(text), "the expression ends too early")
    place = min(max((error.offset or 1) - 1, 0), len(text))
    for spelling, advice in OTHER_LANGUAGES.items():
        if spelling in text[max(place - 1, 0) : place + 2]:
            return source.error(text.index(spelling, max(place - 1, 0)), advice)
    return source.error(place, error.msg)


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True
