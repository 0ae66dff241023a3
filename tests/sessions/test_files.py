"""Answers as files: all of what an answer shows is in its file, whatever the suffix and wherever figures go."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.sessions.test_hostile_runs import SMALL
from tests.typing_session import TypingSession


@pytest.fixture
def session(
    make_session: Callable[..., TypingSession], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> TypingSession:
    monkeypatch.chdir(tmp_path)
    made = make_session(SMALL.format(dtype="torch.float32", sizes=[5] * 14))
    made.type("watch 0 2;; step 13")
    return made


def rows(name: str) -> list[dict[str, str]]:
    with Path(name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("figures", ["off", "file"])
def test_a_file_has_all_tables_all_rows_and_all_pictures(session: TypingSession, figures: str) -> None:
    session.type(f"set figures {figures}")
    assert session.type("traj weight_norm grad_norm -o t.csv") == "wrote t.csv\n"
    of = {(row["table"], int(row["step"])): float(row["2"]) for row in rows("t.csv")}
    assert list(of) == [(name, step) for name in ("weight_norm", "grad_norm") for step in range(1, 14)]
    assert of["grad_norm", 13] == pytest.approx(float(session.controller.layer.metrics()["grad_norm"][2]))
    session.type("summary weight_norm -o s.csv")
    assert [int(row["step"]) for row in rows("s.csv")] == [*range(1, 14)]
    session.type("help -o help.csv")
    assert {"table": "time", "command": "find"}.items() <= {row["command"]: row for row in rows("help.csv")}[
        "find"
    ].items()
    assert session.type("loss -o loss.png;; traj -o traj.npy") == "wrote loss.png\nwrote traj.npy\n"
    assert Path("loss.png").read_bytes().startswith(b"\x89PNG")
    assert np.load("traj.npy").shape == (6, 2 * 13)  # a metric a row, a record a point
    session.type("p model[0].weight -o weight.npy")
    np.testing.assert_array_equal(np.load("weight.npy"), session.controller.layer.weights())


def test_a_pipe_is_no_file_and_a_link_stays_one(session: TypingSession) -> None:
    os.mkfifo("pipe.csv")
    for line in ("metrics -o pipe.csv", "export pipe.csv"):
        assert session.type(line) == "*** cannot write pipe.csv: it is a device or a pipe, and no file\n"
    assert Path("pipe.csv").is_fifo()
    Path("link.csv").symlink_to("far.csv")
    assert session.type("metrics -o link.csv") == "wrote link.csv\n"
    assert Path("link.csv").is_symlink()
    assert len(rows("far.csv")) == 3


def test_a_working_folder_that_has_gone_is_in_the_way_of_files_alone(session: TypingSession, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    for line in ("export run.json", "save s.tdb", "metrics -o m.csv"):
        name = line.split()[-1]
        said = f"*** cannot write {name}: the working folder has gone. Name the file from / on\n"
        assert session.type(line) == said
    said = "*** set checkpoints.spill takes a folder or off, and the working folder of spilled has gone. Now: off\n"
    assert session.type("set checkpoints.spill spilled") == said
    assert session.type("step").startswith("> step 14 ")
    assert "optimizer.step()" in session.type("where")
    assert session.type(f"export {tmp_path / 'run.json'}").startswith(f"{tmp_path / 'run.json'}: 14 steps")


def test_options_after_an_expression_and_what_an_answer_can_be(session: TypingSession) -> None:
    assert session.type("find loss > 0 -o found.csv") == "wrote found.csv\n"
    assert len(rows("found.csv")) == 1
    assert session.type("metrics where weight_norm > 0 -o rows.csv") == "wrote rows.csv\n"
    assert len(rows("rows.csv")) == 3
    assert session.type("hist weights -o hist.svg") == "wrote hist.svg\n"
    assert session.type("p 1 -n [").startswith("*** p -n takes a regular expression, and '[' is none: ")
    assert session.type("state -o state.csv") == "*** this answer cannot be written as '.csv'. It can be: .json .txt\n"
    shown = session.type("hist weights -o hist.csv")
    assert shown == "*** this answer cannot be written as '.csv'. It can be: .json .txt .png .svg .pdf .npy\n"
    different = "*** these pictures have different shapes, .npy takes one. Write .png, .svg or .pdf\n"
    assert session.type("summary weight_norm -o summary.npy") == different


def test_what_cannot_be_written_is_refused_before_anything_is_done(session: TypingSession) -> None:
    os.mkfifo("pipe.json")
    for options, said in (
        ("-o x.zip", "an answer cannot be written as '.zip'. It can be: "),
        ("-o .", "an answer cannot be written as '.'. It can be: "),
        ("-o nosuch/x.json", "cannot write nosuch/x.json: No such file or directory. Does its folder exist?"),
        ("-o train.py/x.json", "cannot write train.py/x.json: Not a directory"),
        (f"-o {'x' * 300}.json", f"cannot write {'x' * 300}.json: File name too long"),
        ("-o pipe.json", "cannot write pipe.json: it is a device or a pipe, and no file"),
        ("-n [", "-n takes a regular expression, and '[' is none: unterminated character set at position 0"),
    ):
        for line in ("step", "watch 1", "skip", "overhead 2"):
            shown = session.type(f"{line} {options}")
            assert shown.startswith("*** "), (line, shown)
            assert said in shown, (line, shown)
    assert session.controller.position.step == 13
    assert session.controller.recorder.watched() == [0, 2]
    shown = session.type("watch 1 -o x.zip")
    assert shown == "*** an answer cannot be written as '.zip'. It can be: .csv .json .txt .png .svg .pdf .npy\n"


def test_where_training_stands_is_told_in_words_and_no_step_is_taken_for_another_file(
    make_session: Callable[..., TypingSession], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    session = make_session(SMALL.format(dtype="torch.float32", sizes=[5] * 14))
    session.type("step 3")
    for line in ("step", "until 20", "continue", "phase 2", "back 3", "goto 12", "restart", "until loss < 1"):
        refused = "*** this answer cannot be written as '.csv'. It can be: .json .txt\n"
        assert session.type(f"{line} -o step.csv") == refused
    assert session.controller.position.step == 3
    assert session.type("until 5 -o step.txt") == "wrote step.txt\n"
    assert Path("step.txt").read_text().startswith("> step 5")
    session.type("display metrics")
    assert session.type("step -o metrics.csv") == "wrote metrics.csv\n"  # what is displayed has rows
    assert len(rows("metrics.csv")) == 3
    assert '"number":1' in session.type("break when loss > 100 --json")


def test_a_python_script_is_no_file_of_commands(session: TypingSession) -> None:
    said = "*** train.py is a Python script, and no file of commands: `tdb train.py` runs it under tdb\n"
    assert session.type("source train.py") == said
    assert not session.interpreter.run_file(Path("train.py"))
    assert session.controller.position.step == 13
