"""Values of the script's own, whose methods may do anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tdb.errors import TdbError, in_words


def text_of(value: Any, text: Callable[[Any], str] = repr) -> str:
    """Return what `text` makes of a value.

    Raises:
        TdbError: what the value's own `__repr__` has raised.
    """
    try:
        return text(value)
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        raise TdbError(in_words(error)) from error


def is_array(value: Any) -> bool:
    """Return whether a value is a tensor or an array, as far as it can be asked."""
    try:
        return isinstance(value.shape, tuple) and hasattr(value, "dtype")
    except Exception:  # noqa: BLE001 - attributes may be computed
        return False
