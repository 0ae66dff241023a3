"""Python run as the body of a function, whose comprehensions, lambdas and functions see the variables around it.

With `eval` and `exec` these see the global names alone: the local names are like those of a class's body.
"""

from __future__ import annotations

import ast
from keyword import iskeyword
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_AROUND = """
def prompt({given}):
    def typed():
        {outer}
        return locals()
    return typed
"""


def has_inner_scopes(code: CodeType) -> bool:
    """Return whether code has functions, or comprehensions that Python runs as such."""
    return any(isinstance(constant, CodeType) for constant in code.co_consts)


def evaluate_enclosed(text: str, file: str, module: dict[str, Any], variables: Mapping[str, Any]) -> Any:
    """Return the value of an expression among variables.

    Args:
        text: the expression.
        file: what it is said to be from.
        module: the global names.
        variables: those around.
    """
    value = ast.parse(text, file, "eval").body
    return _call([ast.copy_location(ast.Return(value), value)], file, module, variables, ())


def run_enclosed(text: str, file: str, module: dict[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
    """Run statements among variables, and return these as they are afterwards, with those that were made.

    Args:
        text: the statements; a name among `variables` is that, any other that they assign is made.
        file: what they are said to be from.
        module: the global names.
        variables: those around.

    Raises:
        SyntaxError: they may not be in a function, as `from module import *`.
    """
    tree = ast.parse(text, file)
    declared = {name for each in tree.body if isinstance(each, ast.Global) for name in each.names}
    stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    hidden = {name: module[name] for name in stored - declared - variables.keys() if name in module}
    left: dict[str, Any] = _call(tree.body, file, module, {**hidden, **variables}, declared)
    kept = {name: value for name, value in variables.items() if not _is_name(name) or name in declared}
    return kept | {name: value for name, value in left.items() if name not in hidden or hidden[name] is not value}


def _call(
    body: list[ast.stmt], file: str, module: dict[str, Any], variables: Mapping[str, Any], declared: Collection[str]
) -> Any:
    given = {name: value for name, value in variables.items() if _is_name(name)}
    outer = ", ".join(name for name in given if name not in declared)
    around = ast.parse(_AROUND.format(given=", ".join(given), outer=f"nonlocal {outer}" if outer else "pass"), file)
    typed = next(node for node in ast.walk(around) if isinstance(node, ast.FunctionDef) and node.name == "typed")
    typed.body[1:1] = body
    made: dict[str, Any] = {}
    exec(compile(around, file, "exec"), module, made)  # noqa: S102 - a debugger runs what is typed
    return made["prompt"](**given)()


def _is_name(name: str) -> bool:
    """Return whether a function can have it: the iterator of a running comprehension is called `.0`."""
    return name.isidentifier() and not iskeyword(name)
