"""`trace`: one batch through the rule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from bcl.panel.attached import BCLPanel, ask, own_copy
from bcl.trace import AXES, IDS, SYMMETRIC_ABOVE, in_order, verdict
from bcl.trace import trace as traced
from tdb.panel import (
    Images,
    Kind,
    Matrix,
    Page,
    Profiles,
    Result,
    Table,
    TdbError,
    Text,
    bounds_of,
    command,
    did_you_mean,
    row_image_shape,
)

if TYPE_CHECKING:
    from torch import Tensor

    from tdb.panel import Picture, Session

THUMBNAILS = 36  # in a row
FARING = ("feature_novelty", "win_rate")


def _tensor_names(session: Session) -> list[tuple[str, str]]:
    panel = next((each for each in session.controller.panels if isinstance(each, BCLPanel)), None)
    return [] if panel is None else [(name, "x".join(AXES[name])) for name in in_order(panel.bcl.tensor_names())]


TensorName = Annotated[str, Kind("NAME", complete=_tensor_names)]


@command(running="queued", topic="bcl")
def trace(session: Session, name: TensorName | None = None, *, all_: bool = False) -> Result:
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
        return _drawn(session, name)
    lines, arrays, weights = ask(
        session,
        lambda panel, tensors: (
            traced(tensors),
            {name: own_copy(tensors[name]) for name in in_order(tensors)} if all_ else {},
            own_copy(panel.bcl.layer.weight),
        ),
    )
    not_finite = [line.not_finite for line in lines]
    table = Table(
        {
            "tensor": [line.name for line in lines],
            "shape": ["x".join(map(str, line.shape)) for line in lines],
            "min": [line.low for line in lines],
            "max": [line.high for line in lines],
            **({"not finite": not_finite} if any(not_finite) else {}),
            "cosine": [_three(line.cosine) for line in lines],
            "variation": [_three(line.variation) for line in lines],
            "symmetry": [line.symmetry for line in lines],
        },
        note=f"cosine: mean over pairs of features, alike above {SYMMETRIC_ABOVE}; variation: std / |mean|",
        mixed=True,
    )
    said = verdict(lines)
    data = {"lines": [vars(line) for line in lines], "symmetry": said}
    if not all_:
        return Result([table, Text(said)], data)
    page = _page(session, arrays, weights, said)
    return Result([table, page], data, file=Path(name).expanduser() if name else None)


def _drawn(session: Session, name: str) -> Result:
    def look(panel: BCLPanel, tensors: dict[str, Tensor]) -> tuple[Any, Any]:
        if name not in tensors or name not in AXES:
            known = in_order(tensors)
            raise TdbError(f"no tensor {name!r}", did_you_mean(name, known) or f"Tensors: {', '.join(known)}")
        return own_copy(tensors[name]), own_copy(panel.bcl.layer.weight)

    values, weights = ask(session, look)
    if not values.size:
        raise TdbError(f"{name} is empty, for there is only one feature")
    return Result([_picture(session, {name: values}, weights)], {"tensor": name, "values": values})


def _page(session: Session, arrays: Mapping[str, Any], weights: Any, caption: str) -> Page:
    """Return all tensors on a page; those of one number a feature stand together, so that they can be compared."""
    one = [name for name in arrays if AXES[name] == "D" and name not in FARING]
    groups: list[list[str]] = []
    for name in arrays:
        together = next((group for group in (FARING, one) if name in group), [name])
        members = [member for member in arrays if member in together]
        if members not in groups and name not in IDS[1:] and arrays[name].size:
            groups.append(members)
    pictures = [_picture(session, {name: arrays[name] for name in group}, weights) for group in groups]
    return Page(pictures, columns=3, title=f"the rule: {caption}", caption=caption)


def _picture(session: Session, arrays: Mapping[str, Any], weights: Any) -> Picture:
    """Return a picture of a tensor, as its axes ask for, or of several with one number a feature."""
    name, values = next(iter(arrays.items()))
    title, caption = ", ".join(arrays), f"{'x'.join(map(str, values.shape))}, {bounds_of(values)}"
    caption = f"{title}: {caption if len(arrays) == 1 else 'a bar for each feature'}"
    shape, signed = row_image_shape(session, weights.shape[1]), bool((values < 0).any())
    match AXES[name]:
        case "Dk" if shape is not None:
            members = np.concatenate([np.arange(len(values))[:, None], values], axis=1)  # [D, 1 + k]
            labels = [str(row) if at == 0 else "" for row in range(len(values)) for at in range(members.shape[1])]
            several = max(THUMBNAILS // members.shape[1], 1) * members.shape[1]
            caption = f"neighbours: under its number a feature's weights, then its {values.shape[1]} neighbours'"
            return Images(weights[members.ravel()].reshape(-1, *shape), labels, caption, title, True, several)
        case "DF" | "BF" if shape is not None:
            numbers = [str(row) for row in range(len(values))]
            return Images(values.reshape(-1, *shape), numbers, caption, title, signed)
        case "BD":
            return Matrix(values, caption, title, "image", "feature", signed=signed)
        case "Dk":
            return Matrix(values, caption, title, "feature", "neighbour", signed=False)
        case "DF" | "BF":
            return Profiles(values, [str(row) for row in range(len(values))], caption, title, signed)
    rows = np.stack(list(arrays.values()))
    labels = list(arrays) if len(rows) > 1 else []
    return Profiles(
        rows,
        labels,
        caption,
        title,
        signed,
        [float(np.abs(row[np.isfinite(row)]).max(initial=0.0)) or 1.0 for row in rows],
    )


def _three(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
