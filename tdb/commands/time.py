"""Over time: what was recorded of every step since training began."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tdb import over_time
from tdb.commands import command
from tdb.commands.arguments import Count, Expression, File, MetricName, StepNumber
from tdb.commands.travel import need_still
from tdb.counted import counted
from tdb.errors import StateError, UsageError
from tdb.expressions import compile_expression, evaluate_history
from tdb.features import GENERIC_STATUS, panel_of
from tdb.history import between
from tdb.results import Curves, Page, Result, Table, Text
from tdb.this_step import NO_LOSS, has_no_loss
from tdb.travel.route import by_best

if TYPE_CHECKING:
    from tdb.history import History, Span
    from tdb.over_time.find import Which, Within
    from tdb.panel import StatusRule
    from tdb.results import Array
    from tdb.session import Session
    from tdb.travel.route import Way


def _history(session: Session) -> History:
    history = session.controller.recorder.history
    if not len(history):
        raise StateError("nothing is recorded yet", "`step` takes the first step")
    return history


def what_is_missing(
    session: Session, recorded: Iterable[Span], first: int | None = None, last: int | None = None
) -> list[str]:
    """Return what is missing of what is recorded from one step to another, if anything is."""
    left_out = session.controller.recorder.history.left_out(first, last)
    notes = _failures(session)
    if len(left_out):
        steps = counted(len(left_out), "step")
        notes.append(f"{steps} between {left_out.min():,} and {left_out.max():,} left out by `overhead`: not recorded")
    within = [span for span in recorded if span.last >= (first or 0) and span.first <= (last or span.first)]
    if thinned := [str(span) for span in within if span.halved]:
        budget = session.settings.shown("history.budget")
        notes.append(f"thinned to fit into `history.budget` {budget}: {', '.join(thinned)} is left")
    return notes


def _failures(session: Session) -> list[str]:
    failure = session.controller.recorder.failure
    return [failure] if failure else []


def curves_result(session: Session, curves: Sequence[Curves], notes: Sequence[str], *, as_table: bool) -> Result:
    """Return charts over the steps: drawn, or as tables, or as a line of characters each where no figures are."""
    tables = {curve.y_name: over_time.curves_table(curve) for curve in curves}
    data = {"curves": tables}
    caption = "; ".join(curve.caption for curve in curves)
    picture = curves[0] if len(curves) == 1 else Page(curves, columns=2, caption=caption)
    if as_table:
        return Result(list(tables.values()), data, notes, drawn=picture)
    if session.settings["figures"] == "off":
        from tdb.views.curves import remarks

        lines = [
            replace(line, exact=tables[curve.y_name], note="; ".join([line.note, *remarks(curve)]))
            for line, curve in zip(map(over_time.sparkline_table, curves), curves, strict=True)
        ]
        return Result(lines, data, notes, drawn=picture)
    return Result([picture], data, notes)


@command(running="now")
def loss(
    session: Session,
    *,
    from_: StepNumber | None = None,
    to: StepNumber | None = None,
    smooth: Count = 1,
    log: bool = False,
) -> Result:
    """Draw the loss over the steps.

    Example:
        loss
        loss from 100 to 500 smooth 20 log
    """
    history = _history(session)
    notes = what_is_missing(session, history.density(), from_, to)
    if has_no_loss(session):
        notes.append(NO_LOSS)
    curve = over_time.loss_curve(history, from_, to, smooth, log, session.marks())
    return curves_result(session, [curve], notes, as_table=False)


@command(running="now")
def summary(session: Session, metric: MetricName) -> Result:
    """Show a metric over the run: how many features are dead, contenders and winners, mean, Gini and top-5 share.

    Example:
        summary win_rate
    """
    history = _history(session)
    table = over_time.feature_summary(history, metric, _status_beside(session, history, metric))
    notes = what_is_missing(session, history.density(metric))
    return Result([_last_rows(table), over_time.summary_page(table, metric)], {"table": table}, notes)


def _status_beside(session: Session, history: History, metric: str) -> StatusRule | None:
    """Return how the status of the features is read of which a metric is recorded; None if that was not recorded."""
    panels = [panel_of(session.controller), *session.controller.panels]
    rules = [*(panel.status for panel in panels if panel is not None and panel.status), GENERIC_STATUS]
    known = (rule for rule in rules if history.is_beside(metric, rule.metric))
    return next((rule.with_thresholds(session.settings.thresholds()) for rule in known), None)


def _last_rows(table: Table, count: int = 10) -> Table:
    columns = {name: np.asarray(values)[-count:] for name, values in table.columns.items()}
    return Table(
        columns, note=f"the last {min(count, len(table))} of {counted(len(table), 'recorded step')}", exact=table
    )


@command(running="now")
def heat(
    session: Session, metric: MetricName, *, from_: StepNumber | None = None, to: StepNumber | None = None
) -> Result:
    """Draw a metric of all features over the run: a row for each feature, a column for each recorded step.

    Example:
        heat win_rate
    """
    history = _history(session)
    matrix = over_time.heat(history, metric, from_, to)
    data = {"metric": metric, "steps": matrix.column_ids, "values": matrix.values}
    return Result([matrix], data, what_is_missing(session, history.density(metric), from_, to))


@command(running="now")
def find(
    session: Session, condition: Expression, *, from_: StepNumber | None = None, to: StepNumber | None = None
) -> Result:
    """List the recorded steps at which a condition held: all, or with `first` or `last` after it, one stretch of them.

    Where history has gaps, the answer says between which recorded steps the condition began to hold. With `--replay`
    after it, a condition need not have been recorded: the steps so far are taken again, it is evaluated at each, and
    training then stands where it stood. In a script that cannot go back in place a process of its own takes them.

    Example:
        find win_rate[31] < 0.01
        find loss < 0.1 from 100 to 500 first
        find max(grad_norm) > 0.5 --replay
    """
    asked = _asked(condition, (from_, to))
    expression, notes = compile_expression(asked.text), _failures(session)
    if asked.replay:
        need_still(session)
        session.need_begun()
        return by_best(session, session.controller.position.step, found_again, *asked[:3], notes)
    steps, columns = over_time.recorded(_history(session), expression.names)
    held = evaluate_history(expression, {**columns, "step": steps})
    return _found(steps, held, asked.which, asked.within, notes, _history(session).left_out())


class _Asked(NamedTuple):
    """What `find` is to find: `within` are the first and the last step that count, None if all do."""

    text: str
    which: Which
    within: Within
    replay: bool


WORD_AFTER = re.compile(r"\s(first|last|all|--replay|from|(?:from|to)\s+(\S+))$")
"""What no expression ends in."""


def _asked(typed: str, within: Within) -> _Asked:
    text, words, (first, last) = typed, set(), within
    while match := WORD_AFTER.search(text):
        text = text[: match.start()]
        word = match[1].split()[0]
        if word not in ("from", "to"):
            words.add(word)
            continue
        if not (match[2] or "").isdecimal():
            wrong = f", not {match[2]!r}" if match[2] else ""
            raise UsageError(f"find {word} takes a step{wrong}", "Example: find loss < 0.1 from 100 to 500 first")
        first, last = (int(match[2]), last) if word == "from" else (first, int(match[2]))
    if len(words - {"--replay"}) > 1:
        raise UsageError("find takes one of first, last and all", "Example: find loss < 0.1 first")
    which: Which = next((each for each in ("first", "last") if each in words), "all")
    return _Asked(text, which, (first, last), "--replay" in words)


def found_again(session: Session, way: Way, text: str, which: Which, within: Within, notes: list[str]) -> Result:
    """Return at which past steps a condition holds that nobody recorded: they are taken again."""
    landing = way.ask(session, text)
    assert landing.asked is not None
    return _found(*landing.asked, which, within, [*notes, str(landing), *landing.notes])


def _found(
    steps: Array, held: Array, which: Which, within: Within, notes: list[str], left_out: Sequence[int] | Array = ()
) -> Result:
    # Only now, and not before the condition was evaluated: at the first of them it may look back.
    wanted = between(steps, *within)
    if not wanted.any():
        raise over_time.nothing_recorded("step", *within)
    table, steps = over_time.find(steps, held, which, within, left_out), steps[held & wanted]
    data = {"steps": steps, "first": steps[0] if steps.size else None, "last": steps[-1] if steps.size else None}
    return Result([table], {**data, "table": table}, notes)


@command(running="yes")
def export(session: Session, path: File) -> Result:
    """Write history and trajectories to a file: .json, .csv, .npz or .parquet.

    Features are of the layer in focus; what was followed in another layer has its name before it: LAYER.FEATURE.

    Example:
        export run.npz
    """
    from tdb.export import export as write

    recorder = session.controller.recorder
    others = recorder.watched_layers.out_of_focus
    said = write(path, _history(session), recorder.watches, session.present_stop(), others)
    return Result([Text(said)], {"file": str(path)})
