"""The commands as Python."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tdb
from tdb.api import ScriptSession
from tdb.commands import all_commands
from tests.sessions.test_flow import LOOP


@pytest.fixture
def session(tmp_path: Path) -> Iterator[ScriptSession]:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(LOOP))
    with tdb.run(script, [30]) as made:  # type: ignore[list-item]
        yield made


def test_training_is_moved_and_says_where_it_stands(session: ScriptSession) -> None:
    assert session.status == "ready"
    stop = session.step(2)
    assert (stop["reason"], stop["step"], stop["epoch"], stop["stop_points"]) == ("step", 2, 1, [])
    assert session.until(12)["step"] == 12
    assert session.until("step % 10 == 5 and loss > 0")["step"] == 15
    assert session.break_("every 10") == {"number": 1, "stop": "every 10", "temporary": False, "would_hit": None}
    stop = session.cont()
    assert stop["stop_points"] == [{"number": 1, "message": "Breakpoint 1 at step 20: every 10"}]
    assert session.break_()["stops"]["hits"] == [1]
    session.clear(1)
    session.break_("when los > 1")
    assert session.notes == ["no metric, key or variable 'los'. Did you mean: loss. It may be captured later"]
    session.cont()
    assert session.status == "finished"


def test_what_is_looked_at_comes_as_plain_data(session: ScriptSession) -> None:
    session.step(3)
    batch = session.batch()
    assert (batch["step"], batch["batch"][0].shape, batch["labels"].shape) == (3, (5, 6), (5,))
    assert isinstance(batch["batch"][0], np.ndarray)
    np.testing.assert_allclose(session.data("outputs.probabilities").sum(axis=1), np.ones(5), rtol=1e-5)
    table = session.metrics("weight_norm", sort="weight_norm", top=2)["table"]
    weights = session.value("Trainer.model[0].weight")
    np.testing.assert_allclose(table["weight_norm"], sorted(weights.norm(dim=1).tolist())[:-3:-1], rtol=1e-5)
    assert session.force(1)["vectors"]["1"]["weight"].shape == (6,)
    assert session.do("metrics weight_norm sort weight_norm top 2")["table"]["feature_id"] == pytest.approx(
        table["feature_id"]
    )
    assert session.do("len(images)") == 5
    assert session.state()["step"] == 3
    assert session.p("step + 1") == {"value": 4}


def test_a_line_may_say_which_file_its_answer_is_for(session: ScriptSession, tmp_path: Path) -> None:
    session.step(3)
    table = session.do(f"metrics weight_norm -o {tmp_path / 'table.csv'}")["table"]
    assert session.notes == [f"wrote {tmp_path / 'table.csv'}"]
    rows = np.genfromtxt(tmp_path / "table.csv", delimiter=",", names=True)
    np.testing.assert_array_equal(rows["weight_norm"].astype(np.float32), table["weight_norm"])
    session.do(f"loss -o {tmp_path / 'loss.npy'}")
    assert (tmp_path / "loss.npy").stat().st_size


@pytest.mark.parametrize("file", ["stop.csv", "no_folder/stop.json"])
def test_a_file_that_an_answer_cannot_be_is_told_before_training_moves(session: ScriptSession, file: str) -> None:
    session.step(3)
    with pytest.raises(tdb.TdbError, match="cannot"):
        session.do(f"step -o {file}")
    assert session.state()["step"] == 3


def test_mistakes_are_errors_with_the_way_out(session: ScriptSession) -> None:
    with pytest.raises(tdb.TdbError, match=re.escape("no step has been taken yet: `step` takes the first")):
        session.metrics()
    session.step()
    for mistake, message in {
        lambda: session.step(0): "^step takes a number of steps, not '0'. Example: step 5",
        lambda: session.do("metrics -o table.png"): "this answer cannot be written as '.png'",
        lambda: session.metrics(sorted="loss"): "metrics: got an unexpected keyword argument 'sorted'",
        lambda: session.metrics("nosuch"): "no column 'nosuch'. Columns: weight_norm",
        lambda: session.break_("when loss <"): "the expression ends too early",
        lambda: session.break_("loss < 1"): "Did you mean: break when loss < 1",
        lambda: session.data("output"): "Did you mean: outputs",
        lambda: session.do("stpe 3"): "NameError|invalid syntax",
        lambda: session.call("stpe"): "no command 'stpe'. Did you mean: step",
        lambda: session.quit(3): "quit is for the prompt",
        lambda: session.call("assert", "loss < 0"): r"assertion failed at step 1: false: loss = [\d.]+ < 0",
    }.items():
        with pytest.raises(tdb.TdbError, match=message):
            mistake()
    with pytest.raises(AttributeError, match="no attribute 'stpe'"):
        session.stpe()
    assert session.step()["step"] == 2


def test_every_command_is_a_method(session: ScriptSession) -> None:
    for command in all_commands():
        name = command.name.replace("-", "_")
        assert callable(getattr(session, f"{name}_" if name in ("break", "return", "continue", "assert") else name))


def test_a_crash_is_a_stop_with_its_error(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(LOOP).replace("loss.backward()", "loss.backward() if step != 4 else 1 / 0"))
    with tdb.run(script, ["9"]) as session:
        stop = session.cont()
        assert (session.status, stop["step"], stop["error"]) == (
            "crashed",
            3,
            "ZeroDivisionError: division by zero",
        )
        assert isinstance(session.exception, ZeroDivisionError)
        assert session.value("step") == 4


def test_leaving_the_block_ends_training(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(LOOP))
    with tdb.run(script, ["1000000"]) as session:
        session.step(2)
    assert session.status == "ended"
    with pytest.raises(tdb.TdbError, match="no such script"):
        tdb.run(tmp_path / "nosuch.py")
