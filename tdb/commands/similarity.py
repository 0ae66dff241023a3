"""How alike features are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tdb.commands import command
from tdb.commands.arguments import BranchNames, MetricName, SourceName
from tdb.commands.branches import ends_of_branches
from tdb.errors import TdbError, UsageError
from tdb.results import Array, Matrix, Page, Picture, Result, Table
from tdb.similarity import Similarity, cosine_matrix, similarity_of
from tdb.this_step import feature_order, source_rows

if TYPE_CHECKING:
    from tdb.session import Session


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
    order = None if sort is None else feature_order(session, sort, len(matrices[0]))
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
