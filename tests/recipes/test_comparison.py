"""All conditions, one after another: the table, its files, and going on where it was interrupted."""

import contextlib
import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pexpect
import pyte
import pytest
from safetensors.numpy import load_file

from bcl.health import BCLHealthTracker
from recipes import gradient_gating_l0 as recipe
from recipes.comparison import Comparison, Row
from recipes.conditions import CONDITIONS
from recipes.trainer import Trainer
from tdb.errors import UsageError
from tests.conftest import PATIENCE
from tests.recipes.conftest import after_step

pytestmark = pytest.mark.usefixtures("digits_read_once")

ROOT = Path(recipe.__file__).parents[1]
SMALL = ["--condition", "all", "--steps", "40", "--hidden", "8"]
SETTINGS = {"steps": 40, "seed": 0, "lr": 0.001}


def row(condition, **other):
    values = {
        "rule": "m3-0.2", "som_lr": 0.001, "loss": 0.12345, "l1": 0.1, "psnr": 10.456, "weight_cosine": -0.0123,
        "effective_rank": 63.34, "dead": 12, "winners": 5, "activation_sparsity": 0.5, "seconds": 2.5,
    }  # fmt: skip
    return Row(condition, **{**values, **other})


@pytest.fixture
def comparison():
    control = row("control", rule="", som_lr=None, dead=None, winners=None)
    broken = row("bcl-fast v1", loss=math.nan, psnr=math.inf, health={"name": "bcl-fast v1", "gini": math.nan})
    return Comparison(SETTINGS, {"control": control, "bcl-fast v1": broken})


def run(*options):
    recipe.main([*SMALL, *options])


def kept(folder):
    return json.loads((folder / "comparison.json").read_text())


def test_the_table_is_aligned_and_says_what_there_is_not(comparison):
    assert (
        comparison.table()
        == """\
| condition   |   loss |     L1 |  PSNR |  w_cos | rank | dead / winners | sparsity |
| ----------- | -----: | -----: | ----: | -----: | ---: | -------------: | -------: |
| control     | 0.1235 | 0.1000 | 10.46 | -0.012 | 63.3 |              - |    0.500 |
| bcl-fast v1 |    nan | 0.1000 |   inf | -0.012 | 63.3 |         12 / 5 |    0.500 |"""
    )


def test_all_three_files_hold_the_numbers_and_the_settings(comparison, tmp_path):
    comparison.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["comparison.csv", "comparison.json", "comparison.md"]
    text = (tmp_path / "comparison.md").read_text()
    assert text == f"{comparison.table()}\n\n- steps: 40\n- seed: 0\n- lr: 0.001\n"
    with (tmp_path / "comparison.csv").open() as file:
        control, broken = csv.DictReader(file)
    assert (control["loss"], control["som_lr"], control["dead"], control["steps"]) == ("0.12345", "", "", "40")
    assert (broken["loss"], broken["psnr"], broken["lr"]) == ("nan", "inf", "0.001")
    assert "health" not in control
    everything = json.loads((tmp_path / "comparison.json").read_text(), parse_constant=pytest.fail)
    assert everything["settings"] == SETTINGS
    assert everything["conditions"][1]["loss"] == "NaN"


def test_what_was_written_is_read_back_number_by_number(comparison, tmp_path):
    comparison.write(tmp_path)
    again = Comparison.begun_in(tmp_path, SETTINGS)
    assert again.json() == comparison.json()
    assert math.isnan(again.rows["bcl-fast v1"].loss)
    assert math.isnan(again.rows["bcl-fast v1"].health["gini"])
    assert again.rows["control"] == comparison.rows["control"]


def test_without_a_folder_or_in_an_empty_one_a_comparison_begins_anew(tmp_path):
    assert Comparison.begun_in(None, SETTINGS).rows == Comparison.begun_in(tmp_path, SETTINGS).rows == {}
    Comparison(SETTINGS).write(None)


def test_other_settings_are_refused_by_name(comparison, tmp_path):
    comparison.write(tmp_path)
    with pytest.raises(UsageError, match="holds a comparison with steps 40, not 50; seed 0, not 1") as refused:
        Comparison.begun_in(tmp_path, {**SETTINGS, "steps": 50, "seed": 1})
    assert "Choose another --out, or delete" in refused.value.hint


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"settings": {}, "conditions": [{"condition": "x"}]}', "\xff"]
)
def test_a_damaged_file_is_named_and_left_alone(tmp_path, content):
    path = tmp_path / "comparison.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(UsageError, match=r"comparison\.json is damaged"):
        Comparison.begun_in(tmp_path, SETTINGS)
    assert path.read_text(encoding="latin-1") == content


def test_a_folder_that_cannot_be_written_keeps_the_files_it_has(comparison, tmp_path):
    comparison.write(tmp_path)
    before = kept(tmp_path)
    (tmp_path / "comparison.csv").unlink()
    (tmp_path / "comparison.csv").mkdir()
    with pytest.raises(UsageError, match=r"cannot write .*comparison\.csv"):
        comparison.write(tmp_path)
    assert kept(tmp_path) == before
    assert not list(tmp_path.glob(".*"))


def test_a_run_of_all_conditions_compares_them(tmp_path, capsys):
    run("--out", str(tmp_path / "new" / "folder"))
    out = capsys.readouterr().out
    everything = kept(tmp_path / "new" / "folder")
    assert [row["condition"] for row in everything["conditions"]] == list(CONDITIONS)
    assert re.findall(r"^\| ([\w-]+) ", out, re.MULTILINE) == ["condition", "-----------"[:9], *CONDITIONS]
    assert everything["settings"] == {
        "recipe": "gradient_gating_l0", "steps": 40, "seed": 0, "batch_size": 128, "lr": 0.001, "hidden": 8,
        "rule": "m3-0.2", "device": "cpu", "digits": "4,500 to train on, 500 to evaluate on",
    }  # fmt: skip
    for entry in everything["conditions"]:
        config, health = CONDITIONS[entry["condition"]], entry["health"]
        assert entry["rule"] == (config.rule if config else "")
        assert (health is None) == (config is None)
        if health is not None:
            assert (health["name"], [epoch["steps"] for epoch in health["epochs"]]) == (entry["condition"], [35, 5])
            assert (entry["dead"], entry["winners"]) == (health["epochs"][-1]["dead"], health["epochs"][-1]["winner"])


def test_a_row_is_what_numpy_finds_in_the_saved_weights(tmp_path, embedded_digits):
    run("--out", str(tmp_path))
    recipe.main(["--condition", "bcl-med", *SMALL[2:], "--save", str(tmp_path / "weights")])
    weights = {name: value.astype(np.float64) for name, value in load_file(tmp_path / "weights").items()}
    images = embedded_digits.evaluation.images.numpy().reshape(500, 784) / 255

    output = images @ weights["encoder.0.weight"].T + weights["encoder.0.bias"]
    logits = np.maximum(output, 0) @ weights["decoder.0.weight"].T + weights["decoder.0.bias"]
    error = 1 / (1 + np.exp(-logits)) - images
    rows = weights["encoder.0.weight"]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    singular = np.linalg.svd(rows, compute_uv=False)
    shares = singular / singular.sum()
    strength = np.abs(output)

    (found,) = (entry for entry in kept(tmp_path)["conditions"] if entry["condition"] == "bcl-med")
    assert found["l1"] == pytest.approx(np.abs(error).mean(), rel=1e-4)
    assert found["psnr"] == pytest.approx(10 * np.log10(1 / (error**2).mean()), rel=1e-4)
    assert found["weight_cosine"] == pytest.approx((unit @ unit.T)[np.triu_indices(8, 1)].mean(), rel=1e-4)
    assert found["effective_rank"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-3)
    assert found["activation_sparsity"] == pytest.approx(
        (strength > strength.mean(axis=1, keepdims=True)).mean(), abs=1e-3
    )
    assert found["som_lr"] == 0.005


def numbers(folder):
    """All that a comparison holds but the time that it took."""
    everything = kept(folder)
    return [{name: value for name, value in row.items() if name != "seconds"} for row in everything["conditions"]]


def interrupted(*options):
    with pytest.raises(SystemExit) as ended:
        run(*options)
    return ended.value.code


# As with a `kill -9` of a person's, at a moment that does not depend on the machine.
KILLED = """
import os, signal, sys
import pytest
from recipes import gradient_gating_l0
from tests.recipes.conftest import after_step

after_step(pytest.MonkeyPatch(), 7, lambda: os.kill(os.getpid(), signal.SIGKILL), run=3)
gradient_gating_l0.main(sys.argv[1:])
"""


def test_after_ctrl_c_or_kill_a_run_goes_on_and_ends_with_the_same_numbers(tmp_path, monkeypatch, capsys):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run("--out", str(whole))
    capsys.readouterr()
    with monkeypatch.context() as patch:
        after_step(patch, 7, lambda: signal.raise_signal(signal.SIGINT), run=3)
        assert interrupted("--out", str(broken)) == 130
    assert capsys.readouterr().err == (
        "gradient_gating_l0: bcl-tiny was interrupted at step 7 of 40. Go on with: "
        f"python -m recipes.gradient_gating_l0 --condition all --steps 40 --hidden 8 --out {broken}\n"
    )
    assert [row["condition"] for row in kept(broken)["conditions"]] == ["control", "bcl-micro"]

    trained = []
    train = Trainer.train
    with monkeypatch.context() as patch:
        patch.setattr(
            Trainer, "train", lambda self, *rest, **options: (trained.append(1), train(self, *rest, **options))
        )
        run("--out", str(broken))
        assert len(trained) == 5
        out = capsys.readouterr().out
        assert f"control: done before, in {broken}\nbcl-micro: done before, in {broken}\n" in out
        assert numbers(broken) == numbers(whole)

        (broken / "comparison.csv").unlink()
        run("--out", str(broken))
        assert len(trained) == 5
        assert (broken / "comparison.csv").exists()

    killed = tmp_path / "killed"
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, *SMALL, "--out", str(killed)], cwd=ROOT, timeout=PATIENCE, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert [row["condition"] for row in kept(killed)["conditions"]] == ["control", "bcl-micro"]
    run("--out", str(killed))
    assert numbers(killed) == numbers(whole)
    assert sorted(path.name for path in killed.iterdir()) == sorted(path.name for path in whole.iterdir())


def test_the_health_of_conditions_that_are_read_back_is_not_lost(tmp_path, monkeypatch):
    run("--out", str(tmp_path))
    everything = kept(tmp_path)
    everything["conditions"].pop()
    (tmp_path / "comparison.json").write_text(json.dumps(everything))
    trackers = []
    init = BCLHealthTracker.__init__
    monkeypatch.setattr(BCLHealthTracker, "__init__", lambda self: (trackers.append(self), init(self))[1])
    run("--out", str(tmp_path))
    (tracker,) = trackers
    assert [run.name for run in tracker.runs] == [name for name in CONDITIONS if name != "control"]


def test_without_a_folder_ctrl_c_says_how_it_could_go_on(monkeypatch, capsys):
    after_step(monkeypatch, 7, lambda: signal.raise_signal(signal.SIGINT))
    assert interrupted() == 130
    assert capsys.readouterr().err == (
        "gradient_gating_l0: control was interrupted at step 7 of 40. With --out FOLDER it could go on\n"
    )


def test_a_folder_of_other_settings_is_refused_before_training(tmp_path, capsys):
    Comparison({"steps": 41}).write(tmp_path)
    assert interrupted("--out", str(tmp_path)) == 2
    assert "steps 41, not 40" in capsys.readouterr().err


def test_with_another_rule_conditions_have_its_name(tmp_path):
    run("--rule", "decoupled", "--out", str(tmp_path))
    assert [(row["condition"], row["rule"]) for row in kept(tmp_path)["conditions"]] == [
        ("control", ""),
        *((f"bcl-{name} decoupled", "decoupled") for name in ("micro", "tiny", "slow", "med", "fast")),
        ("nbr-k8", "nbr-k8"),
    ]


def test_on_a_terminal_bars_show_conditions_and_steps():
    screen = pyte.Screen(110, 40)
    stream = pyte.Stream(screen)
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "recipes.gradient_gating_l0", *SMALL],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "110", "TERM": "xterm-256color"},
        encoding="utf-8",
        dimensions=(40, 110),
    )
    seen = ""
    with contextlib.suppress(pexpect.EOF):
        while True:
            for frame in re.split(r"(?=\r\x1b\[2K)", terminal.read_nonblocking(4096, timeout=PATIENCE)):
                stream.feed(frame)
                seen += "\n".join(screen.display) + "\n"
    terminal.close()
    assert re.search(r"^conditions +[━╸╺]+ [1-6]/7 ", seen, re.MULTILINE)
    assert re.search(r"^(bcl-\w+|control|nbr-k8) +[━╸╺]+ \d+/40 loss 0\.\d{4} ", seen, re.MULTILINE)
    last = "\n".join(line.rstrip() for line in screen.display)
    assert len(re.findall(r"^[\w-]+: 40 steps, loss 0\.\d{4}, .* steps/s$", last, re.MULTILINE)) == 7
    assert re.search(r"^conditions +━+ 7/7 ", last, re.MULTILINE)
    assert len(re.findall(r"^\| [\w-]+ .*\|$", last, re.MULTILINE)) == 9
    assert terminal.exitstatus == 0
