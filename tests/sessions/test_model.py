"""The whole model: `layers` and `optim`, compared with what a plain loop computes for itself."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tdb.prompt_python import run_python
from tests.typing_session import TypingSession

Make = Callable[..., TypingSession]

LOOP = """
    import torch
    import tdb
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(1)


    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.norm = nn.BatchNorm1d(width)
            self.linear = nn.Linear(width, width)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            return x + self.relu(self.linear(self.norm(x)))


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(6, 8)
            self.blocks = nn.Sequential(Block(8), Block(8), Block(8))
            self.last = nn.Linear(8, 3)
            self.spare = nn.Linear(2, 2)
            self.frozen = nn.Linear(8, 8).requires_grad_(False)
            self.tied = nn.Linear(6, 8)
            self.tied.weight = self.first.weight

        def forward(self, x):
            return self.last(self.frozen(self.blocks(self.first(x) + self.tied(x))))


    class Trainer:
        model = Net()
        optimizer = torch.optim.Adam(
            [{"params": [*model.first.parameters(), model.tied.bias]},
             {"params": [*model.blocks.parameters(), *model.last.parameters(), *model.spare.parameters()],
              "lr": 0.02, "weight_decay": 0.1}], lr=0.01)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)


    def train(controller):
        controller.begin(Trainer)
        for step in range(1, 100):
            inputs, labels = torch.randn(5, 6), torch.randint(0, 3, (5,))
            loss = nn.functional.cross_entropy(Trainer.model(inputs), labels)
            if step == 7:
                loss = loss * float("nan")
            Trainer.optimizer.zero_grad(set_to_none=False)
            loss.backward()
            controller.capture_batch((inputs, labels), loss, step)
            Trainer.optimizer.step()
            Trainer.optimizer.zero_grad()
            Trainer.scheduler.step()
            controller.wait_if_paused()


    train(tdb.active_controller())
"""

ORACLE = """
    import json
    out = {}


    def keep(name):
        def hook(module, inputs, output):
            out[name] = [float(output.detach().double().mean()), float(output.detach().double().std(correction=0)),
                         float((output.detach() == 0).double().mean())]
        return hook


    for name, module in Trainer.model.named_modules():
        module.register_forward_hook(keep(name))


    def norm(tensors):
        return sum(float(t.double().pow(2).sum()) for t in tensors) ** 0.5


    def train():
        for step in range(1, 4):
            inputs, labels = torch.randn(5, 6), torch.randint(0, 3, (5,))
            before = {name: weight.detach().clone() for name, weight in Trainer.model.named_parameters()}
            nn.functional.cross_entropy(Trainer.model(inputs), labels).backward()
            grads = {name: weight.grad.clone() for name, weight in Trainer.model.named_parameters()
                     if weight.grad is not None}
            Trainer.optimizer.step()
            Trainer.optimizer.zero_grad()
            Trainer.scheduler.step()
        after = dict(Trainer.model.named_parameters())
        rows = {}
        for name, _ in Trainer.model.named_modules():
            inside = [w for w in after if not name or w.startswith(name + ".")]
            trained = [w for w in inside if after[w].requires_grad]
            change = norm(after[w] - before[w] for w in trained) / (norm(before[w] for w in trained) or 1)
            gradient = norm(grads[w] for w in inside if w in grads)
            rows[name] = [norm(after[w] for w in inside), gradient, change, *out.get(name, [])]
        print(json.dumps(rows))


    train()
"""


def test_layers_says_what_a_plain_loop_computes(make_session: Make, tmp_path: Path) -> None:
    """Sums over modules, an output overwritten in place, gradients that were cleared, a shared weight."""
    session = make_session(LOOP, as_json=True)
    session.answer("step 3")
    table = session.answer("layers all")["layers"]
    rows = {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["rows"]}
    for name, (weight, grad, ratio, *output) in plain_run(tmp_path).items():
        row = rows[name]
        if name == "tied":  # its weight is counted where it was first seen, and in the module that has it
            continue
        assert (row["weight_norm"] or 0) == pytest.approx(weight, rel=1e-5), name
        assert (row["grad_norm"] or 0) == pytest.approx(grad, rel=1e-5), name
        assert (row["update_ratio"] or 0) == pytest.approx(ratio, rel=1e-4), name
        if output:
            assert [row["mean"], row["std"], row["zeros"]] == pytest.approx(output, rel=1e-4, abs=1e-6), name
    assert rows[""]["parameters"] == 6 * 8 + 8 + 3 * (16 + 72) + 27 + 6 + 72 + 8
    assert rows["spare"]["problems"] == "no gradient for weight and bias"
    assert rows["spare"]["remarks"] == "not called in this step"
    assert rows["frozen"]["remarks"] == "frozen"
    assert rows["tied"]["remarks"] == "weight is first.weight"


def plain_run(folder: Path) -> dict[str, Any]:
    """Return what the same training computes without tdb."""
    import contextlib
    import io
    import json
    import textwrap

    source = textwrap.dedent(LOOP).replace("    train(tdb.active_controller())", "")
    source = source[: source.index("def train(")] + textwrap.dedent(ORACLE)
    path, said = folder / "plain.py", io.StringIO()
    path.write_text(source)
    with contextlib.redirect_stdout(said):
        exec(compile(source, str(path), "exec"), {"__name__": "plain"})
    found: dict[str, Any] = json.loads(said.getvalue())
    return found


def test_layers_reads_at_80_columns_and_opens_what_is_folded(make_session: Make, tmp_path: Path) -> None:
    session = make_session(LOOP)
    session.play("""
        (tdb) layers
        *** no model is known. It is once training has begun: `start`
        (tdb) step 2
        > step 2 ...
        (tdb) layers depth 1
        module                 params   |w|  grad  update    mean   std  zeros
        Net ...
          first Linear             56  ...
          blocks Sequential +     264  ...
          last Linear              27  ...
          ! spare Linear            6  ...  0
          frozen Linear            72  ...
          tied Linear              56  ...
        7 of 19 modules; `layers blocks` shows what is inside
        ! spare: no gradient for weight and bias
        spare: not called in this step
        frozen: frozen
        tied: weight is first.weight
        (tdb) layers blocks depth 1
        module  ...
        blocks Sequential ...
          0 Block + ...
          1 Block + ...
          2 Block + ...
        4 of 19 modules; `layers blocks.0` shows what is inside
        (tdb) layers bloks
        *** no module 'bloks'. Did you mean: blocks, ...
        (tdb) layers depth 0
        *** layers depth takes a number from 1, not '0'. Example: layers depth 3
    """)
    session.type(f"layers all -o {tmp_path}/layers.csv")
    rows = list(csv.DictReader((tmp_path / "layers.csv").open()))
    assert len(rows) == 19
    assert rows[3]["module"] == "blocks.0"
    assert float(rows[3]["grad_norm"]) > 0


def test_layers_names_what_is_not_finite_and_says_what_a_free_run_has_not(make_session: Make) -> None:
    session = make_session(LOOP)
    shown = session.type("until 5;; step 2;; layers")
    assert "! first, blocks.0.norm, blocks.0.linear and 6 more: NaN in its gradients" in shown
    assert "! first, blocks.0.norm, blocks.0.linear and 6 more: NaN in its weights" in shown
    assert re.search(r"! .* and \d+ more: NaN in all of its output", session.type("step;; layers"))
    assert "! blocks Sequential +" in session.type("layers depth 1")
    session = make_session(LOOP)
    session.type("break when loss < 0")
    session.type("break when loss > 0")
    shown = session.type("continue;; continue;; layers")
    step = session.controller.position.step
    again = f"`goto {step}` takes it again and captures it"
    assert f"this step was not captured, and so not all is known of it: {again}" in shown
    assert again in session.type("force 0")
    assert "mean" not in shown
    assert "|w|" in shown


def test_optim_shows_groups_memory_and_schedulers(make_session: Make) -> None:
    session = make_session(LOOP, as_json=True)
    session.answer("step 4")
    answer = session.answer("optim")
    table = answer["groups"]
    first, second = (dict(zip(table["columns"], row, strict=True)) for row in table["rows"])
    assert (first["optimizer"], first["params"], first["updates"], first["this step"]) == ("0 Adam", 64, 4, "1 update")
    assert first["lr"] == pytest.approx(0.0001)
    assert (second["lr"], second["weight_decay"]) == pytest.approx((0.0002, 0.1))
    memory = "sum(float(Trainer.optimizer.state[p]['exp_avg'].pow(2).sum()) for p in Trainer.model.first.parameters())"
    bias = "float(Trainer.optimizer.state[Trainer.model.tied.bias]['exp_avg'].pow(2).sum())"
    assert first["|exp_avg|"] == pytest.approx(session.answer(f"p ({memory} + {bias}) ** 0.5")["value"], rel=1e-5)
    assert answer["scheduler"] == "StepLR, stepped 4 times, learning rate 0.0001, 0.0002"


def test_distributions_count_every_value(make_session: Make, tmp_path: Path) -> None:
    session = make_session(LOOP, as_json=True)
    session.answer("step 3")
    table = session.answer("layers activations --json")["table"]
    session.type(f"layers activations -o {tmp_path}/a.npy")
    shares = np.load(tmp_path / "a.npy")
    rows = {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["rows"]}
    zeros = [row["zeros"] for row in rows.values()]
    np.testing.assert_allclose(shares.sum(axis=1) + zeros, 1)
    half = shares.shape[1] // 2
    np.testing.assert_allclose(shares[:, :half].sum(axis=1), [row["negative"] for row in rows.values()])
    assert shares[list(rows).index("blocks.0.relu"), :half].sum() == 0
    gradient = run_python(session.session, "Trainer.model.last.weight.grad")
    assert gradient is None
    table = session.answer("layers gradients last")["table"]
    assert [row[0] for row in table["rows"]] == ["last.weight", "last.bias"]
    shown = make_session(LOOP)
    assert "activations of 13 modules" in shown.type("step;; layers activations")
    assert "*** no weights in 'blok'" in shown.type("layers weights blok")
    assert "*** layers draws activations, gradients, weights, not first" in shown.type("layers first last")


IN_TURNS = """
    import torch
    import tdb
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2).requires_grad_(False))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    controller = tdb.attach(model, optimizer)
    for step in range(1, 4):
        model[0].requires_grad_(True)
        loss = model(torch.randn(5, 4)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model[0].requires_grad_(False)
        controller.capture_batch(None, loss, step)
        controller.wait_if_paused()
"""


def test_a_layer_that_was_trained_in_this_step_is_not_frozen(make_session: Make) -> None:
    """As the discriminator of a GAN, which is so while the generator has its turn."""
    session = make_session(IN_TURNS)
    session.type("step")
    shown = session.type("layers")
    assert "\n1: frozen" in shown
    assert "0: frozen" not in shown
    assert "0, 1: frozen" not in shown


def test_the_model_is_looked_at_before_the_first_step(make_session: Make) -> None:
    """Its tree and the layer of the tables; what only a step has is not there."""
    session = make_session(IN_TURNS)
    session.play("""
        (tdb) start
        > step 0 ...
        (tdb) layers
        module      params   |w|
        Sequential      23   1.3
          0 Linear      15     1
          1 Linear       8  0.82
        3 of 3 modules
        1: frozen
        (tdb) focus 1
        focus 1: Linear, 2 features of 3
        (tdb) layers gradients
        *** no step has been taken yet: `step` takes the first
    """)
    assert session.type("layers weights").startswith("parameter ")
    assert session.type("step").startswith("> step 1 ")
    assert "of 2 rows of layer 1" in session.type("metrics top 1")
