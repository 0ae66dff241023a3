"""The functions an expression may call that need this step only: pure, on numpy arrays and numbers.

`min max mean std median sum any all argmin argmax` take all entries together; `norm` and `cos` work along the last
axis, one number a row, because the rows of tdb's sources are features. NaN is neither true nor false, so it never
makes `any` or `all` true; every other reduction passes it on. An empty array has the mean NaN and the sum 0.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def true_entries(x: Any) -> NDArray[np.bool_]:
    """Return which entries of x are true: not zero, not NaN. Shape of x."""
    array = np.asarray(x)
    return array if array.dtype == bool else (array != 0) & (array == array)  # NaN differs from itself


def some(x: Any) -> bool:
    """Whether an entry of x is true."""
    return bool(true_entries(x).any())


def every(x: Any) -> bool:
    """Whether all entries of x are true."""
    return bool(true_entries(x).all())


def smallest(x: Any, *others: Any) -> Any:
    """Return the smallest entry of x; of several arguments, the smaller entry by entry."""
    if others:
        return reduce(np.minimum, others, x)
    return np.min(x) if np.size(x) else np.nan


def largest(x: Any, *others: Any) -> Any:
    """Return the largest entry of x; of several arguments, the larger entry by entry."""
    if others:
        return reduce(np.maximum, others, x)
    return np.max(x) if np.size(x) else np.nan


def mean(x: Any) -> Any:
    """Mean of all entries, in double precision."""
    return np.mean(x, dtype=np.float64) if np.size(x) else np.nan


def standard_deviation(x: Any) -> Any:
    """Population standard deviation (divided by the number of entries), in double precision."""
    return np.std(x, dtype=np.float64) if np.size(x) else np.nan


def median(x: Any) -> Any:
    """Median of all entries, in double precision."""
    return np.median(np.asarray(x, dtype=np.float64)) if np.size(x) else np.nan


def total(x: Any) -> Any:
    """Sum of all entries; of floating point numbers in double precision, of true and false a count."""
    array = np.asarray(x)
    return array.sum(dtype=np.float64 if array.dtype.kind == "f" else None)


def norm(x: Any) -> Any:
    """Euclidean norm along the last axis, in double precision; of a number its absolute value."""
    array = np.asarray(x, dtype=np.float64)
    return np.linalg.norm(array, axis=-1) if array.ndim else np.abs(array)


def cosine(a: Any, b: Any) -> Any:
    """Cosine of the angle between a and b along the last axis; 0 where one of them is all zeros."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    product, lengths = np.sum(a * b, axis=-1), norm(a) * norm(b)
    return np.divide(product, lengths, out=np.zeros_like(product), where=lengths != 0)[()]


def power(base: Any, exponent: Any) -> Any:
    """Base to the exponent in double precision, so that 9**9**9 is infinite instead of an endless integer."""
    return np.float_power(base, exponent)


def both(*values: Any) -> Any:
    """Entry by entry: whether all are true."""
    return reduce(np.logical_and, map(true_entries, values))


def either(*values: Any) -> Any:
    """Entry by entry: whether one is true."""
    return reduce(np.logical_or, map(true_entries, values))


def negation(x: Any) -> Any:
    """Entry by entry: whether x is zero; NaN is neither true nor false, so neither is its negation true."""
    return np.equal(x, 0)
