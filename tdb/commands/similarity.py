"""Matrices and images: how alike features are, and what tensors look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tdb.commands import command
from tdb.commands.arguments import BranchNames, Expression, Ids, KeyName, MetricName, SourceName
from tdb.commands.branches import ends_of_branches
from tdb.counted import counted
from tdb.errors import TdbError, UsageError
from tdb.expressions import UnknownNameError, compile_expression
from tdb.features import sorted_order, sources_of
from tdb.queries import array_of, bounds_of, finite_of
from tdb.results import Array, Histogram, Images, Matrix, Page, Picture, Profiles, Result, Table
from tdb.similarity import Similarity, cosine_matrix, similarity_of
from tdb.tensors import tensors_table
from tdb.this_step import evaluated, feature_ids, features_now, look, row_image_shape, source_rows

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
def cosmat(
    session: Session,
    source: SourceName,
    second: SourceName | None = None,
    *,
    sort: MetricName | None = None,
    abs: bool = False,  # noqa: A002 - the word that is typed
    cross: bool = False,
    branch: BranchNames | None = None,
) -> Result:
    """Draw the cosine similarity of every pair of features, and say how alike they are.

    Two sources are drawn side by side and their means compared; `cross` compares the rows of one with those of the
    other instead. `sort METRIC` reorders rows and columns; `abs` takes absolute values. Rows of zeros have cosine 0.
    `--branch A B` compares the weights of every feature at the end of one branch with those at the end of another.

    Example:
        cosmat weights
        cosmat weights som_targets
        cosmat weights sort win_rate
        cosmat weights grad_delta cross
        cosmat weights --branch main fork-1
    """
    ends = _ends_of_branches(session, source, branch, several=second is not None or cross) if branch else None
    if cross and second is None:
        raise UsageError("cosmat cross needs two sources", "Example: cosmat weights som_targets cross")
    names = [source] if second is None else [source, second]
    cross = cross or ends is not None

    def compute() -> list[Array]:
        rows = [source_rows(session, name) for name in names] if ends is None else ends
        return [cosine_matrix(*rows)] if cross else [cosine_matrix(each) for each in rows]

    matrices = session.ask(compute)
    for name, matrix in zip(names, matrices, strict=False):
        if not cross and len(matrix) < 2:
            raise TdbError(f"{name} has one row, and a cosine takes two")
    order = _order(session, sort, len(matrices[0]))
    between = f"{source} x {second}" if branch is None else f"{source} of {' x '.join(branch.split())}"
    titles = [between] if cross else names
    compared = [
        _Compared(title, matrix, similarity_of(matrix, square=not cross, absolute=abs))
        for title, matrix in zip(titles, matrices, strict=True)
    ]
    ending = f"{', absolute' if abs else ''}{f', by {sort}' if sort else ''}"
    pictures: list[Picture] = [each.drawn(order, ending, cross=cross, absolute=abs) for each in compared]
    picture = pictures[0]
    if len(pictures) > 1:
        picture = Page(pictures, columns=2, caption="; ".join(each.caption for each in pictures))
    note, difference = _difference(compared)
    table = _table(compared, ("off the diagonal" if not cross else "all entries") + note)
    data = {
        "similarity": {each.title: each.similarity.as_data() for each in compared},
        **difference,
        "matrices": {each.title: each.matrix for each in compared},
    }
    return Result([table, picture], data)


class _Compared(NamedTuple):
    """Rows that were compared with each other, or with others: the cosines, and how alike that makes them."""

    title: str
    matrix: Array
    similarity: Similarity

    def drawn(self, order: Array | None, ending: str, *, cross: bool, absolute: bool) -> Matrix:
        """Return the picture, in an order of the features if one was asked for."""
        values = np.abs(self.matrix) if absolute else self.matrix
        ids = np.arange(len(values)) if order is None else order
        return Matrix(
            values[ids] if cross else values[np.ix_(ids, ids)],
            title=f"cosine of {self.title}{ending}",
            caption=_sentence(self.title, self.similarity, cross=cross),
            row_name="feature",
            column_name="feature",
            row_ids=ids,
            column_ids=np.arange(values.shape[1]) if cross else ids,
            limits=(-1.0, 1.0),
        )


def _difference(compared: list[_Compared]) -> tuple[str, dict[str, float]]:
    """Return by how much the second of two is more alike than the first, in words and as data; nothing if unknown."""
    if len(compared) != 2:
        return "", {}
    first, second = compared
    difference = second.similarity.mean - first.similarity.mean
    if not np.isfinite(difference):
        return "", {"difference": difference}
    side = "above" if difference > 0 else "below"
    said = f"; the mean of {second.title} is {np.abs(difference):.4f} {side} that of {first.title}"
    return said, {"difference": difference}


def _ends_of_branches(session: Session, source: str, names: str, *, several: bool) -> list[Any]:
    """Return the focus layer's weights [D, F] at the end of each of two branches."""
    if source != "weights" or several or len(names.split()) != 2:
        example = "Example: cosmat weights --branch main fork-1"
        raise UsageError(f"--branch compares the weights of two branches, not {source} of {names}", example)
    return [end.weights for end in ends_of_branches(session, *names.split())]


def _order(session: Session, metric: str | None, count: int) -> Array | None:
    if metric is None:
        return None
    values = features_now(session).metric(metric)
    if len(values) != count:
        raise TdbError(
            f"{metric} has {counted(len(values), 'value')}, and the matrix {counted(count, 'row')}",
            "Is it of the focus layer?",
        )
    return sorted_order(values, ascending=False)


def _table(compared: list[_Compared], note: str) -> Table:
    """Return a row for each matrix: what its entries are like, and its most similar pairs."""
    found = [each.similarity for each in compared]
    return Table(
        {
            "cosines of": [each.title for each in compared],
            "mean": [each.mean for each in found],
            "std": [each.std for each in found],
            "max": [each.max for each in found],
            "not finite": [each.not_finite for each in found],
            "most similar": [
                ", ".join(f"{pair.first}-{pair.second} {pair.cosine:.4f}" for pair in each.pairs) or "none"
                for each in found
            ],
        },
        note=note,
    )


def _sentence(title: str, similarity: Similarity, *, cross: bool) -> str:
    what = "mean cosine" if cross else "mean off-diagonal cosine"
    return f"{title}: {what} {similarity.mean:.4f}, std {similarity.std:.4f}, max {similarity.max:.4f}"


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
    row_order, column_order = _order(session, rows, values.shape[0]), _order(session, columns, values.shape[1])
    row_ids = np.arange(values.shape[0]) if row_order is None else row_order
    column_ids = np.arange(values.shape[1]) if column_order is None else column_order
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
    shape = row_image_shape(session, rows.shape[1])
    if shape is None:
        return Result(
            [Profiles(shown, labels, caption=caption, title=source)], {"source": source, "ids": chosen, "rows": shown}
        )
    images = shown.reshape(len(shown), *shape)
    picture = Images(images, labels, caption=caption, title=source, signed=bool((shown < 0).any()))
    return Result([picture], {"source": source, "ids": chosen, "rows": shown})


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


def _many(session: Session, text: str) -> Array:
    """Return the values of a tensor by its key, or else of an expression."""
    try:
        return look(session, text)
    except TdbError as error:
        try:
            expression = compile_expression(text, "hist ")
            if not expression.needs_history:
                values = np.asarray(evaluated(session, expression))
        except (UsageError, UnknownNameError):
            raise error from None
    if expression.needs_history or not values.ndim:
        raise UsageError(f"{text} is not many values in this step", "Example: hist win_rate * grad_magnitude")
    return values
