"""Whether a condition cannot become true because a value in it is NaN.

A comparison with NaN is false (only != is true). So one part with NaN keeps `and` from being true, both keep `or`,
entry by entry; `any` is kept by NaN in every entry, `all` by NaN in one. A function that looks back counts as its
argument as it is now: that there is no earlier value yet passes by itself.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tdb.expressions.build import Builder

if TYPE_CHECKING:
    from tdb.expressions.grammar import Source

Check: TypeAlias = Callable[[Mapping[str, Any]], Any]


def nan_check(source: Source, node: ast.expr) -> Check:
    """Return a function that says for a namespace which entries of `node` NaN keeps from being true.

    It gives a truth value, or for an array a bool array of its shape.
    """
    match node:
        case ast.BoolOp(op=ast.And(), values=parts):
            return _joined(operator.or_, [nan_check(source, part) for part in parts])
        case ast.BoolOp(op=ast.Or(), values=parts):
            return _joined(operator.and_, [nan_check(source, part) for part in parts])
        case ast.BinOp(op=ast.BitAnd(), left=left, right=right):
            return _joined(operator.or_, [nan_check(source, left), nan_check(source, right)])
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return _joined(operator.and_, [nan_check(source, left), nan_check(source, right)])
        case ast.Compare(ops=signs) if all(isinstance(sign, ast.NotEq) for sign in signs):
            return lambda _namespace: False
        case ast.Compare(left=left, comparators=others):
            return _one_is_nan(source, [left, *others])
        case ast.Call(func=ast.Name(id="crosses"), args=operands):
            return _one_is_nan(source, operands)
        case ast.Call(func=ast.Name(id="any"), args=[entries]):
            every_entry = nan_check(source, entries)
            return lambda namespace: np.size(mask := every_entry(namespace)) > 0 and np.all(mask)
        case ast.Call(func=ast.Name(id="all"), args=[entries]):
            one_entry = nan_check(source, entries)
            return lambda namespace: np.any(one_entry(namespace))
        case _:
            return _one_is_nan(source, [node])


def _one_is_nan(source: Source, nodes: list[ast.expr]) -> Check:
    """Return which entries are NaN in one of several values."""
    return _joined(operator.or_, [_is_nan(source, node) for node in nodes if not isinstance(node, ast.Constant)])


def _is_nan(source: Source, node: ast.expr) -> Check:
    evaluate = Builder(source, elementwise=True, without_memory=True).function(node)

    def check(namespace: Mapping[str, Any]) -> Any:
        value = evaluate(namespace, None)
        return value != value  # NaN differs from itself

    return check


def _joined(join: Callable[[Any, Any], Any], checks: list[Check]) -> Check:
    if not checks:
        return lambda _namespace: False
    if len(checks) == 1:
        return checks[0]
    return lambda namespace: reduce(join, [check(namespace) for check in checks])
