"""The next step under the real pdb: what one types and sees."""

from __future__ import annotations

import subprocess
import textwrap
from bdb import Breakpoint
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from recipes.gradient_gating_l0 import main
from tdb.script import Script
from tests.typing_session import TypingSession

Make = Callable[..., TypingSession]

LOOP = """
    import torch
    import tdb


    def twice(x):
        y = x * 2
        return y


    def train():
        controller = tdb.active_controller()
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 2)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        controller.begin()
        for step in range(1, 6):
            inputs = torch.randn(3, 4)
            number = twice(step)
            loss = model(inputs).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            controller.capture_batch(inputs, loss, step)
            controller.wait_if_paused()
        return model


    model = train()
"""


@pytest.fixture(autouse=True)
def _no_breakpoints_of_another_test() -> Iterator[None]:
    yield
    Breakpoint.clearBreakpoints()


def test_a_step_under_pdb_comes_back_at_its_boundary(make_session: Make) -> None:
    make_session(LOOP).play("""
        (tdb) pystep
        *** training has not started: `start`, `step` or `continue` begins it
        (tdb) start
        > step 0 ...
        (tdb) pystep
        > ...train.py(17)train()
        -> for step in range(1, 6):
        (tdb) n
        > ...train.py(18)train()
        -> inputs = torch.randn(3, 4)
        (tdb) n
        > ...train.py(19)train()
        -> number = twice(step)
        (tdb) s
        --Call--
        > ...train.py(6)twice()
        -> def twice(x):
        (tdb)
        > ...train.py(7)twice()
        -> y = x * 2
        (tdb) w
          ...train.py(29)<module>()
        -> model = train()
          ...train.py(19)train()
        -> number = twice(step)
        > ...train.py(7)twice()
        -> y = x * 2
        (tdb) r
        --Return--
        > ...train.py(8)twice()->2
        -> return y
        (tdb) b 24
        Breakpoint 1 at ...train.py:24
        (tdb) c
        > ...train.py(24)train()
        -> controller.capture_batch(inputs, loss, step)
        (tdb) p number, step
        (2, 1)
        (tdb) !number = 7
        (tdb) p nosuch
        *** NameError: name 'nosuch' is not defined
        (tdb) n
        > ...train.py(25)train()
        -> controller.wait_if_paused()
        (tdb) n
        > step 1  loss ...
        -> controller.wait_if_paused()
        (tdb) p number
        7
        (tdb) step
        > step 2  ...
        (tdb) pystep
        > ...train.py(17)train()
        -> for step in range(1, 6):
        (tdb) c
        > ...train.py(24)train()
        -> controller.capture_batch(inputs, loss, step)
        (tdb) restart
        *** training is not restarted from here: q comes back to tdb
        (tdb) cl 1
        Deleted breakpoint 1 at ...
        (tdb) q
        > step 3  loss ...
        -> controller.wait_if_paused()
        (tdb) c
        Training finished after 5 steps
        (tdb) pystep
        *** training is over (finished at step 5): looking commands still work, `quit` leaves
    """)


def test_exit_leaves_the_python_prompt_in_pdb(make_session: Make) -> None:
    session = make_session(LOOP)
    session.type("step;; pystep;; interact;; exit()")
    assert session.interpreter.prompt == "(Pdb) "
    session.type("c")
    assert session.controller.position.step == 2


def test_python_prompt_in_pdb_and_the_end_of_input(make_session: Make) -> None:
    session = make_session(LOOP)
    session.type("step;; pystep")
    assert session.interpreter.prompt == "(Pdb) "
    assert list(session.session.shell.completions("p ste") or []) == ["step"]
    assert session.type("interact") == "*interactive*\n"
    assert session.interpreter.prompt == ">>> "
    assert "NameError: name 'nosuch'" in session.type("nosuch")
    session.type("for _ in range(2):")
    assert session.interpreter.prompt == "... "
    session.interpreter.end_reader()  # Ctrl-D leaves the Python prompt, and a second one pdb
    assert session.interpreter.prompt == "(Pdb) "
    session.interpreter.abandon()  # Ctrl-C clears the line
    assert session.interpreter.prompt == "(Pdb) "
    session.interpreter.end_reader()
    assert session.interpreter.prompt == "(tdb) "
    assert session.controller.position.step == 2


def test_an_exception_in_the_step_and_the_end_of_training(make_session: Make) -> None:
    session = make_session(LOOP.replace("number = twice(step)", "number = twice(step) / (3 - step)"))
    session.play("""
        (tdb) step 2
        > step 2 ...
        (tdb) pystep
        > ...
        (tdb) n
        > ...
        (tdb) n
        > ...train.py(19)train()
        -> number = twice(step) / (3 - step)
        (tdb) n
        ZeroDivisionError: division by zero
        > ...train.py(19)train()
        -> number = twice(step) / (3 - step)
        (tdb) p step
        3
        (tdb) c
        Traceback (most recent call last):
        ...
        Training crashed after step 2: ZeroDivisionError: division by zero
        (tdb) p step
        3
    """)
    session = make_session(LOOP)
    session.type("step 5")
    session.type("pystep")
    assert "-> return model" in session.type("n")
    assert "--Return--" in session.type("n")
    assert "<module>()->None" in session.type("n")
    assert session.interpreter.prompt == "(Pdb) "
    assert session.type("n") == "Training finished after 5 steps\n"


def test_stop_points_count_and_their_commands_run(make_session: Make) -> None:
    make_session(LOOP).play("""
        (tdb) step
        > step 1 ...
        (tdb) b when step > 1;; commands;; p 'held', step;; end
        Breakpoint 1, when step > 1
        not so at step 1: step = 1 > 1
        (tdb) pystep;; n;; c
        > ...
        Breakpoint 1 at step 2: step = 2 > 1
        > step 2 ...
        ...
        ('held', 2)
    """)


WORKERS = """
    import os
    import torch
    from torch.utils.data import DataLoader
    import tdb


    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            return torch.tensor([float(os.getpid()), float(index)])


    controller = tdb.active_controller()
    controller.begin()
    step = 0
    for epoch in range(3):
        for batch in DataLoader(Data(), batch_size=4, num_workers=2, multiprocessing_context="fork"):
            step += 1
            controller.capture_batch(batch, 0.0, step)
            controller.wait_if_paused()
"""


def test_pdb_is_not_forked_into_the_workers_of_the_step(make_session: Make) -> None:
    session = make_session(WORKERS)
    session.type("step 2;; pystep")
    shown = [session.type("n") for _ in range(4)]
    assert "step += 1" in shown[-1] or "step += 1" in shown[-2], shown
    session.type("c")
    assert session.controller.position.step == 3
    assert session.type("c") == "Training finished after 6 steps\n"


def test_json_refuses(make_session: Make) -> None:
    session = make_session(LOOP, as_json=True)
    session.answer("step")
    assert "does not answer in JSON" in session.type("pystep")


def test_in_a_script_the_lines_that_follow_are_pdbs(
    tmp_path: Path, run_with_torch: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (tmp_path / "train.py").write_text(textwrap.dedent(LOOP))
    (tmp_path / "look.tdb").write_text("step\npystep\nn\nn\np ('in pdb', step)\nc\np ('in tdb', step)\npystep\nn\n")
    ended = run_with_torch("-m", "tdb", "--nx", "-x", "look.tdb", "-c", "p ('then', step)", "train.py")
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.split("\n")
    assert lines[lines.index("(Pdb) p ('in pdb', step)") + 1] == "('in pdb', 2)"
    assert lines[lines.index("(tdb) p ('in tdb', step)") + 1] == "('in tdb', 2)"
    assert "('then', 3)" in lines  # the script ended while pdb asked: the step ran to its end


def test_weights_are_those_of_a_plain_run(make_session: Make, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    arguments = ("--condition", "bcl-slow", "--steps", "12", "--save")
    main([*arguments, str(tmp_path / "plain.safetensors")])
    script = Script("recipes.gradient_gating_l0", (*arguments, str(tmp_path / "pdb.safetensors")), is_module=True)
    session = make_session(script)
    session.type("step 3")
    for commands in (["n"] * 4 + ["s"] * 40 + ["w", "c"], ["n", "n", "p torch.is_grad_enabled()", "q"]):
        assert "> " in session.type("pystep")
        for line in commands:
            assert session.interpreter.prompt == "(Pdb) "
            session.type(line)
        assert session.interpreter.prompt == "(tdb) "
    assert session.controller.position.step == 5
    assert "Training finished after 12 steps" in session.type("continue")
    assert (tmp_path / "pdb.safetensors").read_bytes() == (tmp_path / "plain.safetensors").read_bytes()


def test_tdbs_own_frames_are_hidden(make_session: Make) -> None:
    session = make_session(LOOP)
    session.type("step;; pystep")
    seen: list[Any] = []
    while session.interpreter.prompt == "(Pdb) ":
        seen.append(session.type("s"))
    assert "captures.py" not in "".join(seen)
    assert "capture_batch(inputs, loss, step)" in "".join(seen)
    assert "optimizer.py" in "".join(seen)  # what the loop calls is the user's to see
