"""Timing two things side by side: in turns, in one process, many rounds, and the median of the ratios."""

from __future__ import annotations

import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Arm = Callable[[], object]
INTERRUPTED = 1.5


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    measured: str
    target: str
    met: bool


def seconds(arm: Arm) -> float:
    """Return how long one call takes."""
    began = time.perf_counter()
    arm()
    return time.perf_counter() - began


def in_turns(
    arms: Mapping[str, Arm], rounds: int, *, before: Callable[[str], object] | None = None
) -> dict[str, list[float]]:
    """Time every arm once a round, in an order that turns round by round; the first round warms up.

    Args:
        arms: what to time.
        rounds: how many times.
        before: is given an arm's name each time before it is timed.
    """
    import torch

    names = list(arms)
    times: dict[str, list[float]] = {name: [] for name in names}
    torch.set_flush_denormal(True)  # as the recipe does; of this thread: with them a step's time depends on its number
    gc.disable()
    try:
        for number in range(rounds + 1):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                if before is not None:
                    before(name)
                taken = seconds(arms[name])
                if number:
                    times[name].append(taken)
    finally:
        gc.enable()
    return times


def ratio(times: Mapping[str, list[float]], name: str, base: str) -> float:
    """Return the median over the rounds of one arm's time by another's."""
    return statistics.median(one / other for one, other in zip(times[name], times[base], strict=True))


def made_anew(one: Callable[[], Arm], other: Callable[[], Arm], rounds: int, makings: int) -> list[float]:
    """Return the ratios of the whole times of two arms that are made anew several times, now one first, now the other.

    Where a trainer happens to lie in memory decides more about its time than tdb does.

    Args:
        one: makes what is timed.
        other: makes what it is compared with.
        rounds: how many times each is timed in all.
        makings: how many times both are made.
    """
    ratios = []
    for number in range(makings):
        arms = {}
        for name, make in (("one", one), ("other", other))[:: 1 if number % 2 else -1]:
            arms[name] = make()
        ratios.append(whole_ratio(in_turns(arms, rounds // makings), "one", "other"))
    return ratios


def whole_ratio(times: Mapping[str, list[float]], name: str, base: str) -> float:
    """Return the ratio of the whole times of two arms: it knows what happens in a few rounds only, a median does not.

    Rounds in which one of them took half as long again as it mostly does are left out: something else was running.
    """
    most = {each: INTERRUPTED * statistics.median(times[each]) for each in (name, base)}
    pairs = zip(times[name], times[base], strict=True)
    kept = [(taken, of_base) for taken, of_base in pairs if taken < most[name] and of_base < most[base]]
    return sum(taken for taken, _ in kept) / sum(of_base for _, of_base in kept)


def spread(times: Mapping[str, list[float]], name: str, base: str) -> str:
    """Return the quartiles of the ratios: how far the median can be trusted."""
    return quartiles([one / other for one, other in zip(times[name], times[base], strict=True)])


def quartiles(ratios: Sequence[float]) -> str:
    """Return the lower and the upper quartile."""
    low, _, high = statistics.quantiles(ratios, n=4)
    return f"{low:.3f}..{high:.3f}"


def machine() -> str:
    """Return the machine in a line."""
    import torch

    model = platform.processor() or platform.machine()
    for line in open("/proc/cpuinfo") if os.path.exists("/proc/cpuinfo") else []:  # noqa: PTH110, PTH123, SIM115 - a device
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{model}, {os.cpu_count()} cores, {load}; Python {platform.python_version()}, torch {torch.__version__}"


def show(title: str, rows: list[Row]) -> None:
    """Print the rows."""
    width = max(len(row.what) for row in rows)
    print(f"\n{title}")
    for row in rows:
        print(f"  {row.what:{width}}  {row.measured:>24}  target {row.target:<22} {'met' if row.met else 'NOT MET'}")
