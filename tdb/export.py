"""History and trajectories in a file: JSON, CSV, NPZ or Parquet, by the file's suffix.

All four hold every recorded value of every timeline, in full precision, with the tick, step and timeline it belongs to.
A tick is one boundary and never used twice, so it is the key on which everything can be joined.

JSON and NPZ keep what was recorded apart. JSON has one object, NPZ one array a column under "TABLE/COLUMN":

    steps                 tick, step, wall_time, loss, timeline, epoch     [n]; epoch -1 where the loop did not tell it
    marks                 tick, step, timeline, word                       [k]
    left_out              tick, step, timeline; only if `overhead` was used                  [l]
    metrics/LAYER         tick, step, timeline, and a column a metric      [n], metrics [n, D]
    trajectories/FEATURE  step, timeline, tick, segment, weight_cos_to_init, and a column a metric     [n]
    pairs/ONE-OTHER       step, timeline, tick, cos                        [n]

FEATURE and ONE-OTHER are of the layer in focus; those of another layer have its name before them, LAYER.FEATURE.

In JSON, NaN and infinities are the strings "NaN", "Infinity" and "-Infinity", and `"format": "tdb history"` and
`"version": 1` come first. Metrics are float32, and written as the exact value of that float32.

CSV and Parquet are one table, a row a tick, ordered by tick: tick, timeline, step, epoch, wall_time, loss, mark, then
left_out (1 where `overhead` kept tdb out of a step), `LAYER.METRIC`, `watch.FEATURE.COLUMN`, and
`cos.ONE-OTHER`. What a tick did not record is an empty cell in CSV and null in Parquet; NaN is `nan`. A metric of D
features is one column of lists in Parquet, and D columns `LAYER.METRIC[0]` ... in CSV.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from tdb.counted import counted
from tdb.errors import TdbError, UsageError
from tdb.files import replacing

if TYPE_CHECKING:
    from tdb.history import History
    from tdb.results import Array
    from tdb.watches import Watches

Tables: TypeAlias = "dict[str, dict[str, Array]]"

# Enough rows at a time to keep the writers busy, few enough to keep their text small beside the history itself.
ROWS_AT_A_TIME = 256


def export(
    path: str | Path,
    history: History,
    watches: Watches | None = None,
    stop: tuple[int, str] | None = None,
    out_of_focus: Mapping[str, Watches] | None = None,
) -> str:
    """Write history and trajectories to `path`, and return one line that says what was written.

    Args:
        path: of the file.
        history: what was recorded.
        watches: those of the layer in focus.
        stop: the step at which training stands and why, which history does not know yet.
        out_of_focus: the watches of other layers, by the layer's name.

    The file is written beside `path` under another name and moved into place when it is whole: a full disk or an
    interrupt leaves what was there as it was.

    Raises:
        UsageError: the suffix is none of .json, .csv, .npz and .parquet.
        TdbError: the file cannot be written, or Parquet is asked for and pyarrow is not installed.
    """
    path = Path(path).expanduser()
    write = WRITERS.get(path.suffix.lower())
    if write is None:
        raise UsageError(f"export cannot write {path.name!r}", f"Use a suffix of {', '.join(WRITERS)}")
    tables = history.tables(stop)
    if watches is not None:
        tables |= _trajectories(watches)
    for layer, others in (out_of_focus or {}).items():
        tables |= _trajectories(others, f"{layer}.")
    with replacing(path) as temporary, temporary.open("wb") as file:
        write(tables, file)
        file.flush()
        os.fsync(file.fileno())
    steps = counted(len(tables["steps"]["step"]), "step")
    followed = counted(sum(title.startswith("trajectories/") for title in tables), "trajectory", "trajectories")
    return f"{path}: {steps}, {followed}, {path.stat().st_size:,} bytes"


def _trajectories(watches: Watches, layer: str = "") -> Tables:
    followed = {f"trajectories/{layer}{feature}": watches.trajectory(feature) for feature in watches.features()}
    pairs = {f"pairs/{layer}{one}-{other}": watches.pair_columns(one, other) for one, other in watches.pairs()}
    return followed | pairs


def _write_npz(tables: Tables, file: IO[bytes]) -> None:
    arrays = {f"{title}/{name}": values for title, table in tables.items() for name, values in table.items()}
    np.savez(file, **arrays)  # type: ignore[arg-type]


def _write_json(tables: Tables, file: IO[bytes]) -> None:
    nested: dict[str, Any] = {"format": "tdb history", "version": 1}
    for title, table in tables.items():
        kind, _, key = title.partition("/")
        if "/" in title:
            nested.setdefault(kind, {})[key] = table
        else:
            nested[kind] = table
    for text in _json(nested):
        file.write(text.encode())
    file.write(b"\n")


def _json(value: Any) -> Iterator[str]:
    """Give the JSON text of nested mappings of arrays piece by piece, so that it is never in memory whole."""
    if isinstance(value, Mapping):
        yield "{"
        for position, (key, item) in enumerate(value.items()):
            yield f"{', ' if position else ''}{json.dumps(key)}: "
            yield from _json(item)
        yield "}"
    elif isinstance(value, np.ndarray):
        yield "["
        for start in range(0, len(value), ROWS_AT_A_TIME):
            text = json.dumps(_spelled(value[start : start + ROWS_AT_A_TIME]), allow_nan=False)
            yield f"{', ' if start else ''}{text[1:-1]}"
        yield "]"
    else:
        yield json.dumps(value)


def _spelled(values: Array) -> Any:
    """Return an array as lists, with what JSON cannot say in words."""
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return values.tolist()
    spelled = values.astype(object)
    spelled[np.isnan(values)] = "NaN"
    spelled[np.isposinf(values)] = "Infinity"
    spelled[np.isneginf(values)] = "-Infinity"
    return spelled.tolist()


class Column(NamedTuple):
    """A column of the wide table: `values` [k] or [k, D] stand in its `rows` [k], which ascend; others are empty."""

    name: str
    rows: Array
    values: Array


def _wide(tables: Tables) -> tuple[int, list[Column]]:
    """Join all tables on the tick; return the number of rows and the columns."""
    ticks = np.unique(np.concatenate([table["tick"] for table in tables.values()]))
    clock = {name: np.zeros(len(ticks), dtype=np.int64) for name in ("timeline", "step")}
    columns: list[Column] = []
    for title, table in tables.items():
        rows = np.searchsorted(ticks, table["tick"])
        for name, values in clock.items():
            values[rows] = table[name]
        columns += _joined(title, table, rows)
    everywhere = np.arange(len(ticks))
    key = [Column(name, everywhere, values) for name, values in {"tick": ticks, **clock}.items()]
    return len(ticks), [*key, *columns]


def _joined(title: str, table: Mapping[str, Array], rows: Array) -> Iterator[Column]:
    kind, _, key = title.partition("/")
    if kind == "steps":
        told = table["epoch"] >= 0
        yield Column("epoch", rows[told], table["epoch"][told])
        yield Column("wall_time", rows, table["wall_time"])
        yield Column("loss", rows, table["loss"])
    elif kind == "left_out":
        yield Column("left_out", rows, np.ones(len(rows), np.int8))
    elif kind == "marks":
        last = np.unique(rows[::-1], return_index=True)
        yield Column("mark", last[0], table["word"][::-1][last[1]])
    else:
        layer = f"{key}." if key else ""
        form = {"metrics": f"{layer}{{}}", "trajectories": f"watch.{key}.{{}}", "pairs": f"{{}}.{key}"}
        for name, values in table.items():
            if name not in ("tick", "step", "timeline"):
                yield Column(form[kind].format(name), rows, values)


def _write_csv(tables: Tables, file: IO[bytes]) -> None:
    count, columns = _wide(tables)
    header: list[str] = []
    places: list[slice] = []
    for name, _, values in columns:
        names = [name] if values.ndim == 1 else [f"{name}[{feature}]" for feature in range(values.shape[1])]
        places.append(slice(len(header), len(header) + len(names)))
        header += names
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    for start in range(0, count, ROWS_AT_A_TIME):
        cells = np.full((min(ROWS_AT_A_TIME, count - start), len(header)), "", dtype=object)
        for (_, rows, values), place in zip(columns, places, strict=True):
            low, high = np.searchsorted(rows, [start, start + ROWS_AT_A_TIME])
            block = values[low:high].reshape(high - low, place.stop - place.start)
            cells[rows[low:high] - start, place] = block.astype(object)
        writer.writerows(cells.tolist())
    text.detach()  # flushes, and leaves the file to the one who opened it


def _write_parquet(tables: Tables, file: IO[bytes]) -> None:
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise TdbError("Parquet is written by pyarrow, which is not installed", "pip install pyarrow") from None
    count, columns = _wide(tables)
    arrays = {}
    for name, rows, values in columns:
        if values.ndim == 1:
            full = np.zeros(count, values.dtype)
            full[rows] = values
            absent = np.ones(count, dtype=bool)
            absent[rows] = False
            arrays[name] = arrow.array(full, mask=absent)
        else:
            starts = np.searchsorted(rows, np.arange(count + 1)) * values.shape[1]
            absent = np.ones(count + 1, dtype=bool)
            absent[[*rows, count]] = False
            offsets = arrow.array(starts.astype(np.int32), mask=absent)
            arrays[name] = arrow.ListArray.from_arrays(offsets, arrow.array(values.reshape(-1)))
    parquet.write_table(arrow.table(arrays), file)


WRITERS: Mapping[str, Callable[[Tables, IO[bytes]], None]] = {
    ".json": _write_json,
    ".csv": _write_csv,
    ".npz": _write_npz,
    ".parquet": _write_parquet,
}
