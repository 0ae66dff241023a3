"""What a script lets go of is gone under tdb, too: a step's activations may be most of the memory that there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tdb.prompt_python import run_python
from tests.typing_session import TypingSession

# Says after each step which steps' outputs, batches and losses are still there.
SCRIPT = """
import weakref
import torch
from torch import nn

alive = []

def train():
    torch.manual_seed(0)
    model = nn.Linear(6, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = torch.utils.data.DataLoader(torch.randn(48, 6), batch_size=8)
    seen = []
    for epoch in range(2):
        for batch in loader:
            output = model(batch)
            loss = output.pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append([weakref.ref(each) for each in (output, batch, loss)])
            alive.append([step for step, refs in enumerate(seen, 1) if any(ref() is not None for ref in refs)])

train()
"""

LOOKS = {
    "nothing": [],
    "a condition on the loss": ["break when loss < 0"],
    "a condition on a variable": ["break when batch[0, 0] > 1000"],
    "metrics at each step": ["watch 0 1", "break when weight_norm[0] < 0"],
    "a variable": ["step 3", "p output.mean().item()"],
    "an assignment": ["step 3", "seen = list(seen)"],
    "the stack": ["step 3", "where", "args", "list"],
    "all of a step": ["step 3", "batch", "layers", "metrics", "p 0", "step"],
    "a phase": ["step 3", "phase backward", "p output.mean().item()"],
}


@pytest.mark.parametrize("look", LOOKS)
def test_what_a_step_was_made_of_is_gone_after_it(tmp_path: Path, look: str) -> None:
    session = TypingSession(tmp_path, SCRIPT)
    session.type("set figures off")
    for line in LOOKS[look]:
        assert "***" not in session.type(line)
    assert "finished after 12 steps" in session.type("continue")
    assert run_python(session.session, "alive") == [[step] for step in range(1, 13)]
    session.close()


# Functions whose variables are looked at also by themselves.
LOOKS_ITSELF = """
import torch
from torch import nn

def train():
    torch.manual_seed(0)
    model = nn.Linear(6, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    exec("scale = 3")
    found = []
    for step in range(4):
        loss = model(torch.randn(8, 6)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(eval("scale") + locals()["scale"] + eval("step"))
    return found

found = train()
"""


def test_names_that_a_function_has_made_by_exec_stay(tmp_path: Path) -> None:
    session = TypingSession(tmp_path, LOOKS_ITSELF)
    session.type("step")
    for line in ("break when step > 90 and loss > 1000", "break while scale > 3", "p step", "found = list(found)"):
        assert "***" not in session.type(line)
    assert "finished after 4 steps" in session.type("continue")
    assert run_python(session.session, "found") == [6, 7, 8, 9]
    session.close()
