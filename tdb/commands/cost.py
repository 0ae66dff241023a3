"""What tdb itself costs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.commands import command
from tdb.commands.arguments import Steps
from tdb.commands.flow import go
from tdb.counted import counted
from tdb.errors import UsageError
from tdb.overhead import FEWEST, WARM_UP, Cost, Overhead
from tdb.results import Result, Table, Text
from tdb.standing import RUNNING
from tdb.stopping import StopReport

if TYPE_CHECKING:
    from tdb.session import Session

# How long training may go on unobserved after the measurement of a background run is complete.
LOOK_SECONDS = 0.2


@command(running="yes")
def overhead(session: Session, count: Steps = 200) -> Result:
    """Measure what tdb costs in this run: over the next N steps it keeps out of every other one.

    Training runs N steps freely, after a few to warm up, and stops; in the background (`continue &`) it runs on. The
    steps left out are missing in history, which says so. A stop point is looked at in them, too, when their time has
    been taken; only what needs the step captured (gradients that the loop has cleared, updates, activations) waits for
    the next step. Ctrl-C, a stop point or the end of training break the measurement off.

    The ratio is the median over pairs of steps. The parts are timed by themselves, and given as means, which see what
    is done only now and then (see `set record.every`) and a median does not.

    Example:
        overhead
        overhead 400
    """
    if count < FEWEST:
        raise UsageError(f"overhead compares steps in pairs, and {count} are too few", f"From {FEWEST}: overhead 200")
    running = session.status == RUNNING
    if not running:
        session.need_stopped()
    measured = session.at_boundary(lambda: _begin(session, count + count % 2, stops=not running))
    if running:
        while session.status == RUNNING and not measured.over.is_set():
            session.front.wait(session, None, LOOK_SECONDS)
        if session.status == RUNNING:
            return _told(measured)
    session.armed.aim(None)
    if not running:
        session.controller.resume()
    stopped = go(session, session.controller.position.step + WARM_UP + count, background=False)
    told = _told(measured)
    return StopReport(
        [*told.parts, *stopped.parts], {**(stopped.data or {}), **(told.data or {})}, [*told.notes, *stopped.notes]
    )


def _begin(session: Session, count: int, *, stops: bool) -> Overhead:
    controller = session.controller
    then = partial(controller.gate.pause, "overhead") if stops else None
    measured = Overhead(controller.position.tick, count, then)
    controller.measure(measured, session.armed.tensors)
    return measured


def _told(measured: Overhead) -> Result:
    cost = measured.cost
    pairs = len(cost.recorded)
    if 2 * pairs < FEWEST:
        taken = counted(pairs, "pair")
        note = f"the measurement was broken off after {taken} of steps: too few to tell, {FEWEST // 2} are needed"
        return Result(notes=[note], data={"pairs": pairs})
    low, high = cost.confidence
    said = f"tdb in this run: {cost.ratio:.3f}x of a step without it, between {low:.3f}x and {high:.3f}x with 95 %"
    data: dict[str, Any] = {"pairs": pairs, "ratio": cost.ratio, "low": low, "high": high, "parts": dict(cost.parts)}
    data |= dict(zip(("recorded", "left_out"), _quartiles(cost), strict=True))
    return Result([Text(said), _steps_table(cost), _parts_table(cost)], data)


def _quartiles(cost: Cost) -> list[list[float]]:
    """Return the lower quartile, the median and the upper quartile of both kinds of steps, in seconds."""
    return [np.quantile(times, [0.25, 0.5, 0.75]).tolist() for times in (cost.recorded, cost.left_out)]


def _steps_table(cost: Cost) -> Table:
    lower, median, upper = np.array(_quartiles(cost)).T * 1e3
    columns: dict[str, Any] = {"ms a step": ["with tdb", "left out"]}
    columns |= {"lower": np.round(lower, 4), "median": np.round(median, 4), "upper": np.round(upper, 4)}
    pairs = len(cost.recorded)
    return Table(columns, note=f"{counted(pairs, 'pair')} of steps, quartiles; the steps left out are gaps in history")


def _parts_table(cost: Cost) -> Table:
    step = float(np.median(cost.left_out))
    seconds = np.array(list(cost.parts.values()))
    microseconds, percent = np.round(seconds * 1e6, 1), np.round(100 * seconds / step, 2)
    columns: dict[str, Any] = {"part": list(cost.parts), "us a step": microseconds, "% of a step": percent}
    total = f"together {seconds.sum() * 1e6:.3g} us, {100 * seconds.sum() / step:.2g} % of a step"
    return Table(columns, note=f"means over the recorded steps, each timed by itself: {total}")
