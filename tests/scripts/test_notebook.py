"""A real kernel: a loop in a thread of it, looked at from its cells."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import PATIENCE
from tests.scripts.conftest import Place

LOOP = """
import threading, time, torch, tdb
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(32, 6), torch.randint(2, (32,))
controller = tdb.attach(model, optimizer)

def train(steps):
    for inputs, labels in controller.steps([(x, y)] * steps):
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

controller.pause()
thread = threading.Thread(target=train, args=(1_000_000,))
thread.start()
controller.wait()
"""


class Kernel:
    """A kernel that runs cells."""

    def __init__(self, client: Any, manager: Any) -> None:
        self._client = client
        self._manager = manager

    def run(self, cell: str, *, interrupt: bool = False) -> str:
        """Run a cell and return all that is shown under it; interrupt it once it has begun."""
        request = self._client.execute(cell, allow_stdin=False)
        shown = []
        while True:
            message = self._client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                shown.append(content["text"])
            elif kind in ("execute_result", "display_data"):
                shown += [f"[{each}]" for each in content["data"] if each.startswith("image")]
                shown.append(content["data"]["text/plain"])
            elif kind == "error":
                shown.append(f"{content['ename']}: {content['evalue']}")
            elif kind == "status" and content["execution_state"] == "idle":
                return "".join(shown)
            elif kind == "execute_input" and interrupt:
                time.sleep(0.5)  # a moment in which it may begin to wait; whenever it comes, training stops
                self._manager.interrupt_kernel()


AGAIN = """
controller = tdb.attach(model, optimizer)
controller.pause()
thread = threading.Thread(target=train, args=(20,))
thread.start()
controller.wait()
"""
CRASH = """
def crash():
    for wanted, _ in enumerate(controller.steps(range(9))):
        if wanted == 3:
            raise ValueError("enough")

controller = tdb.attach(model, optimizer)
thread = threading.Thread(target=crash)
thread.start()
thread.join()
"""


@pytest.fixture
def kernel(place: Place) -> Iterator[Kernel]:
    """A kernel in a folder of its own."""
    pytest.importorskip("ipykernel", reason="ipykernel is not installed: pip install ipykernel")
    manager_of = pytest.importorskip("jupyter_client.manager")
    manager, client = manager_of.start_new_kernel(
        startup_timeout=PATIENCE, kernel_name="python3", cwd=str(place.folder), env=place.environ
    )
    yield Kernel(client, manager)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_a_loop_in_a_thread_is_looked_at_from_cells(kernel: Kernel) -> None:
    assert kernel.run(LOOP + "state = controller.get_state()\nstate['status'], state['step']") == "('stopped', 1)"
    assert kernel.run("controller.step(2)\ncontroller.wait()\ncontroller.position.step") == "3"
    assert kernel.run("round(controller.get_batch()['loss'], 1), controller.get_batch()['batch'][0].shape") == (
        "(0.7, torch.Size([32, 6]))"
    )
    kernel.run("%load_ext tdb")
    shown = kernel.run("%tdb step")
    assert shown.startswith("> step 4  epoch 1  loss 0.")
    assert "train\n" in shown
    assert "mean_activation" in kernel.run("%tdb metrics top 2")
    assert "Linear" in kernel.run("%tdb layers")
    assert kernel.run("%tdb p loss.item() > 0") == "True\n"
    assert "*** NameError: name 'nothing' is not defined" in kernel.run("%tdb p nothing")
    assert "[image/png]" in kernel.run("%tdb cosmat weights")
    assert "Breakpoint 1 at step 9" in kernel.run("%tdb tbreak 9 ;; continue")
    shown = kernel.run("%tdb continue", interrupt=True)
    assert "> step " in shown
    assert kernel.run("controller.get_state()['status'], thread.is_alive()") == "('stopped', True)"
    kernel.run("controller.resume()")
    assert "KeyboardInterrupt" in kernel.run("while True: time.sleep(0.05)", interrupt=True)
    assert kernel.run("controller.get_state()['status']") == "'running'"  # the cell's own loop was interrupted
    assert "> step " in kernel.run("%tdb pause")
    assert kernel.run("controller.resume()\ncontroller.pause()\n%tdb step").count("> step ") == 2  # it waits
    assert kernel.run("%tdb quit\nthread.join(120)\nthread.is_alive()") == "False"


def test_cells_are_run_again_and_what_ends_training_is_looked_at(kernel: Kernel) -> None:
    kernel.run("%load_ext tdb")
    kernel.run(LOOP.replace("controller.pause()", "controller.stop()"))
    kernel.run("thread.join()")
    kernel.run("controller = tdb.attach(model, optimizer)")
    assert "Its thread begins it: threading.Thread(target=train).start()" in kernel.run("%tdb step")
    assert "Its thread begins it: threading.Thread(target=train).start()" in kernel.run("%tdb start")
    for _ in range(2):
        assert kernel.run(AGAIN) == "'stopped'"
        kernel.run("%tdb quit\nthread.join()")
    assert kernel.run("train(20)") == ""  # in a cell of its own
    assert "its cell has ended" in kernel.run("%tdb where")
    kernel.run("controller = tdb.attach(model, optimizer)\n%tdb tbreak 9999")
    assert kernel.run("train(2)").startswith("this cell trains: where it stops, no other cell runs")
    assert kernel.run("%tdb clear 1").startswith("Training finished after")
    assert "looking commands still work, `tdb.attach` begins anew" in kernel.run("%tdb step")
    assert kernel.run(AGAIN) == "'stopped'"
    shown = kernel.run("%%tdb\nstep 3\n# the shell's lines\npystep\nnext\np inputs.shape\ncontinue")
    assert "\n-> loss = " in shown
    assert "\n-> optimizer.zero_grad()\ntorch.Size([32, 6])\n> step " in shown
    assert "(Pdb) reads the next %tdb lines, up to `%tdb q`" in kernel.run("%tdb pystep")
    assert kernel.run("%tdb p labels.shape") == "torch.Size([32])\n"
    assert "> step " in kernel.run("%tdb q")
    assert kernel.run("labels = 7\n%tdb p f'{labels.shape}', {'a': 1}") == "('torch.Size([32])', {'a': 1})\n"
    kernel.run(CRASH)
    shown = kernel.run("%tdb p wanted")
    assert "the loop that was attached before is stopped at step" in shown
    assert "Training crashed after step 3: ValueError: enough\n3\n" in shown
    assert kernel.run("controller = tdb.attach(model, optimizer)\n%tdb where") == "> training has not started\n"
    assert "there is no exception" in kernel.run("%tdb exceptions")
    assert "ValueError: enough" in kernel.run("crash()")  # in a cell of its own
    shown = kernel.run("%tdb p wanted")
    assert shown.startswith("Traceback (most recent call last):\n  File ")
    assert "interactiveshell" not in shown
    assert shown.endswith("Training crashed after step 6: ValueError: enough\n3\n")
    kernel.run("1 / 0")  # and that is no training
    kernel.run("controller = tdb.attach(model, optimizer)\ncrash = lambda: list(controller.steps(range(3)))\ncrash()")
    kernel.run("1 / 0")
    assert "its cell has ended" in kernel.run("%tdb where")


def test_set_trace_where_nobody_can_answer_says_so_in_a_line(kernel: Kernel) -> None:
    shown = kernel.run("import tdb\ntdb.set_trace()")
    assert "*** set_trace() cannot read commands: " in shown
    assert "Traceback" not in shown
