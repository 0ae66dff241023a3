"""Numbers and other values as text: the numbers of one column share one format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tdb.over_time.sparklines import BLOCKS
from tdb.results import Array

OF_ITS_OWN = "%.4g"
"""The format of numbers that have nothing to do with one another: 3.39e-07 must not stand as 0.0000."""

_UNSEEN = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
_IN_ASCII = str.maketrans({"±": "+-", "×": "x", **dict(zip(BLOCKS, "_.-=+*#@", strict=True))})


def takes_only_ascii(encoding: str | None) -> bool:
    """Return whether an encoding lacks what tables and figures are drawn with."""
    try:
        "─×█▀░±".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return True
    return False


def printable(text: str, *, ascii_only: bool = False) -> str:
    r"""Return `text` with control characters written as `\x1b`: text from a user never drives the terminal."""
    text = text.translate(_UNSEEN)
    if not ascii_only:
        return text
    return text.translate(_IN_ASCII).encode("ascii", "backslashreplace").decode()


def as_column(values: Sequence[Any] | Array) -> Array:
    """Return the values of a table's column as an array [n], of objects where they are not all numbers or all text."""
    if isinstance(values, np.ndarray) and values.ndim == 1:
        return values
    numbers = all(isinstance(value, bool | int | float | np.number | np.bool_) for value in values)
    if len(values) and (numbers or all(isinstance(value, str) for value in values)):
        return np.asarray(values)
    return np.fromiter(values, dtype=object, count=len(values))


def shared_format(values: Array) -> str:
    """Return the printf format in which all of the real numbers `values` are written.

    Four decimals, as long as that tells most of them apart from zero and the largest stays readable; otherwise
    scientific. Between a thousand and a million there are two decimals.
    """
    if values.dtype.kind in "biu":
        return "%d"
    magnitudes = np.abs(values[np.isfinite(values)].astype(np.float64))
    magnitudes = magnitudes[magnitudes > 0]
    if magnitudes.size == 0:
        return "%.4f"
    largest = magnitudes.max()
    if largest >= 1e6 or np.median(magnitudes) < 1e-3:
        return "%.2e"
    return "%.2f" if largest >= 1e3 else "%.4f"


def cell_texts(values: Array, *, full: bool = False, number_format: str = "", ascii_only: bool = False) -> list[str]:
    """Return one text a value of a column [n].

    Args:
        values: numbers, text or objects.
        full: every digit that the number has in its own type, instead of one format for all.
        number_format: the format to use instead of the column's own.
        ascii_only: write other characters as escapes.
    """
    if values.dtype.kind == "f" and not full:
        pattern = number_format or shared_format(values)
        return [pattern % value for value in values.tolist()]
    if values.dtype.kind in "biufc":
        texts: list[str] = values.astype(np.str_).tolist()
        return texts
    return [value_text(value, full=full, ascii_only=ascii_only) for value in values.tolist()]


def value_text(value: Any, *, full: bool = False, ascii_only: bool = False) -> str:
    """Return one value on one line: numbers to six digits (all digits if `full`), containers by their items."""
    if isinstance(value, np.generic):
        # The scalar's own text is the shortest that gives it back; the item of a float32 has digits of a float64.
        value = str(value) if full else value.item()
    if value is None:
        return "-"
    if isinstance(value, float):
        return repr(value) if full else f"{value:.6g}"
    if isinstance(value, Mapping):
        pairs = (f"{key} {value_text(item, full=full)}" for key, item in value.items())
        return printable(", ".join(pairs), ascii_only=ascii_only)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple | set | frozenset):
        return printable(", ".join(value_text(item, full=full) for item in value), ascii_only=ascii_only)
    return printable(str(value).replace("\n", " "), ascii_only=ascii_only)
