"""From syntax tree to function: every node is checked and built anew, so only what is understood here can run.

A name becomes `namespace["name"]`, looked up only when evaluation reaches it, so that what a condition does not need
this time is not computed. A function that looks back becomes a statement before the rest: it has to see every step,
also those at which `and` or `or` never reaches it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from tdb.errors import did_you_mean
from tdb.expressions import functions
from tdb.expressions.grammar import (
    ARITHMETIC,
    COMPARISONS,
    DEEPEST_NESTING,
    FUNCTIONS,
    LARGEST_INTEGER,
    REFUSED,
    TEXT,
    Function,
    Source,
)
from tdb.expressions.memory import LONGEST_LOOK_BACK

if TYPE_CHECKING:
    from tdb.expressions.memory import Memory

Evaluation: TypeAlias = "Callable[[Mapping[str, Any], Memory | None], Any]"

FALSE = np.False_  # what comparing numpy numbers gives

HELPERS: Mapping[str, Callable[..., Any]] = {
    "power": functions.power,
    "both": functions.both,
    "either": functions.either,
    "negation": functions.negation,
    "invert": np.invert,
}


class Builder:
    """Builds one function from one expression and notes what it needs.

    With `elementwise`, `and`, `or` and `not` act entry by entry. Inside the brackets of a function they always do:
    `any(win_rate < 0.01 and som_magnitude > 1)`. With `without_memory` a function that looks back stands for its
    argument as it is now: NaN today is NaN in every later look back.
    """

    def __init__(self, source: Source, *, elementwise: bool = False, without_memory: bool = False) -> None:
        self.source = source
        self.names: dict[str, None] = {}
        self.functions: dict[str, None] = {}
        self.looked_up: list[tuple[str, ast.Subscript]] = []  # name and index, for checks against known shapes
        self.remembers = False
        self._elementwise = elementwise
        self._without_memory = without_memory
        self._depth = 0
        self.calculates = False
        self._statements: list[ast.stmt] = []
        self._methods: dict[type[ast.AST], Callable[[Any], ast.expr]] = {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.Attribute: self._dotted,
            ast.Subscript: self._subscript,
            ast.UnaryOp: self._unary,
            ast.BinOp: self._arithmetic,
            ast.BoolOp: self._logic,
            ast.Compare: self._comparison,
            ast.Call: self._call,
        }

    def function(self, node: ast.expr) -> Evaluation:
        """Return the function of (namespace, memory) that computes `node`.

        Raises:
            UsageError: something in it is not allowed; with a caret at the place.
        """
        value = self.build(node)
        before: list[ast.stmt] = []
        if self.remembers:
            self.names["step"] = None
            before = [ast.Expr(_call("look", _lookup("step"), owner="memory")), *self._statements]
        return compiled(value, before, self.functions, calculates=self.calculates)

    def build(self, node: ast.expr) -> ast.expr:
        """Return the node that computes `node`, or raise UsageError."""
        method = self._methods.get(type(node))
        if method is None:
            raise self.source.error(node, REFUSED.get(type(node), "this has no place in an expression"))
        self._depth += 1
        if self._depth > DEEPEST_NESTING:
            raise self.source.error(node, "the expression is too deeply nested from here on")
        built = method(node)
        self._depth -= 1
        return built

    def _entrywise(self, node: ast.expr) -> ast.expr:
        outer, self._elementwise = self._elementwise, True
        built = self.build(node)
        self._elementwise = outer
        return built

    def _constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, str):
            raise self.source.error(node, TEXT)
        if not isinstance(node.value, bool | int | float):
            raise self.source.error(node, f"only numbers, True and False can be written out, not {node.value!r}")
        if isinstance(node.value, int) and node.value > LARGEST_INTEGER:
            raise self.source.error(node, "this whole number is too large: write 1e20")
        return ast.Constant(node.value)

    def _name(self, node: ast.Name) -> ast.expr:
        if node.id in FUNCTIONS:
            raise self.source.error(node, f"{node.id} is a function: {FUNCTIONS[node.id].usage}")
        if node.id == "feature":
            raise self.source.error(node, "feature takes an id and a metric: feature[31].win_rate")
        return self._named(node, node.id)

    def _named(self, node: ast.expr, name: str) -> ast.expr:
        if any(part.startswith("_") for part in name.split(".")):
            raise self.source.error(node, "a name that begins with _ has no place in an expression")
        self.names[name] = None
        return _lookup(name)

    def _dotted(self, node: ast.Attribute) -> ast.expr:
        parts: list[str] = []
        base: ast.expr = node
        while isinstance(base, ast.Attribute):
            parts.insert(0, base.attr)
            base = base.value
        if isinstance(base, ast.Name) and base.id not in FUNCTIONS and base.id != "feature":
            return self._named(node, ".".join([base.id, *parts]))
        if isinstance(base, ast.Subscript) and isinstance(base.value, ast.Name) and base.value.id == "feature":
            name = ".".join(parts)
            self.looked_up.append((name, base))
            return ast.Subscript(self._named(node, name), self._index(base.slice), ast.Load())
        return self._named(node, ".".join(self._path(node)))

    def _path(self, node: ast.expr) -> list[str]:
        """Return the parts of what is found by way of several names and numbers: meters["train"][0].average."""
        match node:
            case ast.Name(id=name) if name not in FUNCTIONS and name != "feature":
                return [name]
            case ast.Attribute(value=value, attr=name):
                return [*self._path(value), name]
            case ast.Subscript(value=value, slice=ast.Constant(value=str() | int() as key)):
                return [*self._path(value), str(key)]
            case ast.Subscript(value=value, slice=ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as key))):
                return [*self._path(value), str(-key)]
        raise self.source.error(
            node, 'only a name has parts, as in bcl_metrics.win_rate, scores["accuracy"] or feature[31].win_rate'
        )

    def _subscript(self, node: ast.Subscript) -> ast.expr:
        if isinstance(node.value, ast.Constant):
            raise self.source.error(node, "a number has no entries")
        if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            return self._named(node, ".".join(self._path(node)))
        value = self.build(node.value)
        match value:
            case ast.Subscript(slice=ast.Constant(value=str() as name)):
                self.looked_up.append((name, node))
        return ast.Subscript(value, self._index(node.slice), ast.Load())

    def _index(self, node: ast.expr) -> ast.expr:
        match node:
            case ast.Tuple(elts=entries) if entries:
                return ast.Tuple([self._index_entry(entry) for entry in entries], ast.Load())
            case _:
                return self._index_entry(node)

    def _index_entry(self, node: ast.expr) -> ast.expr:
        match node:
            case ast.Constant(value=value) if value is Ellipsis:
                return ast.Constant(value)
            case ast.Constant(value=value) if type(value) is not int:
                raise self.source.error(node, f"an index is a whole number, not {value!r}")
            case ast.Slice(lower=lower, upper=upper, step=step):
                return ast.Slice(*[bound and self._entrywise(bound) for bound in (lower, upper, step)])
            case ast.List(elts=entries):
                return ast.List([self._entrywise(entry) for entry in entries], ast.Load())
            case _:
                return self._entrywise(node)

    def _unary(self, node: ast.UnaryOp) -> ast.expr:
        operand = self.build(node.operand)
        if isinstance(node.op, ast.Invert):
            return _call("invert", operand)
        if isinstance(node.op, ast.Not) and self._elementwise:
            return _call("negation", operand)
        return ast.UnaryOp(node.op, operand)

    def _arithmetic(self, node: ast.BinOp) -> ast.expr:
        self.calculates = True
        left, right = self.build(node.left), self.build(node.right)
        if isinstance(node.op, ast.Pow):
            return _call("power", left, right)
        if not isinstance(node.op, ARITHMETIC):
            raise self.source.error(node, "the operators are + - * / // % ** & | ~ and comparisons")
        return ast.BinOp(left, node.op, right)

    def _logic(self, node: ast.BoolOp) -> ast.expr:
        values = [self.build(value) for value in node.values]
        if self._elementwise:
            return _call("both" if isinstance(node.op, ast.And) else "either", *values)
        return ast.BoolOp(node.op, values)

    def _comparison(self, node: ast.Compare) -> ast.expr:
        for operand in (node.left, *node.comparators):
            if isinstance(operand, ast.BinOp) and isinstance(operand.op, ast.BitAnd | ast.BitOr):
                raise self.source.error(
                    operand, "& and | bind tighter than comparisons: write (a < 1) & (b > 2), or a < 1 and b > 2"
                )
        for comparison in node.ops:
            if type(comparison) not in COMPARISONS:
                raise self.source.error(node, f"the comparisons are {' '.join(COMPARISONS.values())}")
        built = [self.build(operand) for operand in (node.left, *node.comparators)]
        links: list[ast.expr] = [
            ast.Compare(left, [comparison], [right])
            for (left, right), comparison in zip(pairwise(built), node.ops, strict=True)
        ]
        chain = links[0]
        for link in links[1:]:
            chain = ast.BinOp(chain, ast.BitAnd(), link)  # Python's own chain fails on arrays
        return chain

    def _call(self, node: ast.Call) -> ast.expr:
        self.calculates = True
        name, function = self._called(node)
        arguments = self._arguments(node, function)
        self.functions[name] = None
        if not function.remembers:
            return _call(name, *[self._entrywise(argument) for argument in arguments])
        if "n" in function.parameters:
            self._check_span(name, arguments[1:])
        if self._without_memory:
            return self._entrywise(arguments[0])
        self.remembers = True
        # The same text has the same value, so it may share what is kept: explaining a part needs no second memory.
        built = [self._entrywise(argument) for argument in arguments]
        value = _call(name, ast.Name("memory", ast.Load()), ast.Constant(self.source.of(node)), *built)
        variable = f"value_{len(self._statements)}"
        self._statements.append(ast.Assign([ast.Name(variable, ast.Store())], value))
        return ast.Name(variable, ast.Load())

    def _called(self, node: ast.Call) -> tuple[str, Function]:
        if not isinstance(node.func, ast.Name):
            raise self.source.error(node.func, "only the functions of expressions can be called, no methods")
        name = node.func.id
        if name not in FUNCTIONS:
            near = did_you_mean(name, FUNCTIONS) or f"Entries are taken with [ ]; functions: {' '.join(FUNCTIONS)}"
            raise self.source.error(node.func, f"no function {name!r}. {near}")
        return name, FUNCTIONS[name]

    def _arguments(self, node: ast.Call, function: Function) -> list[ast.expr]:
        arguments = list(node.args)
        for keyword in node.keywords:
            if len(arguments) >= len(function.parameters) or keyword.arg != function.parameters[len(arguments)]:
                raise self.source.error(keyword, f"it is used as {function.usage}")
            arguments.append(keyword.value)
        for argument in arguments:
            if isinstance(argument, ast.Starred):
                raise self.source.error(argument, "arguments are written out: no *")
        too_many = len(arguments) > len(function.parameters) and not function.many
        if len(arguments) < function.required or too_many:
            raise self.source.error(node, f"it is used as {function.usage}")
        return arguments

    def _check_span(self, name: str, given: list[ast.expr]) -> None:
        for node in given:
            number = node.value if isinstance(node, ast.Constant) else None
            if type(number) is not int or not 1 <= number <= LONGEST_LOOK_BACK:
                raise self.source.error(node, f"{name} takes a whole number of steps, 1 to {LONGEST_LOOK_BACK}")


def compiled(value: ast.expr, before: list[ast.stmt], functions: Iterable[str], *, calculates: bool) -> Evaluation:
    """Return the function of (namespace, memory) that computes `value` after some statements.

    Args:
        value: what it returns.
        before: what it does first.
        functions: those of `FUNCTIONS` that it calls.
        calculates: it may come to infinity or NaN.
    """
    module = ast.parse("def expression(namespace, memory): return")
    body = cast("ast.FunctionDef", module.body[0]).body
    body[:0] = before
    cast("ast.Return", body[-1]).value = value
    # In the name of this file: where a loop waits, what is not of tdb is taken for the script.
    code = compile(ast.fix_missing_locations(module), __file__, "exec")
    inner = next(constant for constant in code.co_consts if isinstance(constant, CodeType))
    callables = {name: FUNCTIONS[name].call for name in functions}
    evaluate = FunctionType(inner, {"__builtins__": {}, "FALSE": FALSE, **HELPERS, **callables})
    return _quiet(evaluate) if calculates else evaluate


def _lookup(name: str) -> ast.Subscript:
    return ast.Subscript(ast.Name("namespace", ast.Load()), ast.Constant(name), ast.Load())


def _call(name: str, *arguments: ast.expr, owner: str = "") -> ast.Call:
    function: ast.expr = ast.Name(name, ast.Load())
    if owner:
        function = ast.Attribute(ast.Name(owner, ast.Load()), name, ast.Load())
    return ast.Call(function, list(arguments), [])


def _quiet(evaluate: Evaluation) -> Evaluation:
    def evaluate_quietly(namespace: Mapping[str, Any], memory: Memory | None) -> Any:
        with np.errstate(all="ignore"):  # 1 / win_rate is allowed to be infinite without a warning on the terminal
            return evaluate(namespace, memory)

    return evaluate_quietly
