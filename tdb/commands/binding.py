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
import re
import types
import typing
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tdb.commands.arguments import File, Kind, Regex
from tdb.errors import UsageError, did_you_mean
from tdb.tokens import tokens_of

Role = Literal["positional", "variadic", "word", "flag"]
"""A word is followed by its value, a flag stands alone."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a command's function."""

    name: str
    kind: Kind
    role: Role
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
    after_session = list(inspect.signature(function).parameters.values())[1:]
    return tuple(_parameter(each, _kind_of(hints[each.name])) for each in after_session)


def _parameter(declared: inspect.Parameter, kind: Kind) -> Parameter:
    if declared.kind is declared.VAR_POSITIONAL:
        return Parameter(declared.name, kind, "variadic")
    if declared.kind is declared.KEYWORD_ONLY:
        return Parameter(declared.name, kind, "flag" if kind.name == "" else "word")
    return Parameter(declared.name, kind, "positional", required=declared.default is declared.empty)


@dataclass
class Options:
    """The options that every command takes, and that the shell itself answers."""

    output: Path | None = None
    json: bool = False
    pager: bool = True
    pattern: str = ""


COMMON_OPTIONS = {
    "-o": Parameter("output", _kind_of(File), "word"),
    "-n": Parameter("pattern", _kind_of(Regex), "word"),
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


class _Words:
    """The words of a line, taken from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._left = deque(tokens_of(text))

    def __bool__(self) -> bool:
        return bool(self._left)

    @property
    def next(self) -> str:
        return self._left[0].text

    def take(self) -> str:
        return self._left.popleft().text

    def take_rest(self) -> str:
        """Take all that is left as it was typed."""
        start = self._left[0].start
        self._left.clear()
        return self._text[start:].strip()


def bind(name: str, parameters: Sequence[Parameter], text: str, examples: Sequence[str] = ()) -> Bound:
    """Read the argument text of the command `name`; the hint of an error is one of the examples, or its usage.

    Raises:
        UsageError: too many, too few, unknown or malformed arguments.
    """
    left, bound, usage = _Words(text), Bound(), usage_of(name, parameters)
    named = {parameter.word: parameter for parameter in parameters if parameter.role in ("word", "flag")}
    dashed = {f"--{word}": word for word in named}
    places = [parameter for parameter in parameters if parameter.role in ("positional", "variadic")]

    def value(parameter: Parameter, word: str = "") -> Any:
        what, hint = f"{name} {word}".rstrip(), way_out(usage, examples, word)
        if not left:
            raise UsageError(f"{what} needs {parameter.kind.name}", hint)
        try:
            return _read(parameter.kind, left, bound.options)
        except UsageError as error:
            raise UsageError(f"{what} {error.message}", error.hint or hint) from None

    while left:
        word = dashed.get(left.next, left.next)
        if word in named:
            left.take()
            parameter = named[word]
            bound.words[parameter.name] = True if parameter.role == "flag" else value(parameter, word)
        elif word in COMMON_OPTIONS:
            left.take()
            option = COMMON_OPTIONS[word]
            chosen = value(option, word) if option.role == "word" else option.name != "pager"
            setattr(bound.options, option.name, chosen)
        elif re.match(r"-[-a-z]", word) and not (places and places[0].kind.takes_rest):
            known = [*named, *COMMON_OPTIONS]
            raise UsageError(f"{name} has no option {word!r}", did_you_mean(word, known) or way_out(usage, examples))
        elif places:
            bound.positional.append(value(places[0]))
            places = places[places[0].role == "positional" :]
        else:
            near = did_you_mean(word, named)
            plain = [each for each in examples if each != name and not {*named, *dashed}.intersection(each.split())]
            raise UsageError(f"{name} cannot use {word!r}", near or way_out(usage, plain or examples))
    if places and places[0].required:
        short = next((example for example in examples if example != name), "")  # the simplest one that has arguments
        raise UsageError(f"{name} needs {places[0].kind.name}", way_out(usage, [short] if short else []))
    return bound


def _read(kind: Kind, words: _Words, options: Options) -> Any:
    """Return the value that the next word has, or all that is left where the kind takes it; set options after that."""
    if not kind.takes_rest:
        return kind.parse(words.take())
    rest = words.take_rest()
    return kind.parse(without_options(rest, options) if kind.options_after else rest)


OPTION_AT_END = re.compile(r"""\s(-[on])\s+("[^"]+"|'[^']+'|[^\s"')\]}]+)$|\s(--json|--no-pager)$""")
"""What Python never ends in: `x -o (1)` is a difference, `x -o f.csv` and `x -n [` are nothing but options."""


def without_options(text: str, options: Options) -> str:
    """Return an expression without the options after it, having set those.

    Raises:
        UsageError: an option is malformed.
    """
    while match := OPTION_AT_END.search(text):
        option = COMMON_OPTIONS[match[1] or match[3]]
        try:
            value = option.kind.parse(tokens_of(match[2])[0].text) if option.role == "word" else option.name != "pager"
        except UsageError as error:
            raise UsageError(f"{match[1]} {error.message}", error.hint) from None
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
