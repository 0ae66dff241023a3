"""One compiled expression: what it needs, its value, and whether that value is true."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.errors import TdbError
from tdb.expressions.build import FALSE, Builder, Evaluation, compiled
from tdb.expressions.grammar import Source, parse
from tdb.expressions.nan import Check, nan_check

if TYPE_CHECKING:
    from tdb.expressions.memory import Memory

TRUE = np.True_  # as FALSE, what comparing numpy numbers gives: the quick way for the usual condition


class UnknownNameError(TdbError):
    """A name of the expression has no value now; it may have one later."""

    code = "unknown_name"

    def __init__(self, name: str) -> None:
        super().__init__(f"no metric, key or variable {name!r} in this step", "See `keys` and `sources`")
        self.name = name


class Expression:
    """A checked expression; `compile_expression` makes one.

    Attributes:
        text: as typed, without surrounding blanks.
        names: every name whose value it may ask for; nothing else need be captured or computed.
        functions: the functions it calls.
        evaluation: what `evaluate` calls; raises whatever it raises.
        needs_history: it looks back over steps, so it has to be evaluated at every step, with one memory. It then
            also needs the name "step".
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.text = source.text
        self.tree = parse(source)
        builder = Builder(source)
        self.evaluation = builder.function(self.tree)
        self._looked_up = builder.looked_up
        self.names = tuple(builder.names)
        self.functions = tuple(builder.functions)
        self.needs_history = builder.remembers

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def evaluate(self, namespace: Mapping[str, Any], memory: Memory | None = None) -> Any:
        """Return the value for one step.

        Args:
            namespace: values by name: numpy arrays and numbers. Only `names` are asked for, each only when evaluation
                reaches it, so values may be computed on demand. Dotted names are keys like any other.
            memory: what the functions that look back remember; see `tdb.expressions.memory` for what a gap between
                steps means.

        Raises:
            UnknownNameError: a name has no value in this step.
            TdbError: it cannot be computed: an index out of range, an array where one truth value is wanted.
        """
        try:
            return self.evaluation(namespace, memory)
        except Exception as error:
            raise self.failure(error, memory) from error

    def evaluate_part(
        self, node: ast.expr, namespace: Mapping[str, Any], memory: Memory | None = None, *, elementwise: bool = False
    ) -> Any:
        """Return the value of one node of `tree`, as `evaluate` does; at the same step memory does not advance."""
        try:
            return Builder(self.source, elementwise=elementwise).function(node)(namespace, memory)
        except Exception as error:
            raise self.failure(error, memory) from error

    @cached_property
    def rows(self) -> Evaluation:
        """The same expression with `and`, `or` and `not` acting entry by entry."""
        return Builder(self.source, elementwise=True).function(self.tree)

    @cached_property
    def nan_check(self) -> Check:
        """Says for a namespace whether NaN keeps the expression from being true; see `involves_nan`."""
        return nan_check(self.source, self.tree)

    def check_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Check the indices that are written out against the shapes of the names that are known.

        Raises:
            UsageError: an index is out of range, or there are more indices than axes.
        """
        for name, subscript in self._looked_up:
            if name in shapes:
                self._check_index(name, subscript, shapes[name])

    def _check_index(self, name: str, subscript: ast.Subscript, shape: tuple[int, ...]) -> None:
        is_feature = isinstance(subscript.value, ast.Name) and subscript.value.id == "feature"
        index = subscript.slice
        for axis, entry in enumerate(index.elts if isinstance(index, ast.Tuple) else [index]):
            choices = entry.elts if isinstance(entry, ast.List) else [entry]
            numbers = [number for choice in choices if (number := _whole_number(choice)) is not None]
            if len(numbers) < len(choices) and not isinstance(entry, ast.Slice):
                return  # a mask or ... takes a number of axes that is known only when it has a value
            if axis >= len(shape):
                kind = f"has {len(shape)} axes" if shape else "is a single number"
                raise self.source.error(entry, f"{name} {kind}: it has no axis {axis}")
            size = shape[axis]
            for number in numbers:
                if not -size <= number < size:
                    entries = f"{size} entries: 0..{size - 1}" if size else "no entries"
                    where = f"axis {axis} of {name} has {entries}" if axis else f"{name} has {entries}"
                    feature = f"no feature {number}: features are 0..{size - 1}"
                    raise self.source.error(entry, feature if is_feature and not axis else where)

    def failure(self, error: Exception, memory: Memory | None = None) -> TdbError:
        """Return what to tell the user about an exception raised while evaluating."""
        if isinstance(error, TdbError):
            return error
        if isinstance(error, KeyError) and error.args and error.args[0] in self.names:
            return UnknownNameError(str(error.args[0]))
        if self.needs_history and memory is None:
            return TdbError(f"{self.text} looks back over steps", "Use it in break, display or find")
        if isinstance(error, ValueError) and "truth value of an array" in str(error):
            return ambiguous(self.text)
        reason = str(error).partition("\n")[0] or type(error).__name__
        return TdbError(f"{self.text} cannot be computed: {reason}")


def compile_expression(text: str, before: str = "") -> Expression:
    """Check and compile an expression.

    Args:
        text: the expression.
        before: what was typed before it on the same line, so that an error shows the line as it was typed.

    Raises:
        UsageError: it cannot be understood, or uses something that has no place in it. The message is the line and,
            under it, a caret and the reason.
    """
    stripped = text.strip()
    return Expression(Source(stripped, before + text[: len(text) - len(text.lstrip())]))


def none_true(expressions: Sequence[Expression]) -> Evaluation:
    """Return what says quickly, of a namespace and no memory, that all of some expressions are false: True if so.

    None of them may look back. It raises whatever evaluating one of them raises. Where it returns False one of them may
    be true: each is to be evaluated alone. A call for each would take five times as long where code is seldom run.
    """
    builders = [Builder(each.source) for each in expressions]
    values = [builder.build(each.tree) for builder, each in zip(builders, expressions, strict=True)]
    false = [_is_false(value) for value in values]
    functions = [name for builder in builders for name in builder.functions]
    calculates = any(builder.calculates for builder in builders)
    return compiled(ast.BoolOp(ast.And(), [ast.Constant(True), *false]), [], functions, calculates=calculates)


def _is_false(value: ast.expr) -> ast.expr:
    """Return the test whether `value` is FALSE; Python warns of one that compares what is written out."""
    if any(isinstance(node, ast.Name) for node in ast.walk(value)):
        return ast.Compare(value, [ast.Is()], [ast.Name("FALSE", ast.Load())])
    return ast.Constant(value=False)


def involves_nan(expression: Expression, namespace: Mapping[str, Any]) -> bool:
    """Return whether NaN in a value now keeps a false expression from being true, whatever its other values are.

    `tdb.expressions.nan` has the rules. What cannot be computed is no NaN.
    """
    try:
        return bool(expression.nan_check(namespace))
    except Exception:  # noqa: BLE001 - a part that `evaluate` never reached may fail in any way; it reports real ones
        return False


def truth(value: Any, text: str = "the expression") -> bool:
    """Return whether a value of an expression is true: not zero and not NaN.

    Raises:
        TdbError: the value is an array, which is neither true nor false as a whole.
    """
    if value is TRUE or value is FALSE:
        return value is TRUE
    if isinstance(value, np.ndarray) and value.ndim:
        raise ambiguous(text, value.shape)
    return bool(value == value and value)  # NaN differs from itself


def ambiguous(text: str, shape: tuple[int, ...] = ()) -> TdbError:
    """Return the error for an array where one truth value is wanted."""
    size = f" of shape {list(shape)}" if shape else ""
    return TdbError(
        f"{text} gives an array{size}, not one truth value",
        "Use any(...) or all(...), or one entry: win_rate[31]",
    )


def _whole_number(node: ast.expr) -> int | None:
    match node:
        case ast.Constant(value=value) if type(value) is int:
            return int(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)) if type(value) is int:
            return -int(value)
        case _:
            return None
