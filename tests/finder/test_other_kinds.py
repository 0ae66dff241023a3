"""Models and loops that compute in ways of their own: looked at from all sides, they come out as in a plain run."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from tests.finder.test_hard_cases import ONE_STEP, PRELUDE, finished
from tests.typing_session import TypingSession

OPTIMIZER = "optimizer = torch.optim.Adam(model.parameters(), lr=0.01)\n"
LOOP = f"seen = []\nfor x, y in loader:{ONE_STEP}    seen.append(loss.item())\n"


class Kind(NamedTuple):
    """A script, and what its steps are told to be.

    Attributes:
        text: of the script, after `PRELUDE`; it has `seen`, the losses of its steps, if any are told.
        losses: the names of a step's losses.
        shown: must be among what is shown.
        without: is not there to be looked at.
    """

    text: str
    losses: list[str] = ["loss"]  # noqa: RUF012 - of a tuple
    shown: str = "mean_activation"
    without: str = "***"


KINDS = {
    "weights that change what they are computed of when they are read": Kind(
        """
from torch.nn.utils.parametrizations import orthogonal, spectral_norm
model = nn.Sequential(spectral_norm(nn.Linear(6, 5)), nn.ReLU(), orthogonal(nn.Linear(5, 2)))
"""
        + OPTIMIZER
        + LOOP
    ),
    "complex weights": Kind(
        """
class Spectrum(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(6, 5, dtype=torch.cfloat), nn.Linear(5, 2)
    def forward(self, x):
        return self.outer(self.inner(torch.fft.fft(x)).abs())
model = Spectrum()
"""
        + OPTIMIZER
        + LOOP,
        shown="descent_cos",
        without="mean_activation",
    ),
    "a scripted model": Kind(
        "model = torch.jit.script(model)\n" + OPTIMIZER + LOOP, shown="update_norm", without="mean_activation"
    ),
    "weights that are made in the first step": Kind(
        "model = nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.Linear(5, 2))\n" + OPTIMIZER + LOOP,
        without="no focus",
    ),
    "parts that are computed again in the backward pass": Kind(
        """
from torch.utils.checkpoint import checkpoint
class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.2)), nn.Linear(5, 2)
    def forward(self, x):
        x = checkpoint(self.first, x, use_reentrant=False)
        return checkpoint(self.second, x, use_reentrant=True)
model = Parts()
"""
        + OPTIMIZER
        + LOOP,
        without="called 2 times",
    ),
    "an optimizer a parameter, which updates in the backward pass": Kind(
        """
optimizers = {each: torch.optim.SGD([each], lr=0.1, momentum=0.9) for each in model.parameters()}
def update(parameter):
    optimizers[parameter].step()
    optimizers[parameter].zero_grad()
for each in model.parameters():
    each.register_post_accumulate_grad_hook(update)
"""
        + LOOP.replace("    optimizer.zero_grad()\n", "").replace("    optimizer.step()\n", "")
    ),
    "a whole step that is compiled": Kind(
        """
import torch._dynamo
torch._dynamo.reset()
graphs = []
def backend(graph, inputs):
    graphs.append([node.target.__name__ for node in graph.graph.nodes if node.op == "call_function"])
    return graph.forward
"""
        + OPTIMIZER
        + """
@torch.compile(backend=backend)
def train(x, y):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.detach()
seen = [train(x, y).item() for x, y in loader]
first = [], ["linear"], ["cross_entropy"], ["iadd"]  # model (its modules before torch 2.5) and update, nothing of tdb
assert all(graph[:1] in first for graph in graphs), graphs
""",
        shown="update_norm",
        without="mean_activation",
    ),
    "tensors that have a shape and no numbers": Kind(
        OPTIMIZER
        + LOOP.replace(
            "    loss.backward()", "    shape = (torch.empty(8, device='meta') + 1).sum()\n    loss.backward()"
        )
    ),
    "gradients that are handed to the script": Kind(
        OPTIMIZER
        + LOOP.replace(
            "    loss.backward()",
            """    attack, = torch.autograd.grad(-loss, model[0].weight, create_graph=True)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    for parameter, gradient in zip(model.parameters(), gradients):
        parameter.grad = gradient""",
        )
    ),
    "a gradient a sample": Kind(
        """
from torch.func import functional_call, grad, vmap
"""
        + OPTIMIZER
        + """
def loss_of(parameters, x, y):
    return nn.functional.cross_entropy(functional_call(model, parameters, (x[None],)), y[None])
for x, y in loader:
    parameters = {name: each.detach() for name, each in model.named_parameters()}
    gradients = vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, x, y)
    for name, each in model.named_parameters():
        each.grad = gradients[name].clamp(-0.1, 0.1).mean(0)
    optimizer.step()
""",
        losses=[],
        shown="grad_norm",
        without="mean_activation",
    ),
    "a gradient a sample, without a loader": Kind(
        """
from torch.func import functional_call, grad, vmap
inputs, labels = inputs[:8], labels[:8]
"""
        + OPTIMIZER
        + """
def loss_of(parameters, x, y):
    return nn.functional.cross_entropy(functional_call(model, parameters, (x,)), y)
for step in range(8):
    parameters = {name: each.detach() for name, each in model.named_parameters()}
    gradients = vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, labels)
    for name, each in model.named_parameters():
        each.grad = gradients[name].mean(0)
    optimizer.step()
""",
        losses=[],
        shown="grad_norm",
    ),
    "several roots that are differentiated together, in a mode of torch": Kind(
        OPTIMIZER
        + "seen = []\nwith torch.device('cpu'):\n  for x, y in loader:"
        + ONE_STEP.replace("loss.backward()", "torch.autograd.backward([loss, 0 * loss])")
        + "    seen.append(loss.item())\n"
    ),
    "two backward passes for an update": Kind(
        OPTIMIZER
        + """
seen = []
for x, y in loader:
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    before = [each.detach().clone() for each in model.parameters()]
    with torch.no_grad():
        for each in model.parameters():
            each += 0.05 * each.grad / each.grad.norm()
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    with torch.no_grad():
        for each, old in zip(model.parameters(), before):
            each.copy_(old)
    optimizer.step()
    optimizer.zero_grad()
    seen.append(loss.item())
""",
        losses=["loss", "loss_2"],
    ),
    "an attack on the inputs before each step": Kind(
        OPTIMIZER
        + LOOP.replace(
            ONE_STEP,
            """
    x = x.clone().requires_grad_()
    attack = -nn.functional.cross_entropy(model(x), y)
    attack.backward()
    x = (x - 0.1 * x.grad.sign()).detach()"""
            + ONE_STEP,
        ),
        losses=["attack", "loss"],
    ),
    "an objective that was evaluated before the update that evaluates it": Kind(
        """
class Sharp(torch.optim.SGD):
    def step(self, closure):
        with torch.enable_grad():
            closure()
        super().step()
optimizer = Sharp(model.parameters(), lr=0.1)
seen = []
for x, y in loader:
    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss
    seen.append(closure().item())
    optimizer.step(closure)
"""
    ),
    "an update that adds the last of several batches itself": Kind(
        """
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
seen = []
for x, y in loader:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y) / 2
    loss.backward()
    seen.append(loss.item())
    def closure():
        loss = nn.functional.cross_entropy(model(x), y) / 2
        loss.backward()
        seen[-1] += loss.item()
        return loss
    optimizer.step(closure)
"""
    ),
}
LOOKS = (
    *("start", "step", "metrics", "layers", "force 0", "detect", "set record.every 1", "watch 0"),
    *("phase;;phase;;phase;;phase;;step", "metrics", "layers", "batch"),
)
EPOCHS = "dataset = torch.utils.data.ConcatDataset([dataset] * 2)\n"


@pytest.fixture
def run_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Runs a script plainly, and begins a session on it; gives the session and the variables of the plain run."""
    monkeypatch.chdir(tmp_path)
    torch.zeros(1, requires_grad=True).sum().backward()
    made: list[TypingSession] = []

    def run(text: str) -> tuple[TypingSession, dict[str, Any]]:
        whole = PRELUDE.replace("loader =", EPOCHS + "loader =") + text
        path = tmp_path / "train.py"
        path.write_text(whole)
        plain: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(whole, str(path), "exec"), plain)
        made.append(TypingSession(tmp_path, whole))
        made[-1].type("set figures off")
        return made[-1], plain

    yield run
    for session in made:
        session.close()


@pytest.mark.parametrize("name", KINDS)
def test_looked_at_from_all_sides(run_twice: Callable[[str], Any], name: str) -> None:
    kind = KINDS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*(torch.jit|Lazy|not a leaf|Guards may run slower)")
        session, plain = run_twice(kind.text)
        shown = "".join(session.type(line) for line in LOOKS)
        if kind.losses:
            assert [*session.controller.get_step_data("losses")] == kind.losses
        assert finished(session) == "Training finished after 8 steps"
    assert "a bug in tdb" not in shown
    assert "no anomaly: " in shown
    assert re.search(r"^\S+ +8x6 +float32 ", shown, re.MULTILINE)
    assert kind.shown in shown
    assert kind.without not in shown.replace("*** this step is at", "")
    assert session.session.run is not None
    same = vars(session.session.run.module)
    for one, other in zip(state_of(same), state_of(plain), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    if kind.losses:
        assert session.controller.recorder.history.loss()[1].tolist() == plain["seen"]


def state_of(script: dict[str, Any]) -> list[torch.Tensor]:
    return [*script["model"].parameters(), *script["model"].buffers()]
