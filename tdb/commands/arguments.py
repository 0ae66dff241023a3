"""The grammar of a command's arguments, read from the signature of its function.

    @command()
    def metrics(session, *columns: MetricName, sort: MetricName | None = None, desc: bool = False,
                top: Count | None = None, where: Expression | None = None): ...

    metrics win_rate sort win_rate desc top 5 where som_magnitude > 1

Parameters before the star are positional, `*columns` takes what is left, keyword-only parameters are words of the line:
a bool stands alone, any other is followed by its value, and either may have dashes before it. An annotation names the
kind of value, which parses it and offers completions. `Expression` and `Text` take the rest of the line as it stands,
so they come last.
"""

from __future__ import annotations

import inspect
import os
import re
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tdb.errors import UsageError, did_you_mean
from tdb.names import (
    alias_names,
    branch_names,
    command_names,
    expression_names,
    key_names,
    layer_names,
    metric_names,
    module_names,
    source_names,
)

if TYPE_CHECKING:
    from tdb.session import Session


@dataclass(frozen=True)
class Kind:
    """A kind of argument.

    Attributes:
        name: what usage lines call it.
        parse: word -> value; raises UsageError.
        complete: session -> words that would be right, with a few words about each.
        takes_rest: it takes the rest of the line, spaces and all.
        options_after: but for the options of every command at its end: what is meant is no other line.
    """

    name: str
    parse: Callable[[str], Any] = str
    complete: Callable[[Session], Iterable[tuple[str, str]]] = lambda session: ()  # noqa: ARG005
    takes_rest: bool = False
    options_after: bool = False


def _count(word: str) -> int:
    if not re.fullmatch(r"\d{1,18}", word) or int(word) < 1:
        raise UsageError(f"takes a number from 1, not {word!r}")
    return int(word)


def _steps(word: str) -> int:
    if not re.fullmatch(r"\d{1,18}", word) or int(word) < 1:
        raise UsageError(f"takes a number of steps, not {word!r}")
    return int(word)


def whole_number(word: str) -> int:
    """Read a whole number.

    Raises:
        UsageError: it is none.
    """
    if not re.fullmatch(r"[+-]?\d{1,18}", word):
        raise UsageError(f"takes a whole number, not {word!r}")
    return int(word)


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"takes a number of seconds, not {word!r}")
    return seconds


def _file(word: str) -> Path:
    try:
        os.fsencode(word)
    except UnicodeEncodeError:
        raise UsageError(f"takes a file, and {word!r} cannot be the name of one") from None
    if "\x00" in word:
        raise UsageError(f"takes a file, and {word!r} cannot be the name of one")
    try:
        return Path(word).expanduser()
    except RuntimeError:
        raise UsageError(f"takes a file, and nobody knows whose folder {word!r} is in") from None


def _files(session: Session) -> Iterable[tuple[str, str]]:
    del session
    try:
        paths = sorted(Path().iterdir())
    except OSError:  # the folder has gone, or is another user's
        return ()
    return ((str(path) + ("/" if path.is_dir() else ""), "") for path in paths)


def some(words: Iterable[str]) -> Callable[[Session], Iterable[tuple[str, str]]]:
    """Return what completes to words that are always the same."""
    return lambda session: ((word, "") for word in words)  # noqa: ARG005


Count = Annotated[int, Kind("N", _count)]
Steps = Annotated[int, Kind("N", _steps)]
Integer = Annotated[int, Kind("N", whole_number)]
StepNumber = Annotated[int, Kind("STEP", whole_number)]
ExitCode = Annotated[int, Kind("CODE", whole_number)]
Times = Annotated[int, Kind("COUNT", whole_number)]
LineNumber = Annotated[int, Kind("LINE", whole_number)]
Seconds = Annotated[float, Kind("SECONDS", _seconds)]
Word = Annotated[str, Kind("WORD")]
Name = Annotated[str, Kind("NAME")]
BranchName = Annotated[str, Kind("BRANCH", complete=branch_names)]
AliasName = Annotated[str, Kind("NAME", complete=alias_names)]
File = Annotated[Path, Kind("FILE", _file, _files)]
Expression = Annotated[str, Kind("EXPR", complete=expression_names, takes_rest=True, options_after=True)]
Python = Annotated[str, Kind("EXPR", takes_rest=True, options_after=True)]
Text = Annotated[str, Kind("TEXT", takes_rest=True)]
Condition = Annotated[str, Kind("EXPR", complete=expression_names, takes_rest=True)]
KeyName = Annotated[str, Kind("KEY", complete=key_names)]
MetricName = Annotated[str, Kind("COL", complete=metric_names)]
SourceName = Annotated[str, Kind("SOURCE", complete=source_names)]
LayerName = Annotated[str, Kind("LAYER", complete=layer_names)]
ModuleName = Annotated[str, Kind("MODULE", complete=module_names)]
SettingName = Annotated[str, Kind("K", complete=lambda session: session.settings.described())]
CommandName = Annotated[str, Kind("COMMAND", complete=command_names)]
Ids = Annotated[str, Kind("IDS")]
BranchNames = Annotated[str, Kind("A B", takes_rest=True)]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a command's function."""

    name: str
    kind: Kind
    role: str  # "positional", "variadic", "word" (followed by its value) or "flag" (stands alone)
    required: bool = False

    @property
    def word(self) -> str:
        """How it is typed; a trailing underscore only avoids Python's own word."""
        return {"background": "&", "output": "-o"}.get(self.name, self.name.rstrip("_"))

    @property
    def usage(self) -> str:
        """This parameter as it stands in the usage line."""
        if self.role == "flag":
            return f"[{self.word}]"
        if self.role == "word":
            return f"[{self.word} {self.kind.name}]"
        if self.role == "variadic":
            return f"[{self.kind.name}...]"
        return self.kind.name if self.required else f"[{self.kind.name}]"


def _kind_of(annotation: Any) -> Kind:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        annotation = next(option for option in typing.get_args(annotation) if option is not type(None))
    if typing.get_origin(annotation) is Annotated:
        return next(extra for extra in annotation.__metadata__ if isinstance(extra, Kind))
    if annotation is bool:
        return Kind("")
    raise TypeError(f"no kind of argument for the annotation {annotation!r}")


def parameters_of(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Return the parameters of a command's function after its session.

    Raises:
        TypeError: an annotation names no kind of argument.
    """
    hints = typing.get_type_hints(function, include_extras=True, localns={"Session": object})
    found = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        kind = _kind_of(hints[parameter.name])
        if parameter.kind is parameter.VAR_POSITIONAL:
            role = "variadic"
        elif parameter.kind is parameter.KEYWORD_ONLY:
            role = "flag" if kind.name == "" else "word"
        else:
            role = "positional"
        found.append(
            Parameter(parameter.name, kind, role, parameter.default is parameter.empty and role == "positional")
        )
    return tuple(found)


@dataclass(frozen=True)
class Token:
    """A word of the line, and where it starts."""

    text: str
    start: int


_OPENING, _CLOSING, _QUOTES = "([{", ")]}", "'\""


def split_outside(text: str, separator: Callable[[str, int], int]) -> list[tuple[int, str]]:
    """Split `text` where `separator(text, i)` gives a length, but never inside quotes or brackets.

    Returns (start, piece) pairs. An unclosed quote or bracket simply lasts to the end.
    """
    pieces: list[tuple[int, str]] = []
    start = depth = position = 0
    quote = ""
    while position < len(text):
        character = text[position]
        if quote:
            position += 2 if character == "\\" else 1
            quote = "" if character == quote else quote
            continue
        if depth == 0 and (length := separator(text, position)):
            pieces.append((start, text[start:position]))
            position += length
            start = position
            continue
        # An apostrophe inside a word is no quote: `assert loss < 1 don't`.
        if character in _QUOTES and not (position and text[position - 1].isalnum()):
            quote = character
        depth += (character in _OPENING) - (character in _CLOSING and depth > 0)
        position += 1
    return [*pieces, (start, text[start:])]


def tokens_of(text: str) -> list[Token]:
    """Split arguments at spaces outside quotes and brackets, and drop the quotes around a whole word."""

    def space(text: str, position: int) -> int:
        return int(text[position].isspace())

    tokens = []
    for start, piece in split_outside(text, space):
        if not piece:
            continue
        quoted = len(piece) > 1 and piece[0] in _QUOTES and piece[-1] == piece[0]
        tokens.append(Token(piece[1:-1] if quoted else piece, start))
    return tokens


@dataclass
class Options:
    """The options that every command takes, and that the shell itself answers."""

    output: Path | None = None
    json: bool = False
    pager: bool = True
    pattern: str = ""


COMMON_OPTIONS = {
    "-o": Parameter("output", Kind("FILE", _file), "word"),
    "-n": Parameter("pattern", Kind("REGEX"), "word"),
    "--json": Parameter("json", Kind(""), "flag"),
    "--no-pager": Parameter("pager", Kind(""), "flag"),
}

OPTION_EXAMPLES = {"-o": "-o answer.json", "-n": "-n loss"}


@dataclass
class Bound:
    """Arguments ready for the call."""

    positional: list[Any] = field(default_factory=list)
    words: dict[str, Any] = field(default_factory=dict)
    options: Options = field(default_factory=Options)


def bind(name: str, parameters: Sequence[Parameter], text: str, examples: Sequence[str] = ()) -> Bound:
    """Read the argument text of the command `name`; the hint of an error is one of the examples, or its usage.

    Raises:
        UsageError: too many, too few, unknown or malformed arguments.
    """
    tokens, bound = tokens_of(text), Bound()
    usage = usage_of(name, parameters)
    words = {parameter.word: parameter for parameter in parameters if parameter.role in ("word", "flag")}
    places = [parameter for parameter in parameters if parameter.role in ("positional", "variadic")]
    index = 0

    def value(parameter: Parameter, word: str = "") -> Any:
        nonlocal index
        what, hint = f"{name} {word}".rstrip(), way_out(usage, examples, word)
        if index >= len(tokens):
            raise UsageError(f"{what} needs {parameter.kind.name}", hint)
        token = tokens[index]
        index = len(tokens) if parameter.kind.takes_rest else index + 1
        try:
            if not parameter.kind.takes_rest:
                return parameter.kind.parse(token.text)
            rest = text[token.start :].strip()
            return parameter.kind.parse(without_options(rest, bound.options) if parameter.kind.options_after else rest)
        except UsageError as error:
            raise UsageError(f"{what} {error.message}", error.hint or hint) from None

    dashed = {f"--{word}" for word in words}
    while index < len(tokens):
        word = tokens[index].text
        word = word[2:] if word in dashed else word
        if word in words:
            index += 1
            parameter = words[word]
            bound.words[parameter.name] = True if parameter.role == "flag" else value(parameter, word)
        elif word in COMMON_OPTIONS:
            index += 1
            option = COMMON_OPTIONS[word]
            chosen = value(option, word) if option.role == "word" else option.name != "pager"
            setattr(bound.options, option.name, chosen)
        elif re.match(r"-[-a-z]", word) and not (places and places[0].kind.takes_rest):
            known = [*words, *COMMON_OPTIONS]
            raise UsageError(f"{name} has no option {word!r}", did_you_mean(word, known) or way_out(usage, examples))
        elif places:
            bound.positional.append(value(places[0]))
            places = places[places[0].role == "positional" :]
        else:
            near = did_you_mean(word, words)
            raise UsageError(f"{name} cannot use {word!r}", near or way_out(usage, examples))
    if places and places[0].required:
        short = next((example for example in examples if example != name), "")  # the simplest one that has arguments
        raise UsageError(f"{name} needs {places[0].kind.name}", way_out(usage, [short] if short else []))
    return bound


OPTION_AT_END = re.compile(r"""\s(-[on])\s+("[^"]+"|'[^']+'|[^\s"')\]}]+)$|\s(--json|--no-pager)$""")
"""What Python never ends in: `x -o (1)` is a difference, `x -o f.csv` and `x -n [` are nothing but options."""


def without_options(text: str, options: Options) -> str:
    """Return an expression without the options after it, having set those.

    Raises:
        UsageError: an option is malformed.
    """
    while match := OPTION_AT_END.search(text):
        option = COMMON_OPTIONS[match[1] or match[3]]
        value = option.kind.parse(tokens_of(match[2])[0].text) if option.role == "word" else option.name != "pager"
        setattr(options, option.name, value)
        text = text[: match.start()].rstrip()
    return text


def way_out(usage: str, examples: Sequence[str], word: str = "") -> str:
    """Return the hint of an error: an example with `word`, else the last and longest one, or the usage."""
    fitting = [example for example in examples if word in example.split()]
    if examples and not fitting and word in OPTION_EXAMPLES:
        fitting = [f"{examples[0]} {OPTION_EXAMPLES[word]}"]
    return f"Example: {(fitting or examples)[-1]}" if examples else usage


def usage_of(name: str, parameters: Iterable[Parameter]) -> str:
    """Return "Usage: NAME ARGUMENTS"."""
    return " ".join(["Usage:", name, *(parameter.usage for parameter in parameters)])
