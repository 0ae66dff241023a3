"""Commands: one function each, declared once.

The signature of a function under `@command` is the grammar (see `tdb.commands.binding`), its docstring is the help: a
line that says what it does, a few sentences, and "Example:" with lines to type. It returns a Result and never prints.
A module in this folder is found by itself; an installed package adds its own through the entry-point group
"tdb.commands" (each entry a module that declares commands), and a learning rule through `Panel.commands`.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Literal

from tdb.commands.binding import Parameter, parameters_of, usage_of, way_out
from tdb.errors import UsageError, did_you_mean

Running = Literal["now", "queued", "no", "yes"]
ENTRY_POINTS = "tdb.commands"


@dataclass(frozen=True)
class Command:
    """A command and what its function says of it.

    Attributes:
        name: what is typed.
        function: session, arguments -> Result.
        short: other names.
        running: while training runs, it answers from the last finished step ("now"), waits for the next boundary
            ("queued"), works as always ("yes") or is refused ("no").
        repeats: an empty line repeats it.
        changes: it may change training itself, which a run that is taken anew then has to repeat.
        moves: training moves, and the answer is where it stands then, in words.
        topic: the heading it stands under in `help`.
    """

    name: str
    function: Callable[..., Any]
    short: tuple[str, ...]
    running: Running
    repeats: bool
    changes: bool
    moves: bool
    topic: str
    parameters: tuple[Parameter, ...]

    @property
    def document(self) -> str:
        """The docstring, cleaned."""
        return inspect.getdoc(self.function) or ""

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.document.partition("\n")[0]

    @property
    def examples(self) -> list[str]:
        """The lines under "Example:" in the docstring."""
        _, _, lines = self.document.partition("Example:\n")
        return [line.strip() for line in lines.splitlines() if line.strip()]

    @property
    def places(self) -> list[Parameter]:
        """The parameters that are told by where they stand; the last one may take several words."""
        return [each for each in self.parameters if each.role in ("positional", "variadic")]

    @property
    def way_out(self) -> str:
        """The hint for arguments that cannot be understood."""
        return way_out(self.usage, self.examples)

    @property
    def usage(self) -> str:
        """The usage line."""
        return usage_of(self.name, self.parameters)


def command(
    short: str = "",
    *,
    name: str = "",
    running: Running = "no",
    repeats: bool = False,
    changes: bool = False,
    moves: bool = False,
    topic: str = "",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare the decorated function as a command.

    Its name is the command's unless `name` is given, and its module's the topic unless `topic` is.
    """

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__tdb_command__ = Command(  # type: ignore[attr-defined]
            name or getattr(function, "__name__", "").rstrip("_").replace("_", "-"),
            function,
            tuple(short.split()),
            running,
            repeats,
            changes,
            moves,
            topic or function.__module__.rpartition(".")[2],
            parameters_of(function),
        )
        return function

    return declare


class Registry:
    """The commands of a session, by name and short form."""

    def __init__(self) -> None:
        self._commands: dict[str, Command] = {}
        self._names: dict[str, Command] = {}

    def add(self, functions: Iterable[Callable[..., Any]]) -> None:
        """Add decorated functions.

        Raises:
            ValueError: a name or short form is taken.
        """
        for function in functions:
            declared: Command = function.__tdb_command__  # type: ignore[attr-defined]
            for word in (declared.name, *declared.short):
                if word in self._names:
                    raise ValueError(f"{word!r} is {self._names[word].name!r} already")
                self._names[word] = declared
            self._commands[declared.name] = declared

    def find(self, word: str) -> Command | None:
        """Return the command with this name or short form; nothing is guessed from a prefix."""
        return self._names.get(word)

    def named(self, word: str) -> Command:
        """Return the command with this name or short form.

        Raises:
            UsageError: there is none.
        """
        if word not in self._names:
            near = did_you_mean(word, self._names)
            raise UsageError(f"no command {word!r}", near or "`help` lists the commands")
        return self._names[word]

    def names(self) -> list[str]:
        """Return every name and short form."""
        return list(self._names)

    def __iter__(self) -> Iterator[Command]:
        return iter(self._commands.values())


def declared_in(module: Any) -> list[Callable[..., Any]]:
    """Return the commands that a module declares."""
    members = vars(module).values()
    return [member for member in members if hasattr(member, "__tdb_command__") and member.__module__ == module.__name__]


def all_commands() -> Registry:
    """Return a registry of tdb's own commands and those of installed packages."""
    registry = Registry()
    for info in pkgutil.iter_modules(__path__):
        registry.add(declared_in(import_module(f"{__name__}.{info.name}")))
    for entry in entry_points(group=ENTRY_POINTS):
        registry.add(declared_in(entry.load()))
    return registry
