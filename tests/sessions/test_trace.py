"""`breakpoint()` and `tdb.set_trace()`: the shell where the script is."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tdb.breakpoint_hook import breakpoints_stop_here
from tests.conftest import PATIENCE
from tests.typing_session import TypingSession

SCRIPT = """
    import threading
    import tdb

    print("before")
    breakpoint()


    def loss_of(step):
        secret = step * 10
        if step in (3, 5):
            breakpoint()
        return 1 / step


    def train():
        controller = tdb.attach()
        for step in controller.steps(range(1, 8)):
            controller.capture_batch([step], loss_of(step))


    train()
    tdb.set_trace()
    print("after")
"""


def test_breakpoint_stops_where_it_stands_inside_a_step_and_outside_any_loop(tmp_path: Path) -> None:
    before = sys.breakpointhook
    session = TypingSession(tmp_path, SCRIPT)
    session.play("""
        (tdb) continue
        > step 0        ...train.py(6) <module>
        -> breakpoint()
        (tdb) p controller
        *** NameError: name 'controller' is not defined
        (tdb) step
        > step 1  epoch 1  loss 1.0000        ...train.py(18) train
        -> for step in controller.steps(range(1, 8)):
        (tdb) continue
        > step 3 at breakpoint  epoch 1        ...train.py(12) loss_of
        -> breakpoint()
        (tdb) p secret
        30
        (tdb) up
        > ...train.py(19) train
        -> controller.capture_batch([step], loss_of(step))
        (tdb) p step
        3
        (tdb) batch
        step 3  epoch 1
        ...
        (tdb) !loss_of(5); None
        breakpoint() at the prompt stops nothing: training is stopped already
        (tdb) step
        > step 3  epoch 1  loss 0.3333        ...train.py(18) train
        -> for step in controller.steps(range(1, 8)):
        (tdb) until 5
        > step 5 at breakpoint  epoch 1        ...train.py(12) loss_of
        -> breakpoint()
        (tdb) until 6
        > step 6  epoch 1  loss 0.1667        ...train.py(18) train
        -> for step in controller.steps(range(1, 8)):
        (tdb) continue
        > step 7  epoch 1  loss 0.1429        ...train.py(23) <module>
        -> tdb.set_trace()
        (tdb) continue
        Training finished after 7 steps
    """)
    session.close()
    assert sys.breakpointhook is before


FOUND = """
    import torch
    from torch import nn

    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(12, 4), torch.randn(12, 3))
    loader, others = (torch.utils.data.DataLoader(data, batch_size=4) for _ in range(2))
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    count = 0


    def stop(where):
        if (count, where) in ((1, "drawn"), (7, "drawn"), (7, "backward"), (7, "done"), (9, "other")):
            breakpoint()


    for epoch in range(4):
        for x, y in loader:
            count += 1
            stop("drawn")
            objective = (model(x) - y).square().mean()
            optimizer.zero_grad()
            objective.backward()
            stop("backward")
            optimizer.step()
            stop("done")
        for x, y in others:
            with torch.no_grad():
                model(x)
            stop("other")
    model(torch.randn(5, 7))
"""


def test_breakpoint_in_a_script_that_has_never_heard_of_tdb_says_which_step_it_is_in(tmp_path: Path) -> None:
    session = TypingSession(tmp_path, FOUND)
    session.play("""
        (tdb) continue
        > step 0        ...train.py(15) stop
        -> breakpoint()
        (tdb) continue
        > step 7 at breakpoint  epoch 3        ...train.py(15) stop
        -> breakpoint()
        (tdb) batch
        step   7
        epoch  3
        ...
        (tdb) continue
        > step 7 at breakpoint  epoch 3  objective ...        ...train.py(15) stop
        -> breakpoint()
        (tdb) continue
        > step 7  epoch 3  objective ...        ...train.py(15) stop
        -> breakpoint()
        (tdb) continue
        > step 9  epoch 3  objective ...        ...train.py(15) stop
        -> breakpoint()
        (tdb) continue
        ...
        (tdb) continue
        > step 9  epoch 3  objective ...        ...train.py(15) stop
        -> breakpoint()
        (tdb) step
        > step 10  epoch 4  objective ...
        (tdb) until 12
        > step 12  epoch 4  objective ...
        (tdb) continue
        ...
        (tdb) where
        ...
        > step 12  epoch 4  objective ... forward
        ...
    """)
    session.close()


def test_two_runs_that_end_in_any_order_leave_breakpoint_as_it_was() -> None:
    before = sys.breakpointhook
    first, second = breakpoints_stop_here(), breakpoints_stop_here()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert sys.breakpointhook is not before
    second.__exit__(None, None, None)
    assert sys.breakpointhook is before


def test_another_debugger_named_in_the_environment_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONBREAKPOINT", "0")
    session = TypingSession(tmp_path, "breakpoint()")
    session.play("""
        (tdb) continue
        Training finished without a step that tdb could see: nothing was updated, and no gradients were computed
    """)
    session.close()


def test_set_trace_in_a_plain_run_changes_nothing_of_it(
    tmp_path: Path, run_with_torch: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (tmp_path / "train.py").write_text(
        textwrap.dedent("""
        import sys
        import torch
        from torch import nn
        import tdb


        def train(trace):
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 1))
            optimizer = torch.optim.Adam(model.parameters())
            controller = tdb.attach(model, optimizer, step=0)
            for x in controller.steps(torch.randn(9, 8, 4)):
                optimizer.zero_grad()
                loss = model(x).square().mean()
                loss.backward()
                if trace and controller.position.step == 3:
                    tdb.set_trace()
                optimizer.step()
            return model


        model = train(True)
        plain, traced = train(False).state_dict(), model.state_dict()
        print("same", all(torch.equal(plain[name], traced[name]) for name in plain))
        print("hooks", [hook for module in model.modules() for hook in module._forward_hooks])
        print("hook", sys.breakpointhook is sys.__breakpointhook__)
        """)
    )
    typed = "p model(torch.randn(2, 4)).shape\nmodel.eval()\nstep 2 ;; p tuple(x.shape)\nmetrics top 1\nwrong\nc\n"
    ended = run_with_torch("train.py", stdin=typed)
    assert ended.returncode == 0
    shown = ended.stdout.splitlines()
    assert shown[0] == "> step 4 at breakpoint  epoch 1        train.py(18) train"
    assert shown[1:3] == ["-> tdb.set_trace()", "torch.Size([2, 1])"]
    assert any(line.startswith("> step 5  epoch 1  loss ") for line in shown)
    assert "(8, 4)" in shown
    assert shown[-3:] == ["same True", "hooks []", "hook True"]
    assert "*** unknown command 'wrong'" in ended.stderr


PLAIN = """
    import tdb

    for step in range(3):
        tdb.set_trace()
    print("went on")
"""


@pytest.mark.parametrize(
    ("typed", "shown", "status"),
    [("c\ndetach\n", ["went on"], 0), ("q 3\n", [], 3), ("q 0\n", [], 0)],
    ids=["detach", "quit 3", "quit 0"],
)
def test_detach_passes_all_that_follow_and_quit_takes_an_exit_status(
    typed: str, shown: list[str], status: int, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text(textwrap.dedent(PLAIN))
    command = [sys.executable, "train.py"]
    ended = subprocess.run(
        command, cwd=tmp_path, input=typed, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert [line for line in ended.stdout.splitlines() if line[:2] not in ("> ", "->")] == shown
    assert (ended.stderr, ended.returncode) == ("", status)


def test_detach_passes_the_breakpoints_of_a_script_under_tdb_until_it_is_paused(tmp_path: Path) -> None:
    session = TypingSession(
        tmp_path,
        """
        import tdb

        controller = tdb.attach()
        for step in controller.steps(range(1, 8)):
            breakpoint()
            if step == 4:
                controller.pause()
    """,
    )
    session.play("""
        (tdb) continue
        > step 1 at breakpoint ...
        ...
        (tdb) detach
        > step 4 ...
        ...
        (tdb) continue
        > step 5 at breakpoint ...
        ...
        (tdb) layers
        *** no model is known. The script tells it: `tdb.attach(model, optimizer)`
        (tdb) detach
        Training finished after 7 steps
    """)
    session.close()


def test_leaving_a_plain_run_ends_it(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import tdb\ntdb.set_trace()\nprint('went on')\n")
    command = [sys.executable, "train.py"]
    ended = subprocess.run(
        command, cwd=tmp_path, input="p 1\n", capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.stdout.splitlines()[-1] == "1"
    assert ended.stderr == "training was told to stop\n"
    assert ended.returncode == 1
