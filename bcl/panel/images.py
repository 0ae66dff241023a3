"""`image` and `images`: what the images of a batch do to the features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch

from bcl.images import Exerted, exerted, feature_columns, image_columns, means_by
from bcl.panel.attached import ask, own_copy
from tdb.panel import (
    Count,
    Facts,
    Images,
    Integer,
    Kind,
    Page,
    Result,
    Table,
    TdbError,
    UsageError,
    array_of,
    command,
    counted,
    did_you_mean,
    row_image_shape,
)

if TYPE_CHECKING:
    from torch import Tensor

    from bcl.panel.attached import BCLPanel
    from tdb.panel import Session

MOST_ROWS = 10
SORTS = {"loss": "what the model makes of it", "coverage": "how much the features claim it", "pull": "how far it moves"}
SortName = Annotated[str, Kind("COL", complete=lambda _session: SORTS.items())]


@dataclass(frozen=True)
class _Batch:
    """What the commands on images need of a step, as numpy arrays."""

    inputs: Any
    weights: Any
    labels: Any
    columns: dict[str, Any]
    exerted: Exerted
    status: Sequence[str]


def _batch(session: Session) -> _Batch:
    def look(panel: BCLPanel, tensors: dict[str, Tensor]) -> _Batch:
        found = exerted(tensors, panel.bcl.config)
        loss = None if panel.image_loss is None else panel.image_loss(tensors["inputs"])
        labels = session.controller.record.labels
        known = labels is not None and len(array_of(labels).reshape(-1)) == len(found.coverage)
        columns = {name: own_copy(column) for name, column in image_columns(found, loss).items()}
        status = panel.status(own_copy(tensors["win_rate"])) if panel.status else []
        return _Batch(
            own_copy(tensors["inputs"]),
            own_copy(panel.bcl.layer.weight),
            array_of(labels).reshape(-1) if known else None,
            columns,
            found,
            status,
        )

    return ask(session, look)


@command(running="queued", topic="bcl")
def image(session: Session, number: Integer) -> Result:
    """Show one image of this batch: which features claim it, its coverage, and the forces it exerts on them.

    A feature claims an image (rank_score above 0.5) if it is stronger than all of its neighbours. grad_mask is the part
    of the image's gradient that reaches the feature, grad_share the image's part in the feature's gradient, pull_share
    its part in the SOM target, and pull how far the image alone moves the feature's weights in this step.

    Example:
        image 17
    """
    batch = _batch(session)
    count = len(batch.inputs)
    if not 0 <= number < count:
        raise TdbError(f"no image {number}", f"images are 0..{count - 1}")
    facts: dict[str, Any] = {"image": number}
    if batch.labels is not None:
        facts["label"] = int(batch.labels[number])
    for name in [name for name in SORTS if name in batch.columns]:
        values = batch.columns[name]
        facts[name] = float(values[number])
        facts[f"{name} rank"] = f"{int((values > values[number]).sum()) + 1} of {count}"
    claims = own_copy(batch.exerted.claims)[number]
    facts |= {"claimed by": int(claims.sum()), "winner": int(batch.columns["winner"][number])}
    columns = {name: own_copy(column) for name, column in feature_columns(batch.exerted, number).items()}
    rows = _telling(columns, claims)
    table = Table(
        {"feature_id": rows, **{name: column[rows] for name, column in columns.items()}},
        status=[batch.status[row] for row in rows] if batch.status else [],
        note=f"{int(claims[rows].sum())} of the {int(claims.sum())} features that claim it, by rank_score"
        + (", and those that it moves most" if "pull" in columns else ""),
    )
    shape = row_image_shape(session, batch.inputs.shape[1])
    parts: list[Any] = [Facts(facts), table]
    if shape is not None:
        of = batch.inputs[number].reshape(1, *shape)
        heading = f"image {number}"
        weights = batch.weights[rows].reshape(-1, *shape)
        pictures = [
            Images(of, title=heading, caption=f"coverage {facts['coverage']:.3g}, winner {facts['winner']}"),
            Images(weights, [str(row) for row in rows], "weights of the features in the table", signed=True),
        ]
        caption = f"{heading}, and the weights of features {', '.join(map(str, rows))}"
        parts.append(Page(pictures, columns=2, caption=caption))
    return Result(parts, {**facts, "table": table, "features": columns, "claims": np.flatnonzero(claims)})


def _telling(columns: Mapping[str, Any], claims: Any) -> Any:
    """Return the features that claim an image, and those that it moves most, by rank score."""
    score = columns["rank_score"]
    claiming = [row for row in np.argsort(-score, kind="stable") if claims[row]][:MOST_ROWS]
    pull = columns.get("pull")
    moved = [] if pull is None else list(np.argsort(-pull, kind="stable")[: MOST_ROWS // 2])
    rows = np.unique(np.asarray([*claiming, *moved], dtype=int))
    return rows[np.argsort(-score[rows], kind="stable")]


@command(running="queued", topic="bcl")
def images(session: Session, *, sort: SortName | None = None, asc: bool = False, top: Count = MOST_ROWS) -> Result:
    """Ask which images of this batch cause the most trouble: by their loss, coverage or pull, the greatest first.

    coverage is how much all features together claim an image, pull how far it alone moves all features' weights in
    this step, added up. The loss is the model's after this step. If labels are known, a second table has their means.

    Example:
        images
        images sort pull top 5
        images sort coverage asc
    """
    batch = _batch(session)
    columns = batch.columns
    known = [name for name in SORTS if name in columns]
    by = sort or known[0]
    if by not in columns:
        near = did_you_mean(by, columns) or f"Columns: {', '.join(columns)}"
        raise (TdbError(f"no {by} of images here", near) if by in SORTS else UsageError(f"no column {by!r}", near))
    order = np.argsort(columns[by] if asc else -columns[by].astype(np.float64), kind="stable")
    shown = order[:top]
    labelled = {"label": batch.labels[shown]} if batch.labels is not None else {}
    rest = {name: column[shown] for name, column in columns.items() if name != "image"}
    telling = {name: columns[name] for name in (*known, "claims")}
    table = Table(
        {"image": shown, **labelled, **rest},
        summary={
            word: {name: float(getattr(np, word)(column)) for name, column in telling.items()}
            for word in ("mean", "min", "max")
        },
        note=f"{len(shown)} of {counted(len(order), 'image')}, sorted by {by} {'ascending' if asc else 'descending'}",
    )
    data: dict[str, Any] = {"table": table, "order": order, "columns": columns, "labels": batch.labels}
    parts: list[Any] = [table]
    if batch.labels is not None and batch.labels.dtype.kind in "iu":
        found = means_by(torch.as_tensor(batch.labels), {name: torch.as_tensor(col) for name, col in telling.items()})
        means = {"label" if name == "group" else name: own_copy(value) for name, value in found.items()}
        data["labels_table"] = Table(means, note="means over the images of a label")
        parts.append(data["labels_table"])
    shape = row_image_shape(session, batch.inputs.shape[1])
    if shape is not None:
        labels = [f"{row}: {columns[by][row]:.3g}" for row in shown]
        caption = f"{counted(len(shown), 'image')} by {by}, {'least' if asc else 'greatest'} first"
        shown_images = batch.inputs[shown].reshape(-1, *shape)
        parts.append(Images(shown_images, labels, caption, f"images by {by}", columns=min(top, 10)))
    return Result(parts, data)
