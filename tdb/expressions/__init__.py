"""Expressions: what `break when`, `display`, `find`, `metrics where` and `assert` understand.

    condition = compile_expression("win_rate[31] < 0.01 and delta(loss) > 0")
    memory = Memory()
    truth(condition.evaluate(namespace, memory))        # once a step
    explain(condition, namespace, memory)               # "win_rate[31] = 0.0098 < 0.01 and delta(loss) = 0.02 > 0"

An expression is checked and compiled once. It reaches numbers, numpy arrays and the functions of `FUNCTIONS`, nothing
else.
"""

from tdb.expressions.explain import explain, short
from tdb.expressions.expression import Expression, UnknownNameError, compile_expression, involves_nan, none_true, truth
from tdb.expressions.grammar import FUNCTIONS
from tdb.expressions.memory import Memory
from tdb.expressions.series import evaluate_history, evaluate_rows

__all__ = [
    "FUNCTIONS",
    "Expression",
    "Memory",
    "UnknownNameError",
    "compile_expression",
    "evaluate_history",
    "evaluate_rows",
    "explain",
    "involves_nan",
    "none_true",
    "short",
    "truth",
]
