"""One expression over the rows of a table, or over the steps of history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.errors import UsageError, did_you_mean
from tdb.expressions.expression import Expression, truth
from tdb.expressions.functions import true_entries
from tdb.expressions.memory import Memory

if TYPE_CHECKING:
    from numpy.typing import NDArray


def evaluate_rows(expression: Expression, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Return which rows of a table the expression holds for.

    Args:
        expression: its names are columns; `and`, `or`, `not` and comparison chains act row by row. A function takes
            the whole column: `win_rate < mean(win_rate)`.
        columns: name -> [D] values, at least one column; a single number serves for every row.

    Returns:
        [D] bool; where the value is NaN it does not hold.

    Raises:
        UsageError: a name is no column, or the expression looks back over steps.
        TdbError: it cannot be computed, or does not give one value a row.
    """
    _check_names(expression, columns, "column")
    if expression.needs_history:
        raise UsageError(f"{expression.text} looks back over steps", "A table shows one step: see `find`")
    try:
        holds = true_entries(expression.rows(columns, None))
    except Exception as error:
        raise expression.failure(error) from error
    shape = np.broadcast_shapes(*(np.shape(column) for column in columns.values()))
    if holds.shape not in {(), shape}:
        raise UsageError(f"{expression.text} gives {list(holds.shape)} values for {list(shape)} rows")
    return np.broadcast_to(holds, shape).copy()


def evaluate_history(expression: Expression, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Return at which recorded steps the expression was true.

    The step before is the recorded step before: over thinned history `prev(x)` is x at the last step that was kept,
    and `since` still counts steps.

    Args:
        expression: its names are columns.
        columns: name -> [steps] or [steps, ...], and "step", ascending, if the expression looks back.

    Returns:
        [steps] bool; where the value is NaN it is not true.

    Raises:
        UsageError: a name is no column.
        TdbError: it cannot be computed at one of the steps.
    """
    _check_names(expression, columns, "recorded metric")
    used = {name: columns[name] for name in expression.names} or dict(columns)
    moment = _Moment(used)
    memory = Memory(gaps=True)
    count = len(next(iter(used.values()), ()))
    holds = np.zeros(count, dtype=bool)
    for moment.row in range(count):
        holds[moment.row] = truth(expression.evaluate(moment, memory), expression.text)
    return holds


class _Moment(Mapping[str, Any]):
    """One row of columns as a namespace."""

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self._columns = columns
        self.row = 0

    def __getitem__(self, name: str) -> Any:
        return self._columns[name][self.row]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def _check_names(expression: Expression, known: Mapping[str, Any], kind: str) -> None:
    for name in expression.names:
        if name not in known:
            hint = did_you_mean(name, known) or f"{kind.capitalize()}s: {', '.join(known)}"
            raise UsageError(f"no {kind} {name!r}", hint)
