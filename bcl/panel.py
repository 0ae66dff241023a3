"""What tdb shows of the rule, and the commands that the rule brings: the only module of bcl that knows tdb.

Here is how it is said; what is said, others in bcl compute, of whom each knows tensors and plain values alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
import torch

from bcl.arrays import Array, owned
from bcl.attach import BCL
from bcl.batch import SORTS, Batch, batch_of
from bcl.drawing import drawing_of, drawn_together
from bcl.faring import Faring, columns, faring
from bcl.health import BCLHealthTracker
from bcl.trace import AXES, SYMMETRIC_ABOVE, columns_of_lines, in_order, verdict
from bcl.trace import trace as traced
from bcl.upkeep import Upkeep
from bcl.vital_signs import DEAD_BELOW, WINNER_ABOVE
from tdb import panel as tdb  # the door, and all of tdb that is known here

if TYPE_CHECKING:
    from torch import Tensor

Value = TypeVar("Value")
LossOfImages = Callable[["Tensor"], "Tensor"]
SortName = Annotated[str, tdb.Kind("COL", complete=lambda _session: SORTS.items())]
MOST_ROWS = 10


@dataclass(frozen=True, kw_only=True)
class BCLPanel(tdb.Panel):
    """The panel of one attached rule.

    Attributes:
        bcl: the rule.
        tracker: of the features' health, if anybody tells it of every step.
        image_loss: gives the loss [B] of each of the images [B, F] that the layer took, if the loop's owner says how.
    """

    bcl: BCL = field(repr=False)
    tracker: BCLHealthTracker | None = None
    image_loss: LossOfImages | None = None


def bcl_panel(bcl: BCL, tracker: BCLHealthTracker | None = None, loss: LossOfImages | None = None) -> BCLPanel:
    """Return the panel of one attached rule, for `controller.add_panel`.

    Args:
        bcl: the rule.
        tracker: the tracker that is told of every step, so that it goes back in time with the rule.
        loss: gives the loss [B] of each of the images [B, F] that the layer takes; without a gradient.
    """
    pulls = bcl.rule.pulls
    targets = ("som_targets", *bcl.rule.targets, "som_delta") if pulls else ()
    upkeep = Upkeep(bcl, tracker)
    return BCLPanel(
        name="bcl",
        layer=bcl.name,
        metrics=bcl.get_step_metrics,
        recorded=tdb.Recorded(bcl.recorded_parts, bcl.recorded_metrics),
        step_data={"bcl_metrics": bcl.get_step_metrics, "bcl_tensors": bcl.step_tensors},
        columns=bcl.rule.columns,
        status=tdb.StatusRule("win_rate", dead_below=DEAD_BELOW, winner_above=WINNER_ABOVE),
        sources={name: partial(bcl.step_tensor, name) for name in targets},
        forces={"som": partial(bcl.step_tensor, "som_delta")} if pulls else {},
        scatter=("grad_magnitude", "som_magnitude" if pulls else "mean_activation", "win_rate"),
        commands=COMMANDS,
        inert=bcl.inert,
        state=upkeep.state,
        restore=upkeep.restore,
        settings=upkeep.settings,
        change=upkeep.change,
        bcl=bcl,
        tracker=tracker,
        image_loss=loss,
    )


def _panels(session: tdb.Session) -> list[BCLPanel]:
    return [panel for panel in session.controller.panels if isinstance(panel, BCLPanel)]


def _panel(session: tdb.Session) -> BCLPanel:
    """Return the panel of the rule on the focus layer, or of the last one attached.

    Raises:
        StateError: there is no rule.
    """
    panels = _panels(session)
    if not panels:
        hint = "Attach one with bcl.attach_bcl"
        raise tdb.StateError("this condition has no BCL rule: there is nothing to ask it", hint)
    focused = [panel for panel in panels if panel.layer == session.controller.layer.name]
    return (focused or panels)[-1]


def _ask(session: tdb.Session, look: Callable[[BCLPanel, dict[str, Tensor]], Value]) -> Value:
    """Return what `look` makes of the panel and of the step's tensors, in the training thread.

    Raises:
        StateError: there is no rule, or the step has not come to it yet.
    """

    def compute() -> Value:
        panel, progress = _panel(session), session.controller.progress
        if not progress.has_output:
            raise tdb.not_yet("output of the model", progress)
        tensors = panel.bcl.step_tensors()
        if not tensors:
            raise tdb.StateError("the rule has seen no batch yet", "`step` takes one")
        with torch.no_grad(), panel.bcl.inert():
            try:
                return look(panel, tensors)
            except LookupError as error:
                raise tdb.StateError(str(error.args[0])) from None

    return session.ask(compute)


def _picture(session: tdb.Session, arrays: Mapping[str, Array], weights: Array) -> tdb.Picture:
    drawn = drawing_of(arrays, weights, tdb.row_image_shape(session, weights.shape[1]))
    shape = "x".join(map(str, next(iter(arrays.values())).shape))
    caption = f"{drawn.title}: {drawn.said or f'{shape}, {tdb.bounds_of(drawn.values)}'}"
    match drawn.form:
        case "images":
            return tdb.Images(drawn.values, drawn.labels, caption, drawn.title, drawn.signed, drawn.columns)
        case "heatmap":
            return tdb.Matrix(drawn.values, caption, drawn.title, *drawn.axes, signed=drawn.signed)
        case "bars":
            return tdb.Profiles(drawn.values, drawn.labels, caption, drawn.title, drawn.signed, drawn.scales)


def _tensor_names(session: tdb.Session) -> list[tuple[str, str]]:
    known = [in_order(panel.bcl.tensor_names()) for panel in _panels(session)[:1]]
    return [(name, "x".join(AXES[name])) for names in known for name in names]


TensorName = Annotated[str, tdb.Kind("NAME", complete=_tensor_names)]


@tdb.command(running="queued", topic="bcl")
def trace(session: tdb.Session, name: TensorName | None = None, *, all_: bool = False) -> tdb.Result:
    """Follow this batch through the rule: one line a tensor, in the order of the formulas.

    cosine is the mean over all pairs of features (columns of [B, D], rows of [D, F]; of the inputs, over pairs of
    images), variation the standard deviation over the mean. Where features become alike (a cosine above 0.9, made from
    tensors that have less) symmetry "appears", and from there on it "stays". With NAME the tensor is drawn: [B, D] as a
    heatmap, [D] as bars, [D, F] as images. `trace --all FILE.pdf` draws them all on one page.

    Example:
        trace
        trace rank_score
        trace global_target
        trace --all trace.pdf
    """
    if name is not None and not all_:
        return _one_tensor(session, name)
    lines, arrays, weights = _ask(
        session,
        lambda panel, tensors: (
            traced(tensors),
            {name: owned(tensors[name]) for name in in_order(tensors)} if all_ else {},
            owned(panel.bcl.layer.weight),
        ),
    )
    said = verdict(lines)
    note = f"cosine: mean over pairs of features, alike above {SYMMETRIC_ABOVE}; variation: std / |mean|"
    table = tdb.Table(columns_of_lines(lines), note=note, mixed=True)
    data = {"lines": [vars(line) for line in lines], "symmetry": said}
    if not all_:
        return tdb.Result([table, tdb.Text(said)], data)
    pictures = [_picture(session, group, weights) for group in drawn_together(arrays)]
    page = tdb.Page(pictures, columns=3, title=f"the rule: {said}", caption=said)
    return tdb.Result([table, page], data, file=Path(name).expanduser() if name else None)


def _one_tensor(session: tdb.Session, name: str) -> tdb.Result:
    def look(panel: BCLPanel, tensors: dict[str, Tensor]) -> tuple[Array, Array]:
        if name not in tensors or name not in AXES:
            known = in_order(tensors)
            raise tdb.TdbError(f"no tensor {name!r}", tdb.did_you_mean(name, known) or f"Tensors: {', '.join(known)}")
        return owned(tensors[name]), owned(panel.bcl.layer.weight)

    values, weights = _ask(session, look)
    if not values.size:
        raise tdb.TdbError(f"{name} is empty, for there is only one feature")
    return tdb.Result([_picture(session, {name: values}, weights)], {"tensor": name, "values": values})


def _batch(session: tdb.Session) -> tuple[Batch, list[str]]:
    """Return the images of this batch, and what has to be said of them."""

    def look(panel: BCLPanel, tensors: dict[str, Tensor]) -> tuple[Batch, list[str]]:
        loss, notes = None, []
        if panel.image_loss is not None and "inputs" in tensors:
            try:
                loss = panel.image_loss(tensors["inputs"])
            except Exception as error:  # noqa: BLE001 - the model is the user's, and may be what training crashed in
                notes = [f"the images' loss cannot be computed: {tdb.in_words(error)}"]
        labels = session.controller.record.labels
        known = None if labels is None else tdb.array_of(labels)
        return batch_of(tensors, panel.bcl.layer.weight, panel.bcl.config, loss, known), notes

    return _ask(session, look)


@tdb.command(running="queued", topic="bcl")
def image(session: tdb.Session, number: tdb.Integer) -> tdb.Result:
    """Show one image of this batch: which features claim it, its coverage, and the forces it exerts on them.

    A feature claims an image (rank_score above 0.5) if it is stronger than all of its neighbours. grad_mask is the part
    of the image's gradient that reaches the feature, grad_share the image's part in the feature's gradient, pull_share
    its part in the SOM target, and pull how far the image alone moves the feature's weights in this step.

    Example:
        image 17
    """
    batch, notes = _batch(session)
    if not 0 <= number < len(batch):
        raise tdb.TdbError(f"no image {number}", f"images are 0..{len(batch) - 1}")
    seen = batch.image(number)
    rows, claims = seen.concerned(MOST_ROWS), seen.claims
    rule, thresholds = _panel(session).status, session.settings.thresholds()
    table = tdb.Table(
        {"feature_id": rows, **{name: column[rows] for name, column in seen.features.items()}},
        status=rule.with_thresholds(thresholds)(batch.win_rate[rows]) if rule else [],
        note=f"{claims[rows].sum()} of the {claims.sum()} features that claim it, by rank_score"
        + (", and those that it moves most" if "pull" in seen.features else ""),
    )
    parts: list[Any] = [tdb.Facts(seen.facts), table]
    shape = tdb.row_image_shape(session, batch.inputs.shape[1])
    if shape is not None:
        heading = f"image {number}"
        said = f"coverage {seen.facts['coverage']:.3g}, winner {seen.facts['winner']}"
        weights, labels = batch.weights[rows].reshape(-1, *shape), [str(row) for row in rows]
        pictures = [
            tdb.Images(batch.inputs[number].reshape(1, *shape), title=heading, caption=said),
            tdb.Images(weights, labels, "weights of the features in the table", signed=True),
        ]
        caption = f"{heading}, and the weights of features {', '.join(labels)}"
        parts.append(tdb.Page(pictures, columns=2, caption=caption))
    data = {**seen.facts, "table": table, "features": seen.features, "claims": np.flatnonzero(claims)}
    return tdb.Result(parts, data, notes)


@tdb.command(running="queued", topic="bcl")
def images(
    session: tdb.Session,
    *,
    sort: SortName | None = None,
    asc: bool = False,
    desc: bool = False,
    top: tdb.Count = MOST_ROWS,
) -> tdb.Result:
    """Ask which images of this batch cause the most trouble: by their loss, coverage or pull, the greatest first.

    coverage is how much all features together claim an image, pull how far it alone moves all features' weights in
    this step, added up. The loss is the model's after this step. If labels are known, a second table has their means.

    Example:
        images
        images sort pull top 5
        images sort coverage asc
    """
    if asc and desc:
        raise tdb.UsageError("images sorts one way", "asc or desc")
    batch, notes = _batch(session)
    by = sort or batch.sorts[0]
    if by not in batch.columns:
        near = tdb.did_you_mean(by, batch.columns) or f"Columns: {', '.join(batch.columns)}"
        raise (
            tdb.TdbError(f"no {by} of images here", near) if by in SORTS else tdb.UsageError(f"no column {by!r}", near)
        )
    order = batch.order(by, ascending=asc)
    shown = order[:top]
    note = f"{len(shown)} of {tdb.counted(len(order), 'image')}, sorted by {by} {'ascending' if asc else 'descending'}"
    table = tdb.Table(batch.rows(shown), summary=batch.summary(), note=note)
    data: dict[str, Any] = {"table": table, "order": order, "columns": batch.columns, "labels": batch.labels}
    parts: list[Any] = [table]
    means = batch.by_label()
    if means is not None:
        data["labels_table"] = tdb.Table(means, note="means over the images of a label")
        parts.append(data["labels_table"])
    shape = tdb.row_image_shape(session, batch.inputs.shape[1])
    if shape is not None:
        labels = [f"{row}: {batch.columns[by][row]:.3g}" for row in shown]
        caption = f"{tdb.counted(len(shown), 'image')} by {by}, {'least' if asc else 'greatest'} first"
        pixels, title = batch.inputs[shown].reshape(-1, *shape), f"images by {by}"
        parts.append(tdb.Images(pixels, labels, caption, title, columns=min(top, 10)))
    return tdb.Result(parts, data, notes)


def _faring(session: tdb.Session) -> Faring:
    def look() -> Faring:
        panel = _panel(session)
        if panel.tracker is None:
            raise tdb.StateError("nobody follows the features' health here", "bcl_panel takes a BCLHealthTracker")
        return faring(panel.tracker, panel.bcl.layer.weight)

    return session.ask(look)


@tdb.command(running="queued", topic="bcl")
def health(session: tdb.Session, *ids: tdb.Ids, runs: bool = False) -> tdb.Result:
    """Show how the features fare, epoch by epoch: how many are dead, contenders and winners, stale and unreachable.

    gini says how unequal the win rates are, top5_share what share the best five have, dead_diversity how alike the 20
    features of lowest win rate are (mean cosine), velocity how far weights moved since the last epoch. The last line is
    the epoch under way. With IDS: the features themselves, by the mean of this epoch's win rates. `health runs`
    compares the conditions trained so far.

    Example:
        health
        health 31
        health @dead
        health runs
    """
    if runs and ids:
        raise tdb.UsageError("health runs compares conditions, and takes no features", "Example: health runs")
    now = _faring(session)
    rows = now.each_run() if runs else now.epochs
    if not rows:
        raise tdb.StateError("no step has been taken yet", "`step` takes the first")
    parts: list[Any] = []
    if runs:
        each = "each " if len(rows) > 1 else ""
        table = tdb.Table(columns(rows), note=f"{tdb.counted(len(rows), 'run')}, {each}in its last epoch")
    elif ids:
        known = replace(tdb.features_now(session), status=now.features["status"])  # @dead is what the table calls dead
        features = tdb.feature_ids(session, ids, known)
        steps = tdb.counted(rows[-1]["steps"], "step")
        note = f"means of epoch {rows[-1]['epoch']}, {steps}" + (", under way" if now.steps_under_way else "")
        table = tdb.Table({"feature_id": features, **now.numbers_of(features)}, now.status_of(features), note=note)
    else:
        steps = tdb.counted(now.steps_under_way, "step")
        under_way = f", the last one under way for {steps}" if now.steps_under_way else ""
        table = tdb.Table(columns(rows), title=now.run, note=f"{tdb.counted(len(rows), 'epoch')}{under_way}")
        if len(rows) > 1:
            parts.append(_counts(now))
    return tdb.Result([table, *parts], {**now.data, "table": table})


def _counts(now: Faring) -> tdb.Curves:
    lines = now.counts()
    caption = ", ".join(f"{counts[-1]} {word}" for word, (_epochs, counts) in lines.items())
    return tdb.Curves(lines, "features", "epoch", caption=caption, title=f"health of {now.run}")


COMMANDS = (trace, image, images, health)
