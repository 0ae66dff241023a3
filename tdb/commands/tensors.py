"""The tensors of a step: which there are, and what they look like."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from tdb.commands import command
from tdb.commands.arguments import Expression, Ids, KeyName, MetricName, SourceName
from tdb.counted import counted
from tdb.errors import TdbError, UsageError
from tdb.expressions import UnknownNameError, compile_expression
from tdb.queries import array_of, bounds_of, finite_of
from tdb.results import Array, Histogram, Images, Matrix, Profiles, Result, Text
from tdb.sources import sources_of
from tdb.tensors import tensors_table
from tdb.this_step import evaluated, feature_ids, feature_order, features_now, look, row_image_shape, source_rows

if TYPE_CHECKING:
    from tdb.session import Session


@command(running="queued")
def sources(session: Session) -> Result:
    """List the tensors of the focus layer that can be looked at, each computed only when asked for.

    Example:
        sources
    """

    def compute() -> dict[str, Array | None]:
        found: dict[str, Array | None] = {}
        for name, give in sources_of(session.controller).items():
            try:
                found[name] = array_of(give())
            except TdbError:
                found[name] = None
        return found

    values = session.ask(compute)
    table = tensors_table({name: value for name, value in values.items() if value is not None})
    missing = [name for name, value in values.items() if value is None]
    notes = [f"not in this step: {', '.join(missing)}"] if missing else []
    return Result([table], {"sources": list(values), "table": table}, notes)


@command(running="queued")
def heatmap(
    session: Session, key: KeyName, *, rows: MetricName | None = None, columns: MetricName | None = None
) -> Result:
    """Draw a two-dimensional tensor: captured data, or a source, with a slice if need be.

    `rows METRIC` and `columns METRIC` reorder the side that has a row or column for each feature.

    Example:
        heatmap bcl_tensors.rank_score
        heatmap bcl_tensors.rank_score[0:32] columns win_rate
        heatmap weights rows win_rate
    """
    values = look(session, key)
    if values.ndim != 2:
        hint = "Slice it: heatmap NAME[0]" if values.ndim > 2 else f"Its values: hist {key}"
        raise TdbError(f"{key} has shape {list(values.shape)}: a heatmap takes two dimensions", hint)
    row_ids, column_ids = (
        np.arange(length) if metric is None else feature_order(session, metric, length)
        for metric, length in zip((rows, columns), values.shape, strict=True)
    )
    shown = values[np.ix_(row_ids, column_ids)]
    finite = finite_of(shown)
    signed = bool(finite.size) and float(finite.min()) < 0 < float(finite.max())
    order = "".join(f", {side} by {name}" for side, name in (("rows", rows), ("columns", columns)) if name)
    picture = Matrix(
        shown,
        caption=f"{key}: {values.shape[0]}x{values.shape[1]}, {bounds_of(shown)}{order}",
        title=f"{key}{order}",
        row_ids=row_ids,
        column_ids=column_ids,
        signed=signed,
    )
    return Result([picture], {"key": key, "values": shown, "row_ids": row_ids, "column_ids": column_ids})


@command(running="queued")
def grid(session: Session, source: SourceName, *ids: Ids) -> Result:
    """Draw the rows of a source as images, or as profiles where a row is no image.

    Example:
        grid weights
        grid som_targets 0:8
    """
    rows = session.ask(lambda: array_of(source_rows(session, source)))
    features = features_now(session)
    chosen = feature_ids(session, ids, features) if ids else list(range(len(rows)))
    if chosen and max(chosen) >= len(rows):
        raise TdbError(f"{source} has {counted(len(rows), 'row')}, not one for feature {max(chosen)}")
    shown, labels = rows[chosen], [str(row) for row in chosen]
    caption = f"{source} of {counted(len(chosen), 'feature')}, {bounds_of(shown)}"
    data = {"source": source, "ids": chosen, "rows": shown}
    if not chosen:
        return Result([Text(caption)], data)
    shape = row_image_shape(session, rows.shape[1])
    if shape is None:
        return Result([Profiles(shown, labels, caption=caption, title=source)], data)
    images = shown.reshape(len(shown), *shape)
    return Result([Images(images, labels, caption=caption, title=source, signed=bool((shown < 0).any()))], data)


@command(running="queued")
def hist(session: Session, key: Expression) -> Result:
    """Draw the distribution of the values of a tensor, or of an expression as `break when` takes it.

    Example:
        hist bcl_tensors.rank_score
        hist weights[17]
        hist win_rate * grad_magnitude
    """
    values = _many(session, key)
    picture = Histogram(
        values,
        key,
        caption=f"{key}: {counted(values.size, 'value')}, {bounds_of(values).removeprefix('values ')}",
        title=key,
    )
    return Result([picture], {"key": key, "values": values})


NAME = re.compile(r"[\w.]+(\[|$)")
"""What begins like the name of a tensor, perhaps with a slice, and is no expression of several."""


def _many(session: Session, text: str) -> Array:
    """Return the values of a tensor by its key, or else of an expression."""
    try:
        return look(session, text)
    except TdbError as error:
        try:
            expression = compile_expression(text, "hist ")
            if not expression.needs_history:
                values = np.asarray(evaluated(session, expression))
        except (UsageError, UnknownNameError) as why:
            raise (why if isinstance(why, UnknownNameError) and not NAME.match(text) else error) from None
    if expression.needs_history or not values.ndim:
        raise UsageError(f"{text} is not many values in this step", "Example: hist win_rate * grad_magnitude")
    return values
