"""Checkpoints in files: written and read whole or not at all, and gone with the process that they belong to."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tdb.errors import StateError, TdbError
from tdb.step import Position
from tdb.target import Training
from tdb.travel import files, spill
from tdb.travel.checkpoints import MOST_IN_FILES, Checkpoint, Checkpoints
from tdb.travel.plain import decoded, encoded
from tdb.travel.slots import Slots
from tdb.travel.snapshot import Snapshot
from tdb.travel.spill import PREFIX, Spill, remove_dead
from tdb.travel.state import State
from tests.travel.training import Prompt, undisturbed

Start = Callable[..., Prompt]


def test_what_was_written_in_one_run_goes_on_in_another(start: Start, tmp_path: Path) -> None:
    expected, file = undisturbed("bcl-med"), tmp_path / "at-50.safetensors"
    first = start("bcl-med")
    first.do("until", "50")
    said = first.do("checkpoint", output=file)
    assert said.data["step"] == 50
    assert list(tmp_path.iterdir()) == [file]
    first.close()
    other = start("bcl-med")
    other.do("step", 3)
    assert other.do("checkpoint", load=file).data["branch"] == "loaded-1"
    assert (other.step, other.digest()) == (50, expected[50])
    other.do("until", "58")
    assert other.digest() == expected[58]
    other.do("back", 6)
    assert other.digest() == expected[52]
    with pytest.raises(StateError, match="in place: this loop began at step 50"):
        other.do("goto", 49)
    other.do("switch", "main")
    assert (other.step, other.digest()) == (3, expected[3])
    other.do("back")
    assert other.digest() == expected[2]


def test_whatever_else_is_refused_and_changes_nothing(start: Start, tmp_path: Path) -> None:
    prompt = start("control")
    prompt.do("until", "20")
    whole = tmp_path / "whole.safetensors"
    prompt.do("checkpoint", output=whole)
    prompt.do("until", "30")
    before = prompt.digest()
    data = whole.read_bytes()
    (tmp_path / "half").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "header").write_bytes(data.replace(b'\\"given\\"', b'\\"taken\\"').replace(b'"tuple"', b'"tupel"'))
    torch.save({"weight": torch.ones(3)}, tmp_path / "torch")
    (tmp_path / "pickle").write_bytes(pickle.dumps({"weight": [1.0]}))
    save_file({"weight": torch.ones(3)}, tmp_path / "tensors")
    for name in ("half", "empty", "header", "torch", "pickle", "tensors", "absent", "."):
        with pytest.raises(StateError) as raised:
            prompt.do("checkpoint", load=tmp_path / name)
        assert "\n" not in str(raised.value)
        assert str(raised.value).count(f"/{name}") == 1 or name == "."
    assert prompt.digest() == before
    assert [each.name for each in prompt.controller.travel.branches] == ["main"]
    with pytest.raises(TdbError, match="cannot write"):
        prompt.do("checkpoint", output=tmp_path / "no" / "folder.safetensors")
    prompt.close()
    rule = start("bcl-med")
    rule.do("step", 2)
    before = rule.digest()
    with pytest.raises(StateError, match=r"of another training: panel bcl.*: none there"):
        rule.do("checkpoint", load=whole)
    assert rule.digest() == before


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (nn.Linear(4, 3), r"parameter weight: \[2, 4\] torch.float32 there, \[3, 4\] torch.float32 here"),
        (nn.Linear(4, 2, dtype=torch.float64), "torch.float32 there.*torch.float64 here"),
        (nn.Sequential(nn.Linear(4, 2)), "parameter 0.weight: none there"),
    ],
)
def test_another_model_is_named_by_its_first_difference(other: nn.Module, said: str, tmp_path: Path) -> None:
    model = nn.Linear(4, 2)
    state = State(Training(model, [torch.optim.SGD(model.parameters(), lr=1)]), [], {})
    files.write(tmp_path / "it", state.take(Slots()), Position(7, 7))
    snapshot, about = files.read(tmp_path / "it")
    assert about["step"] == 7
    state.check(snapshot)
    with pytest.raises(StateError, match=said):
        State(Training(other, [torch.optim.SGD(other.parameters(), lr=1)]), [], {}).check(snapshot)
    with pytest.raises(StateError, match="optimizer 0: SGD there, Adam here"):
        State(Training(model, [torch.optim.Adam(model.parameters(), lr=1)]), [], {}).check(snapshot)


class Pair(NamedTuple):
    one: Any
    other: Any


def test_states_of_all_shapes_come_back_from_json() -> None:
    tensors: dict[str, torch.Tensor] = {}

    def lift(tensor: torch.Tensor) -> str:
        return tensors.setdefault(str(len(tensors)), tensor) is tensor and str(len(tensors) - 1)

    value = [
        {"a": 1, 2: (3.5, None, True), (4, "x"): {5, 6}, 1.5: frozenset({"f"})},
        [float("inf"), -0.0, 1e-310, 2**70, "\ud800 ü", b"\x00\xff", 1 + 2j],
        Counter({3: 2}),
        Pair(torch.arange(3, dtype=torch.bfloat16), np.arange(6, dtype=np.uint32).reshape(2, 3)),
        np.float32(0.1),
    ]
    back = decoded(encoded(value, lift), tensors.__getitem__)
    assert repr(back) == repr(value)
    assert [type(each) for each in back] == [type(each) for each in value]
    assert np.isnan(decoded(encoded(float("nan"), lift), tensors.__getitem__))
    with pytest.raises(StateError, match="a lock cannot be written to a file"):
        encoded({"lock": __import__("threading").Lock()}, lift)


@pytest.mark.usefixtures("checkpoint_at_each_stop")
def test_what_does_not_fit_into_memory_goes_to_files(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "SHARE", 1e9)
    expected = undisturbed("control")
    prompt = start("control")
    settings, checkpoints = prompt.session.settings, prompt.controller.travel.checkpoints
    settings.change("checkpoints.spill", str(tmp_path / "here"))
    settings.change("checkpoints.budget", "1MiB")
    for step in range(6, 60, 3):
        prompt.do("until", str(step))
    listed = prompt.do("checkpoints").data["table"].columns
    names = [name for name in listed["file"] if name]
    (folder,) = (tmp_path / "here").glob(f"{PREFIX}*")
    assert len(names) > 4
    assert sorted(names) == sorted(each.name for each in folder.glob("*.safetensors"))
    assert checkpoints.slots.used <= 2**20 + max(each.nbytes for each in checkpoints)
    for step in (11, 35, 52, 20):
        answer = prompt.do("goto", step)
        assert answer.data["differences"] == []
        assert prompt.digest() == expected[step]
    for each in folder.glob("*.safetensors"):
        each.write_bytes(each.read_bytes()[:100])
    table = prompt.do("checkpoints").data["table"].columns
    damaged = max(step for step, name in zip(table["step"], table["file"], strict=True) if name)
    assert prompt.do("goto", damaged + 1).data["checkpoint"] < damaged  # the one before it does as well
    assert any("no whole safetensors file" in each for each in prompt.session.take_notices())
    assert prompt.digest() == expected[damaged + 1]
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(TdbError, match=r"takes a folder or off, and .* is a file"):
        settings.change("checkpoints.spill", str(file))
    with pytest.raises(TdbError, match=r"cannot write to .*: Not a directory"):
        settings.change("checkpoints.spill", str(file / "below"))
    assert settings["checkpoints.spill"] == tmp_path / "here"
    settings.change("checkpoints.spill", "off")
    assert not folder.exists()


WEIGHT = torch.zeros(1024)


def after_steps(checkpoints: Checkpoints, first: int, last: int) -> list[Checkpoint]:
    """Take a checkpoint after each of these steps; return those that are in files then."""
    for step in range(first, last + 1):
        copied = Snapshot(checkpoints.slots.copy({("parameter", "weight"): WEIGHT}, {}), {})
        checkpoints.add(Checkpoint(Position(step, step), 0, copied), step)
    return [each for each in checkpoints if each.file is not None]


def test_files_that_are_gone_leave_their_room_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "SHARE", 1e9)
    checkpoints = Checkpoints(limit=4 * WEIGHT.nbytes)
    checkpoints.spill = Spill(tmp_path)

    in_files = after_steps(checkpoints, 1, 100)
    assert len(in_files) == 4 * MOST_IN_FILES
    for each in in_files[10:]:
        checkpoints.forget(each)  # as where the file is damaged
    assert len(after_steps(checkpoints, 101, 200)) == 4 * MOST_IN_FILES
    checkpoints.spill.close()


def test_when_the_disk_is_full_what_is_in_files_can_be_gone_back_to_until_the_folder_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "SHARE", 1e9)
    checkpoints = Checkpoints(limit=4 * WEIGHT.nbytes)
    checkpoints.spill_to(Spill(tmp_path))

    in_files = after_steps(checkpoints, 1, 20)
    assert checkpoints.spill is not None
    folder = checkpoints.spill.folder
    for step in range(30):  # where the next file would be
        (folder / f"step-{step}-{len(in_files) + 1}.safetensors").mkdir()
    assert after_steps(checkpoints, 21, 30) == in_files
    assert [each.snapshot.tensors.keys() for each in in_files] == [{("parameter", "weight")}] * len(in_files)
    (notice,) = checkpoints.notices
    assert notice.startswith("checkpoints do not go to files any more: cannot write")
    checkpoints.forget(in_files[0])
    assert in_files[0].file is not None
    assert not in_files[0].file.exists()
    checkpoints.spill_to(None)
    assert not folder.exists()


KILLED = """
import os, sys, time, torch
from pathlib import Path
from types import SimpleNamespace
from tdb.step import Position
from tdb.travel.checkpoints import Checkpoint
from tdb.travel.slots import Slots
from tdb.travel.spill import Spill
from tdb.travel.state import State

state = State(SimpleNamespace(model=torch.nn.Linear(9, 9), optimizer=None), [], {})
spill = Spill(Path(sys.argv[1]))
assert spill.takes(Checkpoint(Position(1, 1), 0, state.take(Slots())))
spill._ready = 0
def written_but_not_renamed(_handle):
    print("half", flush=True)
    time.sleep(600)
os.fsync = written_but_not_renamed
spill.takes(Checkpoint(Position(2, 2), 0, state.take(Slots())))
"""


def test_a_killed_process_leaves_nothing_behind_for_long(tmp_path: Path) -> None:
    living = Spill(tmp_path)
    killed = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "half\n"
        (folder,) = (each for each in tmp_path.glob(f"{PREFIX}*") if each != living.folder)
        left = [each.name for each in folder.iterdir()]
        assert len(left) == 3  # the lock, a whole file, and the one that is being written
        assert min(left).startswith(".step-2-")
        assert remove_dead(tmp_path) == []  # it lives
    finally:
        os.kill(killed.pid, signal.SIGKILL)
        killed.communicate()
    following = Spill(tmp_path)
    assert set(tmp_path.glob(f"{PREFIX}*")) == {living.folder, following.folder}
    living.close()
    following.close()
    assert list(tmp_path.iterdir()) == []


def test_folders_made_at_the_same_time_are_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        spills = list(pool.map(Spill, [tmp_path] * 32))
    assert sorted(tmp_path.iterdir()) == sorted(each.folder for each in spills)
    for each in spills:
        each.close()
