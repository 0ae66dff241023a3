"""Scripts that have never heard of tdb, as programs: their streams, signals, processes and exit statuses."""

from __future__ import annotations

import pytest

from tests.scripts.conftest import Place

LOOP = """
import sys
import torch
from torch import nn
torch.manual_seed(0)
torch.set_num_threads(1)

def train(steps=6):
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(steps):
        loss = model(torch.ones(4, 3)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()
"""

EVERYTHING = (
    LOOP
    + """
import asyncio, os, pickle, signal, warnings

class Own:
    pass

if __name__ == "__main__":
    print(__spec__, pickle.loads(pickle.dumps(Own())).__class__.__module__, sys.argv[1:])
    warnings.warn("as in a plain run", DeprecationWarning)
    signal.signal(signal.SIGUSR1, lambda number, frame: print("heard", flush=True))
    os.kill(os.getpid(), signal.SIGUSR1)

    async def wait():
        done = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, done.set)
        os.kill(os.getpid(), signal.SIGUSR2)
        await asyncio.wait_for(done.wait(), 100)
        asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR2)

    asyncio.run(wait())
    print("loss", train(), flush=True)
    sys.exit(7)
"""
)

PROCESSES = (
    LOOP
    + """
import os
import torch.multiprocessing as multiprocessing

def child(queue):
    import tdb
    queue.put((tdb.active_controller() is None, train()))

if __name__ == "__main__":
    # What optimizers load at their first use takes seconds: forked children have it already.
    torch.optim.SGD([torch.zeros(1)], lr=0.1).zero_grad()
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        queue = context.SimpleQueue()
        process = context.Process(target=child, args=(queue,))
        process.start()
        print(method, queue.get()[0])
        process.join()
        print(process.exitcode)
    if os.fork() == 0:
        train()
        sys.exit(5)
    print(os.waitstatus_to_exitcode(os.wait()[1]))
    print("loss", train(), flush=True)
"""
)


def test_everything_else_is_as_in_a_plain_run(torch_place: Place) -> None:
    torch_place.write("train.py", EVERYTHING)
    plain = torch_place.python("train.py", "--lr", "1")
    debugged = torch_place.tdb("-c", "continue", "train.py", "--lr", "1")
    assert debugged.status == plain.status == 7
    *lines, last = debugged.out.splitlines()
    assert lines == plain.out.splitlines()
    assert last == "Training finished after 6 steps: the script left with exit status 7"
    assert debugged.error == plain.error
    assert "as in a plain run" in plain.error


SHARDED = """
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
torch.manual_seed(0)
model = fully_shard(nn.Linear(6, 2), mesh=init_device_mesh("cpu", (1,)))
optimizer = torch.optim.Adam(model.parameters())
for step in range(5):
    loss = model(torch.randn(4, 6)).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
print(model.weight.full_tensor().sum().item())
dist.destroy_process_group()
"""


def test_weights_that_are_sharded_are_looked_at_as_far_as_they_are_here(torch_place: Place) -> None:
    torch_place.write("train.py", SHARDED)
    looks = ("step", "layers", "layers gradients", "catch nan", "detect", "continue")
    debugged = torch_place.tdb(*[word for each in looks for word in ("-c", each)], "train.py")
    assert debugged.status == 0, debugged.error
    assert torch_place.python("train.py").out in debugged.out
    assert "Training finished after 5 steps" in debugged.out
    assert "no layer has a weight that is whole in this process" in debugged.error


def test_processes_that_train_are_announced_and_not_followed(torch_place: Place) -> None:
    torch_place.write("train.py", PROCESSES)
    plain = torch_place.python("train.py")
    debugged = torch_place.tdb("-c", "step 2", "-c", "continue", "train.py")
    assert (debugged.status, plain.status) == (0, 0), debugged.error
    shown = [line for line in debugged.out.splitlines() if not line.startswith(("> ", "-> ", "Training"))]
    assert shown == plain.out.splitlines()
    assert "Training finished after 6 steps" in debugged.out
    assert (debugged.out + debugged.error).count("the script starts processes (") == 1


@pytest.mark.parametrize("reads", ["input('go on? ')", "sys.stdin.read()", "next(iter(sys.stdin))"])
def test_a_script_that_reads_stdin_is_refused_unless_nobody_types_there(place: Place, reads: str) -> None:
    place.write("ask.py", f"import sys\nanswer = {reads}\nprint('answer', answer)\n")
    ended = place.tdb("ask.py", stdin="continue\np 'still here'\n")
    assert "Training crashed after step 0: StdinTakenError: the script reads stdin" in ended.out
    assert "'still here'" in ended.out
    assert place.tdb("--batch", "-c", "continue", "ask.py", stdin="yes\n").out.splitlines()[0].endswith("answer yes")
    (place.folder / "answers").write_text("from a file\n")
    given = place.tdb("-c", "! import sys; sys.stdin = open('answers')", "-c", "continue", "ask.py")
    assert "answer from a file" in given.out


@pytest.mark.parametrize("ends", ["exit()", "quit(0)", "import sys; sys.stdin.close()"])
def test_a_script_that_closes_stdin_leaves_it_to_whoever_types_there(place: Place, ends: str) -> None:
    place.write("ends.py", f"print('the script ends')\n{ends}\n")
    ended = place.tdb("ends.py", stdin="continue\np 'still here'\n")
    assert ended.out.splitlines()[-1] == "'still here'"
    assert ended.status == 0


def test_a_handler_for_interrupts_is_kept_and_announced(place: Place) -> None:
    place.write(
        "handle.py", "import signal\nsignal.signal(signal.SIGINT, lambda number, frame: print('saved'))\nprint('on')\n"
    )
    ended = place.tdb("-c", "continue", "handle.py")
    told = "the script handles SIGINT: Ctrl-C still pauses, `interrupt` calls the script's handler"
    assert told in ended.out + ended.error
