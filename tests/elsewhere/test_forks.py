"""Going back in a script by waking a copy of the process that was set aside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

from tests.elsewhere.conftest import gone, run_tdb
from tests.elsewhere.scripts import WITHOUT_TORCH
from tests.typing_session import TypingSession

Begin = Callable[..., TypingSession]
ROOT = Path(__file__).parents[2]


def parked(session: TypingSession) -> dict[int, int]:
    """Return the processes of the copies set aside, by step."""
    return {each.step: each.process for each in session.session.route("fork").parked}


def test_a_copy_goes_on_and_can_be_woken_again(begin: Begin) -> None:
    session = begin(WITHOUT_TORCH)
    session.type("set checkpoints.forks 4")
    session.type("until 12")
    digest = session.answer("p digest()")
    for _ in range(2):
        session.type("until 15")
        landing = session.answer("goto 12")
        assert (landing["route"], landing["step"], landing["differences"]) == ("fork", 12, [])
        assert landing["replayed"] < 12
        assert session.answer("p digest()") == digest
        assert session.answer("p [step, len(seen)]")["value"] == [12, 12]
        assert session.answer("checkpoints")["copies"] == list(parked(session))
    processes = [*parked(session).values()]
    assert 0 < len(processes) <= 4
    session.type("set checkpoints.forks 0")
    session.session.route("fork").close()
    assert all(gone(process) for process in processes)


def test_a_killed_copy_is_told_and_the_next_best_way_taken(begin: Begin) -> None:
    session = begin(WITHOUT_TORCH)
    session.type("set checkpoints.forks 8")
    session.type("until 12")
    copies = parked(session)
    nearest = max(copies)
    os.kill(copies[nearest], signal.SIGKILL)
    shown = session.type("goto 11")
    assert f"the copy set aside at step {nearest} has gone" in shown
    for process in parked(session).values():
        os.kill(process, signal.SIGKILL)
    shown = session.type("goto 10")
    assert '"route":"re-run"' in shown
    assert '"step":10' in shown


def test_no_copy_is_made_where_torch_has_threads_of_its_own(begin: Begin) -> None:
    is_over = threading.Event()
    thread = threading.Thread(target=is_over.wait, name="tqdm")  # as one that Python does not know of
    thread.start()
    try:
        Path(f"/proc/self/task/{thread.native_id}/comm").write_text("pt_autograd_0")
        session = begin(WITHOUT_TORCH)
        session.type("set checkpoints.forks 4")
        session.type("until 6")
        assert "torch has threads of its own (pt_autograd), which would not" in session.type("checkpoints")
        assert session.answer("goto 3")["route"] == "re-run"
    finally:
        is_over.set()
        thread.join()


def test_a_copy_of_a_copy_prints_what_was_not_printed_yet(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(textwrap.dedent(WITHOUT_TORCH))
    (tmp_path / "lines").write_text("set checkpoints.forks 6\nuntil 15\nback 2\nback 2\ncontinue\n")
    ended = run_tdb(tmp_path, "-x", "lines")
    assert ended.stdout.count("fork: ") == 2
    assert ended.stdout.count("trained to") == 1


def test_nothing_is_left_when_tdb_is_killed(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(textwrap.dedent(WITHOUT_TORCH))
    lines = ["set checkpoints.forks 4", "until 12", "goto 8", "p __import__('os').getpid()", "goto 6", "wait 600"]
    front = subprocess.Popen(
        [sys.executable, "-m", "tdb", "--nx", "train.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert front.stdin is not None
    assert front.stdout is not None
    front.stdin.write("\n".join(lines[:-1]) + "\n")
    front.stdin.flush()
    while "> step 6" not in front.stdout.readline():
        pass
    family = descendants(front.pid)
    assert len(family) >= 3
    front.kill()
    front.wait()
    assert all(gone(process) for process in family)


def descendants(process: int) -> list[int]:
    """Return the processes that a process has started, and theirs."""
    children = [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    tasks = Path(f"/proc/{process}/task").iterdir()
    children = [int(each) for task in tasks for each in (task / "children").read_text().split()]
    return [*children, *(each for child in children for each in descendants(child))]


def test_an_interrupt_comes_to_the_script_where_a_copy_goes_on(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(textwrap.dedent(WITHOUT_TORCH))
    (tmp_path / "lines").write_text("set checkpoints.forks 4\nuntil 6\ngoto 3\ninterrupt\n")
    ended = run_tdb(tmp_path, "-x", "lines")
    assert "fork: " in ended.stdout + ended.stderr
    assert "Training crashed after step 3: KeyboardInterrupt" in ended.stdout
    assert "trained to" not in ended.stdout
