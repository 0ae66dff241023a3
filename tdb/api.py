"""The commands as Python: a script under tdb, driven by a program instead of a person.

with tdb.run("train.py", ["--steps", "500"]) as session:
    session.break_("when win_rate[31] < 0.01")
    stop = session.cont()                          # {"reason": "Breakpoint 1 at step 418: ...", "step": 418, ...}
    table = session.metrics("win_rate", sort="win_rate", top=5)["table"]
    assert table["win_rate"].max() < 0.5
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tdb.captures import is_tensor
from tdb.commands import Command, all_commands
from tdb.commands.binding import Parameter, bind
from tdb.controller import DebugController
from tdb.elsewhere.answers import Collected
from tdb.errors import StateError, UsageError
from tdb.journal import Entry, standing
from tdb.launch import Run
from tdb.prompt_python import run_python
from tdb.queries import array_of
from tdb.results import Facts, Result, Table, TensorValue, Text
from tdb.script import Script
from tdb.session import Session
from tdb.shell.figures import FigureSink
from tdb.shell.interpreter import AT_FRONT, Interpreter
from tdb.shell.parse import understand
from tdb.shell.show import Show
from tdb.shell.writing import SUFFIXES, SUFFIXES_OF_WORDS, must_be_possible, write
from tdb.this_step import look
from tdb.travel.captured import answered

# A training step that takes longer than this to notice the end is left behind.
END_SECONDS = 30.0
# Commands that read further lines, or leave.
FOR_THE_PROMPT = frozenset({"commands", "interact", "pystep", "quit"})


def run(script: str | PathLike[str], args: Sequence[str] = (), *, module: bool = False) -> ScriptSession:
    """Put a training script under tdb; nothing has run yet.

    Args:
        script: its path, or with `module` the name of a module, as after `python -m`.
        args: its command-line arguments.
        module: `script` names a module.

    Returns:
        A session; use it as a context manager, so that training ends when the block does.

    Raises:
        TdbError: there is no such script.
    """
    to_run = Script(str(script), tuple(map(str, args)), module)
    to_run.check()
    return ScriptSession(to_run)


class ScriptSession:
    """A script under tdb. Each command of the shell is a method that returns the command's data.

    Tables come as a dict of columns, tensors as numpy arrays, everything else as plain Python values. A stop comes as
    a dict with `reason`, `step`, `epoch`, `loss`, `place` and `stop_points`; training that crashed adds `error`. All
    mistakes raise TdbError with the line that the shell would show.

        step(n) next(n) until("500") cont() start() return_() detach() wait(seconds)       make training run
        break_("when loss > 2") tbreak(...) catch("nan") condition(...) clear(...)         stop it
        metrics(...) force(...) batch() data(key) keys() sources() state() where() p(...)  look

    Words of a command are keyword arguments: `metrics("win_rate", sort="win_rate", top=5)`. Methods are named like
    their commands, with an underscore after those that Python reserves; `cont` is `continue`. `do` runs a typed line.
    Commands of stop points and displays belong to the shell and are not run here: Python follows a stop instead.

    Attributes:
        notes: what the last command had to remark, such as a name in a condition that nothing is known by.
    """

    def __init__(self, script: Script) -> None:
        self.notes: list[str] = []
        self._controller = DebugController()
        self._session = Session(self._controller, all_commands())
        self._session.run = Run(self._controller, script, self._session.main_thread)
        sink = FigureSink("off", Path("tdb-figures"), out=sys.stdout, interactive=False)
        # What `source` runs is shown on stdout, as in a script of commands.
        self._interpreter = Interpreter(
            self._session, Show(self._session, sink, sys.stdout, sys.stderr), Path("tdb.log")
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def status(self) -> str:
        """Training's status: ready, running, stopped, finished, crashed or ended."""
        return self._session.status

    @property
    def exception(self) -> BaseException | None:
        """What ended training, if it crashed."""
        errors = self._session.stack.errors()
        return errors[-1] if errors else None

    def close(self) -> None:
        """End training, wherever it is, and wait for its thread."""
        self._session.route("fork").close()
        if self._session.elsewhere is not None:
            self._session.elsewhere.close(unwind=True)
            self._session.elsewhere = None
        self._controller.stop()
        self._controller.gate.dismiss()
        if self._session.run is not None:
            self._session.run.ends_within(END_SECONDS, self._session.main_thread.attend)

    # ---- making training run ---------------------------------------------------------------------------------------

    def step(self, n: int = 1) -> dict[str, Any]:
        """Take `n` training steps, and return where training stands then."""
        return self.call("step", n)  # type: ignore[no-any-return]

    def cont(self) -> dict[str, Any]:
        """Run until a stop point, or to the end."""
        return self.call("continue")  # type: ignore[no-any-return]

    def until(self, goal: int | str) -> dict[str, Any]:
        """Run until a step is reached, or until an expression is true."""
        return self.call("until", goal)  # type: ignore[no-any-return]

    def break_(self, where: str | int | None = None, *, temporary: bool = False) -> dict[str, Any]:
        """Set a stop point, as `break` takes it, and return its number; without one, list them."""
        name = "tbreak" if temporary else "break"
        return self.call(name) if where is None else self.call(name, str(where))  # type: ignore[no-any-return]

    def catch(self, event: str | None = None) -> dict[str, Any]:
        """Stop when something goes wrong, as `catch` takes it."""
        return self.call("catch") if event is None else self.call("catch", event)  # type: ignore[no-any-return]

    # ---- looking ---------------------------------------------------------------------------------------------------

    def metrics(self, *columns: str, **words: Any) -> dict[str, Any]:
        """Return the metrics of this step's features: `table` has a column for each metric."""
        return self.call("metrics", *columns, **words)  # type: ignore[no-any-return]

    def force(self, *ids: int | str) -> dict[str, Any]:
        """Return the forces on features, or without ids how many of them agree and fight."""
        return self.call("force", *ids)  # type: ignore[no-any-return]

    def batch(self) -> Any:
        """Return what the loop handed over in this step: batch, loss, step, epoch and labels."""
        if self._session.elsewhere is not None:
            return plain(self._session.elsewhere.fetch("batch", ""))
        self._session.record()
        return plain(self._controller.get_batch())

    def data(self, key: str) -> Any:
        """Return captured step data, an entry or a slice of it: "bcl_tensors.rank_score[0:5]"."""
        if self._session.elsewhere is not None:
            return self._session.elsewhere.fetch("data", key)
        return look(self._session, key)

    def value(self, expression: str) -> Any:
        """Return the value of Python in the training loop's frame: the object itself, not a copy.

        After going back in another process it is a copy: tensors come as arrays, foreign objects as text.
        """
        if self._session.elsewhere is not None:
            return self._session.elsewhere.fetch("value", expression)
        return run_python(self._session, expression)

    # ---- everything else -------------------------------------------------------------------------------------------

    def do(self, line: str) -> Any:
        """Run one command as it would be typed, and return its data.

        Raises:
            TdbError: as the shell would say.
        """
        typed = understand(line.strip(), self._session.registry)
        if typed.command is None:
            return plain(run_python(self._session, typed.text))
        bound = bind(typed.command.name, typed.command.parameters, typed.arguments, typed.command.examples)
        if bound.options.output is not None:
            must_be_possible(bound.options.output, SUFFIXES_OF_WORDS if typed.command.moves else SUFFIXES)
        return self._answer(typed.command, line.strip(), bound.positional, bound.words, bound.options.output)

    def call(self, name: str, *arguments: Any, **words: Any) -> Any:
        """Run the command `name` with Python arguments, and return its data.

        Raises:
            TdbError: as the shell would say.
        """
        self._session.adopt_panels()
        command = self._session.registry.named(name)
        try:
            inspect.signature(command.function).bind(self._session, *arguments, **words)
        except TypeError as error:
            raise UsageError(f"{name}: {error}", command.way_out) from None
        kinds = {parameter.name: parameter for parameter in command.parameters}
        places = command.places
        given = []
        for index, argument in enumerate(arguments):
            place = places[min(index, len(places) - 1)]
            given.append(_parsed(command, place, argument))
        named = {
            word: value if value is None or kinds[word].role == "flag" else _parsed(command, kinds[word], value)
            for word, value in words.items()
        }
        line = " ".join([name, *map(str, arguments)])
        return self._answer(command, line, given, named)

    def __getattr__(self, name: str) -> Any:
        """Every other command is a method, too."""
        if not name.startswith("_"):
            self._session.adopt_panels()
            command = self._session.registry.find(name.rstrip("_").replace("_", "-"))
            if command is not None:
                return lambda *arguments, **words: self.call(command.name, *arguments, **words)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _answer(
        self,
        command: Command,
        line: str,
        arguments: Sequence[Any],
        words: Mapping[str, Any],
        file: Path | None = None,
    ) -> Any:
        session = self._session
        if command.name in FOR_THE_PROMPT:
            raise StateError(f"{command.name} is for the prompt", "A program has Python, and close() to leave")
        if command.running == "no":
            session.need_not_running()
        session.adopt_panels()
        session.typed = line
        if session.elsewhere is not None and command.name not in AT_FRONT:
            return self._answer_elsewhere(line)
        before = standing(session)
        result = answered(session, lambda: command.function(session, *arguments, **words))
        session.journal.add(Entry(line, before, standing(session), changes=command.changes))
        return self._told(replace(result, notes=[*result.notes, *session.take_notices()]), file)

    def _answer_elsewhere(self, line: str) -> Any:
        """Let the process in which training goes on run a line."""
        session, collected = self._session, Collected()
        assert session.elsewhere is not None
        session.elsewhere.run(collected, "run", line, None)
        return self._told(collected.answer(), collected.file)

    def _told(self, result: Result, file: Path | None) -> Any:
        """Return the data of an answer; what is meant for a file is written there, too."""
        self.notes = [*result.notes]
        file = file or result.file
        if file is not None:
            self.notes.append(f"wrote {write(result, file, self._interpreter.show.sink)}")
        if result.data is not None:
            return plain(result.data)
        parts = [plain(part) for part in result.parts]
        return parts[0] if len(parts) == 1 else parts


def _parsed(command: Command, parameter: Parameter, value: object) -> Any:
    try:
        return parameter.kind.parse(str(value))
    except UsageError as error:
        raise UsageError(f"{command.name} {error.message}", error.hint or command.way_out) from None


def plain(value: Any) -> Any:
    """Return a command's data without tdb's own types: tables as dicts of columns, tensors as arrays."""
    match value:
        case Table():
            value = value.exact or value
            return {**value.columns, **({"status": list(value.status)} if value.status else {})}
        case TensorValue():
            return value.values
        case Facts():
            return plain(value.values)
        case Text():
            return value.text
        case Mapping():
            return {key: plain(each) for key, each in value.items()}
        case list() | tuple() if not hasattr(value, "_fields"):
            return [plain(each) for each in value]
        case _:
            return array_of(value) if is_tensor(value) else value
