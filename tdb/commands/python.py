"""Python in the training loop's frame."""

from __future__ import annotations

import ast
import codeop
import pprint
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.captures import is_tensor
from tdb.commands import command
from tdb.commands.arguments import Condition, Python
from tdb.errors import StateError, TdbError, UsageError
from tdb.expressions import UnknownNameError, compile_expression, explain, truth
from tdb.foreign import is_array, text_of
from tdb.prompt_python import run_python
from tdb.results import Facts, Result, TensorValue
from tdb.results import Text as Lines
from tdb.tensors import tensor_value
from tdb.travel.edits import changes, note_python
from tdb.variables import variables_of

if TYPE_CHECKING:
    from tdb.session import Session


def part_of(value: Any) -> TensorValue | Lines:
    """Return a Python value as a part: a tensor with its summary, anything else as its repr.

    Raises:
        TdbError: what that has raised.
    """
    if is_array(value):
        try:
            return tensor_value("", value)
        except TdbError:
            pass
    return Lines(text_of(value))


@command(repeats=True)
def p(session: Session, expression: Python) -> Result:
    """Print the value of a Python expression; of a tensor its summary and its values.

    The expression is evaluated where the training loop waits, in the training thread, so that training does not notice:
    random generators, training modes and buffers are put back.

    Example:
        p optimizer.param_groups[0]["lr"]
        p model.encoder[0].weight.norm()
    """
    value = run_python(session, expression)
    session.value = value
    part = part_of(value)
    return Result([part], {"value": value if isinstance(part, Lines) else part})


@command()
def pp(session: Session, expression: Python) -> Result:
    """Pretty-print the value of a Python expression in full.

    Example:
        pp optimizer.param_groups
    """
    value = run_python(session, expression)
    session.value = value
    return Result([Lines(text_of(value, pprint.pformat))], {"value": value})


@command()
def whatis(session: Session, expression: Python) -> Result:
    """Show the type of a value; of a tensor also shape, dtype, device, and whether it needs a gradient.

    Example:
        whatis loss
    """
    value = run_python(session, expression)
    kind = type(value)
    facts: dict[str, Any] = {"type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")}
    if is_array(value):
        facts |= {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    if is_tensor(value):
        facts |= {"device": str(value.device), "requires_grad": value.requires_grad}
    shown = {**facts, "shape": "scalar"} if facts.get("shape") == [] else facts
    return Result([Facts(shown)], facts)


@command(name="assert")
def assert_(session: Session, condition: Condition) -> Result:
    """Fail unless an expression is true, and say which values made it false: assert EXPR ["message"].

    The expression is one as `break when` takes it, or else Python. In a script a failing command ends it with status 1,
    so a file of commands can check a change of training.

    Example:
        assert loss < 0.2
        assert sum(dead) == 0 "features have died"
    """
    text, message = _with_message(condition)
    try:
        expression = compile_expression(text, "assert ")
        if expression.needs_history:
            raise StateError(f"{text} looks back over steps", "Ask `find`, or stop there: break when")

        def look() -> tuple[bool, str]:
            armed = session.armed
            armed.renew()
            holds = truth(expression.evaluate(armed.namespace), expression.text)
            return holds, explain(expression, armed.namespace)

        session.need_begun()
        holds, values = session.controller.call(look)
    except (UsageError, UnknownNameError) as error:
        holds, values = _holds_in_python(session, text, error), text
    if not holds:
        raise TdbError(message or f"assertion failed {_where(session)}", f"false: {values}")
    return Result(data={"condition": text, "values": values})


def _where(session: Session) -> str:
    """Return "at step 4", or "at backward of step 4" inside a step."""
    controller = session.controller
    step, inside = controller.position.step, controller.is_inside
    return f"at {controller.progress.phase} of step {step + 1}" if inside else f"at step {step}"


def _with_message(text: str) -> tuple[str, str]:
    """Split EXPR and the "message" that may follow it, after a comma as in Python, or without."""
    match = re.fullmatch(r"""(.*[^\s\[(,=+])(?:\s*,\s*|\s+)(["'])(.*)\2""", text, re.DOTALL)
    if match is None or match[1].rstrip().endswith(("==", "!=", "<", ">", " in", " is", " and", " or", " not")):
        return text, ""
    return match[1], match[3]


def _holds_in_python(session: Session, text: str, error: TdbError) -> bool:
    """Return whether Python finds `text` true; what is neither an expression nor Python is the expression's error."""
    if _is_always_true(text):
        raise UsageError(f"{text} is true whatever training does", 'Example: assert loss < 0.2 "the loss is too high"')
    try:
        value = run_python(session, f"bool({text})")
    except TdbError as other:
        if isinstance(other.__cause__, NameError | SyntaxError) or isinstance(other, StateError):
            raise error from None
        raise
    return bool(np.all(value))


def _is_always_true(text: str) -> bool:
    """Return whether `text` is a text alone, or a tuple: an expression and its message in brackets."""
    try:
        body = ast.parse(text, mode="eval").body
    except SyntaxError:
        return False
    return isinstance(body, ast.Tuple | ast.JoinedStr) or (
        isinstance(body, ast.Constant) and isinstance(body.value, str)
    )


@command(changes=True)
def interact(session: Session) -> Result:
    """Open a Python prompt on the selected frame: every line is Python until Ctrl-D or `exit()`.

    What is evaluated sees and assigns the frame's variables, in the training thread, so that training does not notice.

    Example:
        interact
    """
    session.shell.take_lines(PythonLines(session))
    return Result()


class PythonLines:
    """Reads the lines of `interact`."""

    last_line = "quit()"
    line_if_abandoned: str | None = "quit()"

    def __init__(self, session: Session) -> None:
        self.done = False
        self._session = session
        self._lines: list[str] = []

    @property
    def prompt(self) -> str:
        """Python's own prompts."""
        return "... " if self._lines else ">>> "

    def read(self, line: str) -> Result | None:
        """Take a line; run it when a statement is complete."""
        if not self._lines and line.strip() in ("exit()", "quit()", "exit", "quit"):
            self.done = True
            return None
        if not self._lines and not line.strip():
            return None
        self._lines.append(line)
        text = "\n".join(self._lines)
        try:
            if codeop.compile_command(text, "<tdb>", "single") is None:
                return None
        except (SyntaxError, ValueError, OverflowError):
            pass  # running it says what is wrong
        return self._run(text)

    def _run(self, text: str) -> Result:
        self._lines = []
        value = run_python(self._session, text)
        notes = self._session.take_notices()
        if changes(text, forced=False):
            notes += note_python(self._session, text)
        return Result([] if value is None else [part_of(value)], {"value": value}, notes)

    def end(self) -> Result | None:
        """A statement that is under way ends with the input, as in Python."""
        self.done = True
        return self._run("\n".join([*self._lines, ""])) if self._lines else None

    def abandon(self) -> None:
        """Leave, a half-typed statement too."""
        self.done = True

    def completions(self, line: str) -> list[str]:
        """Return what the last word of a line becomes with the name of a variable at its end."""
        last = line.rpartition(" ")[2]
        word = re.split(r"[^\w.]", last)[-1]
        frame = self._session.stack.frame()
        names = {**frame.f_globals, **variables_of(frame)} if frame is not None else {}
        return [last[: len(last) - len(word)] + name for name in names if word and name.startswith(word)]
