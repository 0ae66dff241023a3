"""Going back in a script whose locals nobody can put back: a fresh process takes the run anew."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path

import pytest

import tdb
from tests.elsewhere.conftest import gone, run_tdb
from tests.elsewhere.scripts import TRAINER, WITHOUT_TORCH
from tests.typing_session import TypingSession

Begin = Callable[..., TypingSession]


def test_the_prompt_and_all_that_is_set_up_go_along(begin: Begin) -> None:
    session = begin(WITHOUT_TORCH)
    session.type("break 9")
    session.type("display loss")
    session.type("alias where_now p step")
    first = session.answer("continue")
    digest = session.answer("p digest()")
    session.type("continue")
    landing = session.answer("goto 9")
    assert (landing["route"], landing["step"], landing["loss"]) == ("re-run", 9, first["loss"])
    assert (landing["replayed"], landing["compared"]["losses"], landing["differences"]) == (9, 9, [])
    assert session.answer("p digest()") == digest
    assert session.answer("p len(seen)")["value"] == 9
    assert session.answer("where_now")["value"] == 9
    assert "pdb, which does not answer in JSON" in session.type("pystep")
    assert len(session.answer("break")["stops"]["rows"]) == 1
    assert session.answer("step")["displays"]
    link = session.session.elsewhere
    assert link is not None
    link.close(unwind=True)
    session.session.elsewhere = None
    assert gone(link.process)


@pytest.mark.parametrize(
    ("options", "begins"), [([], r"loss over .*\nloss +[\d.]+\n"), (["--json"], r'\{"v":1,"cmd":"loss".*\n\{.*\n')]
)
def test_a_program_is_fed_the_same_by_either_process(tmp_path: Path, options: list[str], begins: str) -> None:
    (tmp_path / "train.py").write_text(WITHOUT_TORCH)
    feeds = ["pipe loss to 5 | grep -v png >> {}", "pipe batch -n loss | cat >> {}"]
    here, there = ([feed.format(name) for feed in feeds] for name in ("here", "there"))
    lines = ["until 5", *here, "until 7", "goto 5", *there]
    ended = run_tdb(tmp_path, "--batch", *options, *(word for line in lines for word in ("-c", line)))
    assert ended.returncode == 0, ended.stderr
    assert "re-run" in ended.stdout
    fed = (tmp_path / "here").read_text()
    assert re.fullmatch(begins, fed), fed
    assert (tmp_path / "there").read_text() == fed


def test_a_breakpoint_in_the_script_stops_nothing_on_the_way(begin: Begin) -> None:
    script = WITHOUT_TORCH.replace(
        "    seen.append(loss)", "    seen.append(loss)\n    if step == 3:\n        breakpoint()"
    )
    session = begin(script)
    assert session.answer("continue")["reason"] == "breakpoint()"
    session.answer("step 4")
    for line, step in (("back 2", 4), ("goto 2", 2), ("goto 5", 5)):
        landing = session.answer(line)
        assert (landing["step"], landing["differences"]) == (step, [])
    assert session.answer("continue")["reason"] == ""


def test_back_counts_the_steps_that_a_loop_has_taken_and_not_their_numbers(begin: Begin) -> None:
    session = begin("""
        import tdb

        controller = tdb.attach()
        for step in range(10, 80, 10):
            controller.capture_batch([step], 1 / step, step)
            controller.wait_if_paused()
    """)
    session.answer("step 6")
    for line, step in (("back", 50), ("back 3", 20), ("step 2", 40)):
        assert session.answer(line)["step"] == step, line
    assert "there are 4 steps to go back, not 5" in session.type("back 5")


def test_changes_are_made_again_and_those_that_were_taken_back_are_not(begin: Begin) -> None:
    session = begin(WITHOUT_TORCH)
    session.type("until 5")
    session.type("rate = 0.2")
    session.type("until 10")
    changed = session.answer("p digest()")
    session.type("until 12")
    assert session.answer("goto 10")["differences"] == []
    assert session.answer("p digest()") == changed
    session.type("goto 5")
    assert session.answer("p rate")["value"] == 0.05
    session.type("until 10")
    assert session.answer("p digest()") != changed


@pytest.mark.parametrize(("branch", "copies"), [("fork-1", 0), ("fork-1", 8), ("main", 8)])
def test_after_the_end_a_branch_is_gone_back_on_with_its_own_changes(begin: Begin, branch: str, copies: int) -> None:
    session = begin(TRAINER)
    session.type(f"set checkpoints.forks {copies}")
    session.type("until 9")
    session.type("!trainer.rate = 0.07")
    session.type("until 20")
    digests = {"main": session.answer("p digest()")}
    session.type("goto 12")
    for line in "!trainer.rate = 0.2", "until 15", "interact", "trainer.rate = 0.1", "quit()":
        session.type(line)
    session.type("until 20")
    digests["fork-1"] = session.answer("p digest()")
    assert digests["main"] != digests["fork-1"]
    session.type("goto 13")  # a change that lies ahead is made again
    if branch == "main":
        session.type("switch main")
    session.type("continue")
    landing = session.answer("goto 20")
    assert (landing["route"], landing["differences"]) == ("fork" if copies else "re-run", [])
    assert landing["compared"]["losses"]
    assert session.answer("p digest()") == digests[branch]


def test_loops_before_this_one_are_gone_back_to(begin: Begin) -> None:
    session = begin(WITHOUT_TORCH.replace("    error =", "    if step in (5, 9): tdb.attach()\n    error ="))
    session.type("until 11")
    assert session.answer("back 8")["step"] == 3
    session.type("until 11")
    session.type("break 4")
    assert session.answer("reverse-continue")["step"] == 4
    session.type("until 11")
    assert "there are 11 steps to go back, not 12" in session.type("back 12")
    assert session.answer("restart")["step"] == 1  # it does not say where it begins


def test_a_run_that_is_not_the_same_again_is_told_with_step_and_size(begin: Begin) -> None:
    session = begin(
        WITHOUT_TORCH.replace("    weights -=", "    loss += 1e-6 * os.getpid() * (step == 4)\n    weights -=")
    )
    session.type("until 8")
    landing = session.answer("goto 6")
    assert [each["step"] for each in landing["differences"]] == [4]
    assert landing["differences"][0]["was"] != landing["differences"][0]["now"]


def test_a_run_that_fails_on_the_way_says_with_what_and_training_stays(begin: Begin) -> None:
    session = begin("import os\nos.mkdir('runs')\n" + WITHOUT_TORCH)
    session.type("until 4")
    assert "the run ended at step 0, before step 3, with FileExistsError" in session.type("goto 3")
    assert session.answer("step")["step"] == 5


def test_a_killed_process_is_told_and_training_stands_where_it_was_left(begin: Begin) -> None:
    session = begin(WITHOUT_TORCH)
    session.type("until 6")
    session.type("goto 3")
    session.type("rate = 0.2")  # in the process that goes
    link = session.session.elsewhere
    assert link is not None
    os.kill(link.process, signal.SIGKILL)
    answer = session.type("step")
    assert "SIGKILL" in answer
    assert "stopped at step 6" in answer
    assert session.answer("step")["step"] == 7
    landing = session.answer("goto 5")
    assert (landing["step"], landing["differences"]) == (5, [])


def test_restart_begins_with_the_script_as_it_is_now_and_goto_does_not(begin: Begin, tmp_path: Path) -> None:
    session = begin(WITHOUT_TORCH)
    session.type("until 4")
    script = tmp_path / "train.py"
    script.write_text(script.read_text().replace("0.05, []", "0.1, []"))
    assert "train.py has been changed since" in session.type("goto 2")
    session.type("restart")
    session.type("until 3")
    assert session.answer("p rate")["value"] == 0.1
    landing = session.answer("goto 2")
    assert (landing["step"], landing["compared"]["losses"], landing["differences"]) == (2, 2, [])
    script.unlink()
    for line in ("goto 1", "restart"):
        assert "re-run: train.py is not there any more" in session.type(line)
    assert session.answer("step")["step"] == 3


AT_EXIT = "import atexit\natexit.register(print, 'at exit')\n"


@pytest.mark.parametrize(("ending", "status"), [("sys.exit(7)", 7), ("1 / 0", 3), ("", 0)])
def test_the_exit_status_is_that_of_the_run_that_counts(tmp_path: Path, ending: str, status: int) -> None:
    (tmp_path / "train.py").write_text(f"import sys\n{AT_EXIT}{textwrap.dedent(WITHOUT_TORCH)}\n{ending}\n")
    ended = run_tdb(tmp_path, "-c", "until 6", "-c", "goto 2", "-c", "pystep", "-c", "c", "-c", "continue")
    assert "> step 3 " in ended.stdout
    assert ended.returncode == status, ended.stderr
    assert ended.stdout.count("trained to") == ended.stdout.count("at exit") == 1
    assert "re-run: 2 steps from the start; 2 losses" in ended.stdout


def test_a_program_goes_back_with_the_same_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(WITHOUT_TORCH)
    with tdb.run("train.py") as training:
        training.until(5)
        digest, batch = training.value("digest()"), training.batch()["batch"]
        training.step(3)
        assert training.goto(5)["route"] == "re-run"
        assert training.value("digest()") == digest
        assert (training.batch()["batch"] == batch).all()
        assert training.status == "stopped"
        with pytest.raises(tdb.TdbError, match="NameError"):
            training.value("no_such_name")
        assert training.step()["step"] == 6


UNTIL_TOLD = """
    from pathlib import Path
    import tdb

    controller = tdb.active_controller()
    try:
        for step in range(1, 10**9):
            controller.capture_batch([step], 1.0, step)
            controller.wait_if_paused()
    finally:
        Path("left").write_text("in order")
"""


def test_who_leaves_while_training_runs_there_lets_the_script_end_as_it_would(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = begin(UNTIL_TOLD)
    session.answer("step 5")
    session.answer("back 2")
    with monkeypatch.context() as terminated:
        terminated.setattr(session.session.front, "wait", lambda *_: sys.exit(143))
        with pytest.raises(SystemExit):
            session.type("continue")
    link = session.session.elsewhere
    assert link is not None
    link.close(unwind=True)
    session.session.elsewhere = None
    assert Path("left").read_text() == "in order"


TERMINATES_THE_FRONT = """
import os
import signal
import threading
from pathlib import Path
import tdb

noted = Path("front")
if not noted.exists():
    noted.write_text(str(os.getpid()))
controller = tdb.active_controller()
controller.begin()
for step in range(1, 10):
    if os.getpid() != int(noted.read_text()) and step == 2:
        os.kill(int(noted.read_text()), signal.SIGTERM)
        threading.Event().wait()
    controller.capture_batch([step], 1 / step, step)
    controller.wait_if_paused()
"""


@pytest.mark.parametrize("copies", ["0", "8"])
def test_a_front_that_is_terminated_on_the_way_takes_the_other_process_with_it_in_silence(
    tmp_path: Path, copies: str
) -> None:
    (tmp_path / "train.py").write_text(TERMINATES_THE_FRONT)
    lines = [f"set checkpoints.forks {copies}", "step", "until 4", "goto 3"]
    ended = run_tdb(tmp_path, *(word for line in lines for word in ("-c", line)))
    assert (ended.returncode, ended.stderr) == (143, "")


def test_a_process_that_is_not_wanted_any_more_when_it_has_started_ends_in_silence() -> None:
    ours, theirs = Pipe()
    command = [sys.executable, "-m", "tdb.elsewhere.worker", str(theirs.fileno()), str(os.getpid())]
    ours.close()
    ended = subprocess.run(command, pass_fds=[theirs.fileno()], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
