"""Catching what training raises: `catch exception [TYPE]` and `catch oom`.

An exception that ends training stops the shell in post-mortem anyway; a catchpoint counts it, names it and runs its
commands. What the script catches itself is not seen: that would need a tracing function, which slows every line down.
"""

from __future__ import annotations

from collections.abc import Iterator

from tdb.errors import UsageError, in_words, is_out_of_memory
from tdb.stops import Hit, Stop, StopPoint
from tdb.stops.parse import CRASHES


def parse_crash(text: str) -> Stop | None:
    """Read `exception [TYPE]` or `oom`; None if it is neither.

    Raises:
        UsageError: TYPE is no name of a class.
    """
    kind, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    if kind == "oom":
        if rest:
            raise UsageError(f"catch oom takes nothing more, not {rest!r}", "Example: catch oom")
        return Stop("catch", "oom", lambda _moment, _memory: None, remembers=False)
    if kind != "exception":
        return None
    if rest and not all(part.isidentifier() for part in rest.split(".")):
        raise UsageError(f"{rest!r} is no type of exception", "Example: catch exception RuntimeError")
    what = f"exception {rest}".strip()
    return Stop("catch", what, lambda _moment, _memory: None, remembers=False)


def crash_hits(points: Iterator[StopPoint], error: BaseException, step: int) -> list[Hit]:
    """Return the hits of an exception that ended training, and count them."""
    hits = []
    for point in points:
        if point.enabled and _catches(point.stop.what, error):
            point.hits += 1
            if point.ignored:
                point.ignored -= 1
                continue
            message = f"{point.label} after step {step}: {in_words(error)}"
            hits.append(Hit(point.number, message, step, tuple(point.commands), point.temporary, is_catch=True))
    return hits


def is_crash(stop: Stop) -> bool:
    """Return whether a stop waits for an exception, so that no step can be it."""
    return stop.kind == "catch" and stop.what.split()[0] in CRASHES


def _catches(what: str, error: BaseException) -> bool:
    if what == "oom":
        return is_out_of_memory(error)
    kind, _, wanted = what.partition(" ")
    if kind != "exception":
        return False
    names = {name for base in type(error).__mro__ for name in (base.__name__, f"{base.__module__}.{base.__name__}")}
    return not wanted or wanted in names
