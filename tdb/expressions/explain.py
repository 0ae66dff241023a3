"""Why an expression is true or false, in the values that decided it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.expressions.expression import Expression, truth
from tdb.expressions.functions import true_entries
from tdb.expressions.grammar import COMPARISONS
from tdb.queries import finite_of, not_finite_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tdb.expressions.memory import Memory

SHOWN_ENTRIES = 3
LONGEST_WRITTEN_OUT = 10**20  # whole numbers below it
DISTINCT_DIGITS = (4, 6, 9, 17)  # 17 digits tell any two different doubles apart


def explain(expression: Expression, namespace: Mapping[str, Any], memory: Memory | None = None) -> str:
    """Return the values that made the expression true, or false: `win_rate[31] = 0.0098 < 0.01`.

    Of `and` and `or` the parts that decided are shown; of `any` and `all` how many entries and which. To be called
    after `evaluate`, at the same step and with the same memory.

    Raises:
        TdbError: it cannot be computed.
    """
    return _Explainer(expression, namespace, memory).explain(expression.tree)


def short(value: Any) -> str:
    """Return a value in four significant digits; of many entries the shape, the least and the largest finite one."""
    array = np.asarray(value)
    if array.ndim == 0:
        return _number(array[()], DISTINCT_DIGITS[0])
    if array.size <= SHOWN_ENTRIES and array.ndim == 1:
        return f"[{', '.join(short(entry) for entry in array)}]"
    if not array.size:
        return f"{list(array.shape)} empty"
    finite = finite_of(array)
    bounds = [f"from {short(finite.min())} to {short(finite.max())}"] if finite.size else []
    return f"{list(array.shape)} {', '.join(filter(None, [*bounds, not_finite_text(array)]))}"


class _Explainer:
    def __init__(self, expression: Expression, namespace: Mapping[str, Any], memory: Memory | None) -> None:
        self.expression = expression
        self.namespace = namespace
        self.memory = memory

    def explain(self, node: ast.expr) -> str:
        match node:
            case ast.BoolOp():
                return self._logic(node)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return f"not ({self.explain(operand)})"
            case ast.Compare():
                return self._comparison(node)
            case ast.Call(func=ast.Name(id="any" | "all" as name), args=[entries]):
                return f"{self._text(node)}: {self._entries(name, entries)}"
            case ast.Call(args=arguments) if isinstance(self._value(node), bool | np.bool_):
                given = [self._named(argument) for argument in arguments if not _is_written_out(argument)]
                return f"{self._text(node)}: {', '.join(given)}" if given else self._text(node)
            case _:
                return self._named(node)

    def _value(self, node: ast.expr, *, elementwise: bool = False) -> Any:
        return self.expression.evaluate_part(node, self.namespace, self.memory, elementwise=elementwise)

    def _text(self, node: ast.expr) -> str:
        return self.expression.source.of(node)

    def _named(self, node: ast.expr) -> str:
        text = self._text(node)
        return text if _is_written_out(node) else f"{text} = {short(self._value(node, elementwise=True))}"

    def _logic(self, node: ast.BoolOp) -> str:
        decides = isinstance(node.op, ast.Or)  # the first true part decides `or`, the first false one `and`
        for part in node.values:
            if truth(self._value(part), self._text(part)) == decides:
                return self.explain(part)
        return (" and " if isinstance(node.op, ast.And) else " or ").join(self.explain(part) for part in node.values)

    def _comparison(self, node: ast.Compare) -> str:
        operands = (node.left, *node.comparators)
        values = _distinct([self._value(operand) for operand in operands])
        shown = [
            self._text(operand) if _is_written_out(operand) else f"{self._text(operand)} = {value}"
            for operand, value in zip(operands, values, strict=True)
        ]
        signs = (COMPARISONS[type(comparison)] for comparison in node.ops)
        return " ".join([shown[0], *(f"{sign} {right}" for sign, right in zip(signs, shown[1:], strict=True))])

    def _entries(self, name: str, entries: ast.expr) -> str:
        """Say which entries made `any` true, or kept `all` from being true."""
        is_true = np.atleast_1d(true_entries(self._value(entries, elementwise=True)))
        places = np.argwhere(is_true if name == "any" else ~is_true)
        said = f"{np.count_nonzero(is_true)} of {is_true.size}"
        if not len(places):
            return said
        values = self._compared_values(entries, is_true.shape)
        which = [
            f"[{', '.join(map(str, place))}]" + ("" if values is None else f" = {short(values[tuple(place)])}")
            for place in places[:SHOWN_ENTRIES]
        ]
        more = ", ..." if len(places) > SHOWN_ENTRIES else ""
        return f"{said}, {'' if name == 'any' else 'not '}at {', '.join(which)}{more}"

    def _compared_values(self, entries: ast.expr, shape: tuple[int, ...]) -> NDArray[Any] | None:
        if not isinstance(entries, ast.Compare) or _is_written_out(entries.left):
            return None
        return np.broadcast_to(self._value(entries.left, elementwise=True), shape)


def _distinct(values: list[Any]) -> list[str]:
    """Return the values in as few digits as keep neighbours that differ from looking equal."""
    for digits in DISTINCT_DIGITS:
        shown = [_number(value, digits) if np.ndim(value) == 0 else short(value) for value in values]
        if all(
            left != right or np.array_equal(a, b)
            for left, right, a, b in zip(shown, shown[1:], values, values[1:], strict=False)
        ):
            break
    return shown


def _number(value: Any, digits: int) -> str:
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, int | np.integer):
        return str(value) if abs(int(value)) < LONGEST_WRITTEN_OUT else f"{Decimal(int(value)):.{digits}g}"
    return f"{complex(value) if isinstance(value, complex | np.complexfloating) else float(value):.{digits}g}"


def _is_written_out(node: ast.expr) -> bool:
    """Whether a node has no names in it, so that its text is its value."""
    return not any(isinstance(part, ast.Name) for part in ast.walk(node))
