"""What is exported is what was recorded, to the last bit, or the file stays as it was."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tdb.export
from tdb.errors import TdbError, UsageError
from tdb.export import export
from tdb.history import History
from tdb.watches import Watches
from tests.histories import append

pytestmark = pytest.mark.filterwarnings("error")

WORDS = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
LOSSES = [0.1, np.nan, np.inf, -np.inf, 1 / 3, 5e-324]


def a_run() -> tuple[History, Watches]:
    """Six steps: metrics at every second, two layers, a fork before the last, one step's epoch unknown."""
    draw = np.random.default_rng(1)
    history = History()
    watches = Watches(history.budget)
    weights = draw.standard_normal((4, 9)).astype(np.float32)
    watches.add([1, 3], weights)
    for step, loss in enumerate(LOSSES, 1):
        metrics: dict[str, Any] = {"win_rate": draw.random(4, np.float32), "novelty": np.full(4, 1 / step)}
        history.focus("decoder" if step == 4 else "encoder.0")
        if step == 4:
            metrics = {"weight_norm": np.array([0.1, np.nan])}
        timeline = int(step == 6)
        epoch = None if step == 3 else step // 4
        append(history, timeline, 10 * step, step, epoch, step / 7, loss, None if step % 2 else metrics, step == 5)
        weights += 0.1
        if step == 2:
            history.mark(2, "pause")
        if step == 5:
            history.mark(5, "breakpoint 1, when win_rate[3] < 0.01")
            watches.add([0], weights)
        ids = watches.get_watched()
        place, rates = np.array([[10 * step, step]]), draw.random((1, 1, len(ids)), np.float32)
        watches.append(timeline, place, weights[ids][None], ("win_rate",), rates)
    return history, watches


def assert_same(found: Any, expected: Any) -> None:
    """The same to the last bit, NaN where NaN."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    if expected.dtype.kind == "U":
        assert found.tolist() == expected.tolist()
    else:
        np.testing.assert_array_equal(found.astype(np.float64), expected.astype(np.float64), strict=True)


def all_tables(history: History, watches: Watches) -> dict[str, dict[str, Any]]:
    tables = history.tables()
    tables |= {f"trajectories/{feature}": watches.trajectory(feature) for feature in watches.features()}
    return tables | {f"pairs/{one}-{other}": watches.pair_columns(one, other) for one, other in watches.pairs()}


def test_the_example_has_all_there_is(tmp_path: Path) -> None:
    history, watches = a_run()
    assert list(all_tables(history, watches)) == [
        "steps",
        "marks",
        "metrics/encoder.0",
        "metrics/decoder",
        "trajectories/0",
        "trajectories/1",
        "trajectories/3",
        "pairs/0-1",
        "pairs/0-3",
        "pairs/1-3",
    ]
    path = tmp_path / "run.json"
    assert export(path, history, watches) == f"{path}: 6 steps, 3 trajectories, {path.stat().st_size:,} bytes"


def test_json_holds_every_value(tmp_path: Path) -> None:
    history, watches = a_run()
    export(tmp_path / "run.json", history, watches)
    text = (tmp_path / "run.json").read_text()

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    found = json.loads(text, parse_constant=refuse)
    assert (found.pop("format"), found.pop("version")) == ("tdb history", 1)
    assert list(found) == ["steps", "marks", "metrics", "trajectories", "pairs"]
    for title, table in all_tables(history, watches).items():
        kind, _, key = title.partition("/")
        read = found[kind][key] if key else found[kind]
        assert list(read) == list(table)
        for name, values in table.items():
            plain = read[name]
            if values.dtype.kind == "f":
                plain = [
                    [WORDS.get(x, x) for x in row] if isinstance(row, list) else WORDS.get(row, row) for row in plain
                ]
            assert_same(plain, values)


def test_npz_holds_every_value(tmp_path: Path) -> None:
    history, watches = a_run()
    export(tmp_path / "run.npz", history, watches)
    expected = {
        f"{title}/{name}": values
        for title, table in all_tables(history, watches).items()
        for name, values in table.items()
    }
    with np.load(tmp_path / "run.npz", allow_pickle=False) as found:
        assert sorted(found) == sorted(expected)
        for name, values in expected.items():
            assert found[name].dtype == values.dtype
            assert_same(found[name], values)


def wide_by_loops(history: History, watches: Watches) -> tuple[list[int], dict[str, dict[int, Any]]]:
    """What CSV and Parquet should hold: the ticks, and column -> tick -> value where there is one."""
    cells: dict[str, dict[int, Any]] = {}
    ticks = set()
    for title, table in all_tables(history, watches).items():
        kind, _, key = title.partition("/")
        for row, tick in enumerate(table["tick"].tolist()):
            ticks.add(tick)
            for name, values in table.items():
                if kind == "steps" and name == "epoch" and values[row] < 0:
                    continue
                column = {
                    "steps": name,
                    "marks": "mark" if name == "word" else name,
                    "metrics": f"{key}.{name}",
                    "trajectories": f"watch.{key}.{name}",
                    "pairs": f"cos.{key}",
                }[kind]
                column = name if name in ("tick", "step", "timeline") else column
                cells.setdefault(column, {})[tick] = values[row]
    return sorted(ticks), cells


def test_csv_is_one_row_a_tick(tmp_path: Path) -> None:
    history, watches = a_run()
    export(tmp_path / "run.csv", history, watches)
    with (tmp_path / "run.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    ticks, cells = wide_by_loops(history, watches)
    assert [int(row["tick"]) for row in rows] == ticks
    assert list(rows[0])[:7] == ["tick", "timeline", "step", "epoch", "wall_time", "loss", "mark"]
    names = [name for name in rows[0] if not name.startswith(("encoder.0.", "decoder."))]
    assert sorted(names) == sorted(name for name in cells if not name.startswith(("encoder.0.", "decoder.")))
    for row, tick in zip(rows, ticks, strict=True):
        for name, known in cells.items():
            value = known.get(tick)
            if isinstance(value, np.ndarray):
                assert_same([float(row[f"{name}[{feature}]"]) for feature in range(len(value))], value)
            elif name.startswith(("encoder.0.", "decoder.")):
                assert row[f"{name}[0]"] == ""
            elif value is None:
                assert row[name] == ""
            elif name == "mark":
                assert row[name] == value
            else:
                assert_same(float(row[name]), value)


def test_parquet_is_one_row_a_tick(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is optional")
    history, watches = a_run()
    export(tmp_path / "run.parquet", history, watches)
    table = parquet.read_table(tmp_path / "run.parquet")
    ticks, cells = wide_by_loops(history, watches)
    assert table.column("tick").to_pylist() == ticks
    assert sorted(table.column_names) == sorted(cells)
    assert str(table.schema.field("encoder.0.win_rate").type.value_type) == "float"
    for name, known in cells.items():
        for tick, value in zip(ticks, table.column(name).to_pylist(), strict=True):
            if tick not in known:
                assert value is None
            else:
                assert_same(value, known[tick])


def test_parquet_without_pyarrow_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(TdbError, match=r"Parquet is written by pyarrow, which is not installed. pip install pyarrow"):
        export(tmp_path / "run.parquet", *a_run())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".json", ".csv", ".npz"])
def test_an_empty_history_makes_a_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"run{suffix}"
    assert export(path, History()).startswith(f"{path}: 0 steps, 0 trajectories")
    if suffix == ".csv":
        assert path.read_text().strip() == "tick,timeline,step,epoch,wall_time,loss,mark"


def test_long_runs_are_written_in_pieces_that_join(tmp_path: Path) -> None:
    history = History()
    for step in range(1, 1002):
        append(history, 0, step, step, 0, 0.0, step / 3, {"a": np.array([step, step / 7])} if step % 2 else None)
    export(tmp_path / "run.json", history)
    found = json.loads((tmp_path / "run.json").read_text())
    assert found["steps"]["loss"] == [step / 3 for step in range(1, 1002)]
    assert_same(found["metrics"][""]["a"], history.metric("a")[1])
    export(tmp_path / "run.csv", history)
    with (tmp_path / "run.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["loss"] for row in rows] == [repr(step / 3) for step in range(1, 1002)]
    assert [row["a[0]"] for row in rows] == [repr(float(step)) if step % 2 else "" for step in range(1, 1002)]


# ---- what can go wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run.txt", "run", ".json"])
def test_an_unknown_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"Use a suffix of .json, .csv, .npz, .parquet"):
        export(tmp_path / name, History())


def test_a_folder_that_does_not_exist_is_said(tmp_path: Path) -> None:
    with pytest.raises(TdbError, match=r"cannot write .*run\.json: No such file or directory"):
        export(tmp_path / "nowhere" / "run.json", History())


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "run.json").symlink_to(tmp_path / "real" / "run.json")
    export(tmp_path / "run.json", History())
    assert (tmp_path / "run.json").is_symlink()
    assert json.loads((tmp_path / "real" / "run.json").read_text())["version"] == 1


def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path) -> None:
    """The kernel refuses to let any file of the child grow past 20 kB, as a full disk does."""
    path = tmp_path / "run.json"
    path.write_text("what was there before")
    script = """
        import resource, sys
        from tdb.errors import TdbError
        from tdb.export import export
        from tdb.history import History

        history = History()
        history.append_steps(0, [(step, step, 0, step / 3, 0.0) for step in range(5000)])
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        for suffix in (".json", ".csv", ".npz"):
            try:
                export(sys.argv[1].replace(".json", suffix), history)
            except TdbError as error:
                print(error)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)], capture_output=True, text=True, check=False
    )
    assert run.stderr == ""
    lines = run.stdout.splitlines()
    assert len(lines) == 3
    for line, suffix in zip(lines, (".json", ".csv", ".npz"), strict=True):
        assert line.startswith(f"cannot write {tmp_path / 'run'}{suffix}: File too large")
    assert path.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [path]


def test_who_may_read_and_write_a_file_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("what was there before")
    path.chmod(0o640)
    export(path, *a_run())
    assert (path.stat().st_mode & 0o777, path.read_text()[:2]) == (0o640, '{"')
    path.write_text("what was there before")
    path.chmod(0o444)
    with pytest.raises(TdbError, match=r"cannot write .*/run.json: it is read-only"):
        export(path, *a_run())
    assert path.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    path = tmp_path / "run.json"
    path.write_text("what was there before")
    whole: Callable[..., None] = tdb.export.WRITERS[".json"]

    def interrupted(tables: Any, file: Any) -> None:
        whole(tables, file)
        raise error

    monkeypatch.setattr(tdb.export, "WRITERS", {".json": interrupted})
    with pytest.raises(error):
        export(path, *a_run())
    assert path.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [path]
