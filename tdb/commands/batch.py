"""What the step handed over: the batch, and the step data."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.commands import command
from tdb.commands.arguments import KeyName
from tdb.counted import counted
from tdb.errors import NotCapturedError
from tdb.queries import array_of, batch_images, batch_table
from tdb.results import Array, Facts, Result, Table
from tdb.tensors import look_up, tensor_value, tensors_table
from tdb.this_step import data_names, is_of_now, step_data

if TYPE_CHECKING:
    from tdb.session import Session

MOST_LABELS = 20


@command(running="now")
def batch(session: Session) -> Result:
    """Show this step's batch: step, loss, shape, range and labels, and its images as a grid.

    A batch that is no batch of images gets a table of its tensors instead. `-o FILE` writes the picture.

    Example:
        batch
        batch -o batch.png
    """
    record = session.record()
    if record.clock.step == 0 and not record.has_batch:  # training has run on to its end without one
        raise NotCapturedError("no batch of this step was kept")
    table = batch_table(record.batch)
    labels = None if record.labels is None else array_of(record.labels).reshape(-1)
    facts = {"step": record.clock.step, "epoch": record.epoch, "loss": record.loss}
    data = {**facts, "tensors": table, "labels": labels}
    parts: list[Facts | Table] = [Facts({**facts, **_labels(labels)}), table]
    images = batch_images(record.batch, record.labels, record.clock.step, session.controller.image_shape)
    now = session.controller.position.step
    notes = [] if is_of_now(session, record) else [f"training stands at step {now}: no batch was kept of it"]
    return Result([*parts, images] if images is not None else parts, data, notes)


def _labels(labels: Array | None) -> dict[str, str]:
    """Return how often each label occurs, in words; nothing if there are too many for that to be a summary."""
    if labels is None or labels.dtype.kind not in "iu":
        return {}
    values, counts = np.unique(labels, return_counts=True)
    if len(values) > MOST_LABELS:
        return {"labels": f"{counted(len(labels), 'label')}, {len(values)} different"}
    return {"labels": ", ".join(f"{count} x {value}" for value, count in zip(values, counts, strict=True))}


@command(running="now")
def keys(session: Session) -> Result:
    """List what this step captured under a key.

    Example:
        keys
    """

    def look() -> tuple[int, list[str], list[Any]]:
        record = session.controller.record
        names = data_names(session, record)
        clock = record.clock if is_of_now(session, record) else session.controller.position
        return clock.step, names, [step_data(session, record, name) for name in names]

    step, names, contents = session.ask(look)
    kinds = [
        counted(len(value), "entry", "entries") if isinstance(value, dict) else type(value).__name__
        for value in contents
    ]
    inside = [", ".join(map(str, value)) if isinstance(value, dict) else "" for value in contents]
    note = counted(len(names), "key") if names else "nothing was captured in this step"
    table = Table({"key": names, "kind": kinds, "entries": inside}, note=note)
    return Result([table], {"step": step, "keys": names})


@command(running="now")
def data(session: Session, key: KeyName) -> Result:
    """Look at captured data: shape, dtype, device, range, NaN and inf counts, values.

    KEY is a key of `keys`, an entry of it after a dot, and a slice as numpy takes it.

    Example:
        data bcl_metrics
        data bcl_tensors.rank_score[0:5, 17]
    """

    def look() -> Result:
        record = session.controller.record
        value = look_up(key, {name: partial(step_data, session, record, name) for name in data_names(session, record)})
        if isinstance(value, dict):
            return Result([tensors_table(value)], {"key": key, "entries": value})
        part = tensor_value(key, value)
        return Result([part], {"key": key, "tensor": part})

    return session.ask(look)
