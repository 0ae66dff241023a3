"""Loops that are not like others: each works, or is refused with one clear line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tdb.finder.discovery import MOST_SEARCHES
from tdb.prompt_python import run_python
from tests.typing_session import TypingSession

PRELUDE = """
import torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
inputs, labels = torch.randn(32, 6), torch.randint(0, 2, (32,))
dataset = torch.utils.data.TensorDataset(inputs, labels)
loader = torch.utils.data.DataLoader(dataset, batch_size=8)
"""
ONE_STEP = """
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
"""
PLAIN = "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\nfor x, y in loader:" + ONE_STEP


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., TypingSession]]:
    """Makes a session on a script: a prelude with model and loader, and what is given."""
    monkeypatch.chdir(tmp_path)
    # Were the first gradients those of a compiled model, this process could not be copied in any test from then on.
    torch.zeros(1, requires_grad=True).sum().backward()
    made: list[TypingSession] = []

    def make(text: str, prelude: str = PRELUDE) -> TypingSession:
        made.append(TypingSession(tmp_path, prelude + text))
        made[-1].type("set figures off")
        return made[-1]

    yield make
    for session in reversed(made):
        session.close()


def finished(session: TypingSession) -> str:
    """Run to the end, and return the line about it; the script must not have crashed."""
    shown = session.type("continue")
    run = session.session.run
    assert run is not None
    assert run.error is None, run.error
    (line,) = re.findall(r"Training finished.*", shown)
    return str(line)


def test_a_compiled_model(script: Callable[..., TypingSession]) -> None:
    session = script("model = torch.compile(model, backend='eager')\n" + PLAIN)
    session.play("""
        (tdb) step 2
        > step 2  epoch 1  loss ...
        -> optimizer.step()
        the model is compiled: activations are not captured (hooks added after it do not fire)
    """)
    shown = session.type("metrics top 1")
    assert "update_norm" in shown
    assert "mean_activation" not in shown
    assert finished(session) == "Training finished after 4 steps"


def test_a_compiled_function_that_calls_the_model_stays_as_it_is(script: Callable[..., TypingSession]) -> None:
    """It is not compiled in pieces, and not anew for each step that is looked at."""
    compiled = """
import torch._dynamo
torch._dynamo.reset()
graphs = []
def backend(graph, inputs):
    graphs.append([node.target.__name__ for node in graph.graph.nodes if node.op == "call_function"])
    return graph.forward
loss_of = torch.compile(lambda x, y: nn.functional.cross_entropy(model(x), y), backend=backend)
"""
    loop = PLAIN.replace("nn.functional.cross_entropy(model(x), y)", "loss_of(x, y)")
    session = script(compiled + loop.replace("in loader", "in list(loader) * 3"))
    for line in ("step 2", "layers", "step", "detect", "phase 2", "step", "set record.every 1", "step 3"):
        session.type(line)
    assert "what its modules give cannot be seen" in session.type("layers")
    assert finished(session) == "Training finished after 12 steps"
    assert session.session.run is not None
    graphs = vars(session.session.run.module)["graphs"]
    assert len(graphs) <= 3
    # torch before 2.5 calls modules in the graph, and not their functions.
    assert all(graph in (["linear", "relu", "linear", "cross_entropy"], ["cross_entropy"]) for graph in graphs)


def test_an_optimizer_that_wraps_another_and_one_that_torch_does_not_know(script: Callable[..., TypingSession]) -> None:
    wrapper = """
class Lookahead(torch.optim.Optimizer):
    def __init__(self, base):
        self.base = base
        super().__init__(base.param_groups, {})
    def step(self, closure=None):
        self.base.step(closure)
"""
    wrapped = PLAIN.replace("optimizer = ", "optimizer = Lookahead(").replace("lr=0.1)", "lr=0.1))")
    assert finished(script(wrapper + wrapped)) == "Training finished after 4 steps"
    own = """
class Descent:
    def __init__(self, parameters):
        self.parameters = list(parameters)
    def zero_grad(self):
        model.zero_grad()
    @torch.no_grad()
    def step(self):
        for parameter in self.parameters:
            parameter -= 0.1 * parameter.grad
optimizer = Descent(model.parameters())
for x, y in loader:"""
    session = script(own + ONE_STEP)
    session.play("""
        (tdb) step 2
        > step 2  epoch 1  loss ...
        ...
    """)
    assert "grad_norm" in session.type("metrics top 1")
    assert finished(session) == "Training finished after 4 steps"


def test_an_optimizer_that_never_updates_is_not_waited_for(script: Callable[..., TypingSession]) -> None:
    by_hand = """
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(5):
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        for parameter in model.parameters():
            parameter.data -= 0.1 * parameter.grad
"""
    assert finished(script(by_hand)) == "Training finished after 18 steps"  # the first two are taken for one
    other = "other = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)\n"
    assert finished(script(other + PLAIN)) == "Training finished after 4 steps"


def test_tensors_without_a_module(script: Callable[..., TypingSession]) -> None:
    session = script(
        """
weight = torch.zeros(6, 2, requires_grad=True)
for iteration in range(10):
    error = nn.functional.cross_entropy(inputs @ weight, labels)
    error.backward()
    with torch.no_grad():
        weight -= 0.1 * weight.grad
        weight.grad = None
"""
    )
    session.play("""
        (tdb) start
        > step 0 ...
        -> error.backward()
        what is trained belongs to no module, so there is no layer with features: `layers` shows it
        (tdb) step
        > step 1  error 0.6931 ...
        -> error.backward()
        (tdb) catch nan
        Catchpoint 1, nan
        not so at step 1
    """)
    assert finished(session) == "Training finished after 10 steps"


def test_an_update_that_fails_and_is_tried_again(script: Callable[..., TypingSession]) -> None:
    session = script(
        """
class Shaky(torch.optim.SGD):
    calls = 0
    def step(self, closure=None):
        Shaky.calls += 1
        if Shaky.calls == 2:
            raise MemoryError
        return super().step(closure)
optimizer = Shaky(model.parameters(), lr=0.1)
for x, y in loader:
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    try:
        optimizer.step()
    except MemoryError:
        optimizer.step()
"""
    )
    assert finished(session) == "Training finished after 4 steps"


def test_what_a_step_is_can_be_said(script: Callable[..., TypingSession]) -> None:
    two = """
optimG = torch.optim.SGD(model[0].parameters(), lr=0.1)
optimD = torch.optim.SGD(model[2].parameters(), lr=0.1)
for x, y in loader:
    for repeat in range(2):
        nn.functional.cross_entropy(model(x), y).backward()
        optimD.step()
    optimG.step()
"""
    for what, steps in {
        "auto": 4,
        "tick": 12,
        "fetch": 4,
        "backward": 8,
        "optimD": 8,
        "optimG": 4,
        "optimX": 4,
    }.items():
        session = script(two)
        assert session.type(f"set step.on {what}") == f"step.on {what}\n"
        assert finished(session) == f"Training finished after {steps} steps"
    assert "step.on takes" in session.type("set step.on 3")
    session.type("set step.on auto")


def test_an_optimizer_that_there_is_not_is_told_of_as_soon_as_that_is_known(
    script: Callable[..., TypingSession],
) -> None:
    session = script(PLAIN)
    session.play("""
        (tdb) set step.on nope
        step.on nope
        (tdb) step
        > step 1 ...
        -> optimizer.step()
        step.on nope: none of the optimizers (optimizer) is named so: steps are found as with auto
        (tdb) set step.on nada
        *** set step.on nada: none of the optimizers (optimizer) is named so. Now: nope
        (tdb) set step.on optimizer
        step.on optimizer
        (tdb) step
        > step 2 ...
        -> optimizer.step()
    """)
    by_hand = """
for x, y in loader:
    model.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad
"""
    session = script(by_hand)
    session.type("set step.on optimizer")
    assert "step.on optimizer: updates are made by hand: steps are found as with auto" in session.type("step")
    assert finished(session) == "Training finished after 4 steps"


def test_a_pass_that_ends_a_step_by_hand_is_the_first_phase_of_the_next(script: Callable[..., TypingSession]) -> None:
    session = script("""
weight = torch.zeros(6, 3, requires_grad=True)
for number, (x, y) in enumerate(loader, 1):
    loss = nn.functional.cross_entropy(x @ weight, y)
    loss.backward()
    with torch.no_grad():
        weight -= 0.1 * weight.grad
        weight.grad.zero_()
""")
    session.type("step")
    for phase in ("loss", "backward"):
        assert session.type("phase").startswith(f"> step 2 at {phase} ")
        assert session.type("p number") == "2\n"
    assert session.type("phase").startswith("> step 2 ")
    assert finished(session) == "Training finished after 4 steps"


@pytest.mark.parametrize("on", ["auto", "backward"])
def test_detection_ends_with_a_step_that_ends_in_a_backward_pass(script: Callable[..., TypingSession], on: str) -> None:
    """Torch has taken all modes off there, and puts them on again whatever happens."""
    session = script("""
weight = torch.zeros(6, 3, requires_grad=True)
for x, y in loader:
    weight.grad = None
    loss = nn.functional.cross_entropy(x @ weight, y)
    loss.backward()
    with torch.no_grad():
        weight -= 0.1 * weight.grad
modes = torch.overrides._get_current_function_mode_stack()
""")
    session.type(f"set step.on {on}")
    for _ in range(2):
        assert "no anomaly" in session.type("detect")
    session.type("detect;;phase")
    assert finished(session) == "Training finished after 4 steps"
    assert session.session.run is not None
    assert vars(session.session.run.module)["modes"] == []
    assert torch.Tensor.backward.__module__ == "torch._tensor"


def test_a_loop_that_says_itself_where_its_steps_are_takes_no_other_answer(
    script: Callable[..., TypingSession],
) -> None:
    session = script(
        PLAIN.replace("for x, y", "controller = tdb.active_controller()\ncontroller.begin()\nfor x, y")
        + "    controller.wait_if_paused()\n",
        "import tdb\n" + PRELUDE,
    )
    session.type("set step.on backward")
    assert "step.on backward: the loop says itself where its steps end" in session.type("start")
    refused = "*** set step.on tick: the loop says itself where its steps end. Now: backward\n"
    assert session.type("set step.on tick") == refused
    assert session.type("set step.on auto") == "step.on auto\n"


def test_evaluation_in_between_and_looks_before_training(script: Callable[..., TypingSession]) -> None:
    session = script(
        """
evaluation = torch.utils.data.DataLoader(dataset, batch_size=16)
shapes = next(iter(loader))[0].shape
model(shapes and inputs)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(3):
    for x, y in loader:"""
        + ONE_STEP.replace("\n", "\n    ")
        + """
    for x, y in evaluation:
        model(x)
        break
"""
    )
    assert session.type("step 6").startswith("> step 6  epoch 2 ")
    assert "8x6" in session.type("batch")
    assert finished(session) == "Training finished after 12 steps"
    assert session.controller.get_state()["epoch"] == 3


@pytest.mark.parametrize(
    "evaluation",
    [
        """
with torch.no_grad():
    for x, y in evaluation:
        model(x)
        break
""",
        """
for x, y in evaluation:
    with torch.no_grad():
        model(x.view(-1, 6))
    break
""",
    ],
)
def test_an_evaluation_before_training_that_leaves_its_pass(
    script: Callable[..., TypingSession], evaluation: str
) -> None:
    session = script(
        """
evaluation = torch.utils.data.DataLoader(dataset, batch_size=16)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
"""
        + evaluation
        + """
for epoch in range(2):
    for x, y in loader:"""
        + ONE_STEP.replace("\n", "\n    ")
    )
    assert session.type("step").startswith("> step 1  epoch 1 ")
    assert "16x6" not in session.type("batch")
    assert session.type("until 5").startswith("> step 5  epoch 2 ")
    assert finished(session) == "Training finished after 8 steps"
    assert session.controller.get_state()["epoch"] == 2


def test_an_evaluation_before_there_is_an_optimizer_is_no_epoch(script: Callable[..., TypingSession]) -> None:
    session = script(
        """
evaluation = torch.utils.data.DataLoader(dataset, batch_size=16)
for x, y in evaluation:
    with torch.no_grad():
        model(x)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(2):
    for x, y in loader:"""
        + ONE_STEP.replace("\n", "\n    ")
    )
    assert session.type("step").startswith("> step 1  epoch 1 ")
    assert "16x6" not in session.type("batch")
    assert finished(session) == "Training finished after 8 steps"
    assert session.controller.get_state()["epoch"] == 2


def test_an_evaluation_keeps_no_batches(script: Callable[..., TypingSession]) -> None:
    session = script(
        """
import weakref
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
seen, alive = [], []
for epoch in range(2):
    for x, y in loader:"""
        + ONE_STEP.replace("\n", "\n    ")
        + """
    with torch.no_grad():
        for x, y in torch.utils.data.DataLoader(dataset, batch_size=2):
            model(x)
            seen.append(weakref.ref(x))
            alive.append(sum(each() is not None for each in seen))
    del x, y
    left = sum(each() is not None for each in seen)
"""
    )
    assert finished(session) == "Training finished after 8 steps"
    assert session.session.run is not None
    variables = vars(session.session.run.module)
    assert (max(variables["alive"]), variables["left"]) == (1, 0)


def test_inputs_by_name_are_the_batch(script: Callable[..., TypingSession]) -> None:
    named = PLAIN.replace("for x, y in loader:", "for step in range(3):\n    batch, y = {'input': inputs}, labels")
    session = script(named.replace("model(x)", "model(**batch)"))
    assert session.type("phase batch").startswith("> step 1 at batch ")
    assert re.search(r"^input +32x6 ", session.type("batch"), re.MULTILINE)
    session.type("step")
    assert re.search(r"^input +32x6 ", session.type("batch"), re.MULTILINE)


def test_of_modules_one_after_another_the_first_is_given_the_batch(script: Callable[..., TypingSession]) -> None:
    session = script("""
encoder, decoder = nn.Embedding(9, 4), nn.Linear(4, 1)
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()])
for number in range(8):
    ids = torch.randint(0, 9, (8,))
    optimizer.zero_grad()
    decoder(encoder(ids)).square().mean().backward()
    optimizer.step()
""")
    for line in ("step", "step 5"):  # the second goes a shorter way
        session.type(line)
        batch = session.controller.get_batch()["batch"]
        assert torch.equal(torch.as_tensor(batch), run_python(session.session, "ids"))


def test_parts_that_are_called_by_themselves_have_each_its_turn(script: Callable[..., TypingSession]) -> None:
    """As in a Lightning module with two optimizers: nobody calls the whole of it."""
    session = script("""
generator, critic = nn.Linear(3, 6), nn.Linear(6, 1)
whole = nn.ModuleDict({"nets": nn.ModuleList([generator, critic])})
optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (critic, generator)]
for epoch in range(3):
    for x, _ in loader:
        for optimizer in optimizers:
            whole.requires_grad_(False)
            optimizer.param_groups[0]["params"][0].requires_grad_()
            made = generator(torch.randn(8, 3))
            loss = critic(made).mean() - critic(x).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
""")
    assert session.type("step 2").startswith("> step 2  epoch 1  loss ")
    assert finished(session) == "Training finished after 12 steps"


@pytest.mark.parametrize("broken", [0, 1])
def test_gradients_are_seen_as_the_update_of_each_optimizer_used_them(
    script: Callable[..., TypingSession], broken: int
) -> None:
    session = script(f"""
critic, generator = nn.Linear(3, 1), nn.Linear(6, 3)
optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (critic, generator)]
for number in range(8):
    for which, optimizer in enumerate(optimizers):
        loss = critic(generator(torch.randn(4, 6))).mean()
        loss.backward()
        if (number, which) == (4, {broken}):
            optimizer.param_groups[0]["params"][0].grad[0, 1] = torch.nan
        nn.utils.clip_grad_value_(optimizer.param_groups[0]["params"], 0.1)
        optimizer.step()
        for each in optimizers:
            each.zero_grad()
""")
    name = ("critic", "generator")[broken]
    session.type("catch nan grads")
    assert session.type("continue").startswith(
        f"Catchpoint 1 at step 5: nan in grads of {name}.weight: 1 of {(3, 18)[broken]} entries, first at [0, 1]"
    )


def test_the_batch_of_a_model_that_is_never_called_is_what_its_parts_are_given(
    script: Callable[..., TypingSession],
) -> None:
    session = script("""
class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.nets = nn.ModuleDict({"actor": nn.Linear(6, 2), "critic": nn.Linear(6, 1)})
    def evaluate(self, x):
        return self.nets["actor"](x).sum() + self.nets["critic"](x).sum()
agent = Agent()
optimizer = torch.optim.Adam(agent.parameters())
for number in range(8):
    x = torch.randn(number + 2, 6)
    agent.evaluate(x).backward()
    optimizer.step()
""")
    assert "not called" not in session.type("step;; layers")
    for step in (1, 2, 5):
        session.type(f"until {step}" if step > 1 else "where")
        assert f"{step + 1}x6" in session.type("batch")


def test_a_model_has_the_name_of_the_loop_and_not_that_of_its_own_method(
    script: Callable[..., TypingSession],
) -> None:
    """As the actor of soft actor-critic, which the loop asks for an action before anything else is called."""
    session = script("""
class Actor(nn.Linear):
    def act(self, x):
        return self(x)
actor, critic = Actor(6, 2), nn.Linear(2, 1)
optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (actor, critic)]
for _ in range(4):
    critic(actor.act(inputs)).sum().backward()
    for optimizer in optimizers:
        optimizer.step()
""")
    shown = session.type("step;; layers")
    assert re.search(r"^  actor Actor .*\n  critic Linear ", shown, re.MULTILINE), shown


def test_an_optimizer_of_what_two_others_train_has_its_own_turn(script: Callable[..., TypingSession]) -> None:
    """As in InfoGAN: what the code says is learned by generator and discriminator together."""
    session = script("""
generator, discriminator = nn.Linear(3, 6), nn.Linear(6, 2)
both = [*generator.parameters(), *discriminator.parameters()]
optimizers = [torch.optim.Adam(each) for each in (generator.parameters(), discriminator.parameters(), both)]
optimizer_G, optimizer_D, optimizer_info = optimizers
for epoch in range(3):
    for x, _ in loader:
        g_loss = discriminator(generator(torch.randn(8, 3))).square().mean()
        g_loss.backward()
        optimizer_G.step()
        d_loss = discriminator(x).square().mean()
        d_loss.backward()
        optimizer_D.step()
        info_loss = discriminator(generator(torch.randn(8, 3))).mean()
        info_loss.backward()
        optimizer_info.step()
""")
    for step in (1, 2, 5):
        shown = session.type(f"until {step}" if step > 1 else "step")
        assert re.match(
            rf"> step {step}  epoch \d  g_loss \S+  d_loss \S+  info_loss .*\n-> optimizer_info.step", shown
        ), shown
    assert finished(session) == "Training finished after 12 steps"


def test_the_batches_of_a_loader_with_an_iterator_of_its_own(script: Callable[..., TypingSession]) -> None:
    session = script(
        """
from torch.utils.data import dataloader
class Backwards(dataloader._BaseDataLoaderIter):
    def __init__(self, loader):
        super().__init__(loader)
        self.batches = list(loader.dataset.tensors[0].split(8))
    def _next_data(self):
        if not self.batches:
            raise StopIteration
        return self.batches.pop(), torch.zeros(8, dtype=torch.long)
class Loader(dataloader.DataLoader):
    def _get_iterator(self):
        return Backwards(self)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(2):
    for x, y in Loader(dataset):"""
        + ONE_STEP.replace("\n    ", "\n        ")
    )
    assert session.type("step 6").startswith("> step 6  epoch 2  loss ")
    images, _ = session.controller.get_batch()["batch"]
    assert torch.equal(torch.as_tensor(images), run_python(session.session, "x"))
    assert finished(session) == "Training finished after 8 steps"


def test_a_batch_that_is_drawn_ahead_is_not_the_one_of_the_step(script: Callable[..., TypingSession]) -> None:
    ahead = """
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(3):
    batches = iter(loader)
    following = next(batches)
    while following is not None:
        (x, y), following = following, next(batches, None)
"""
    session = script(ahead + ONE_STEP.replace("\n", "\n    ").replace("model(x)", "model(x.view(-1, 6))"))
    for step in (1, 2, 4, 5, 6, 8, 9):
        shown = session.type(f"until {step}")
        assert shown.startswith(f"> step {step}  epoch {(step + 3) // 4} ")
        images, labels = session.controller.get_batch()["batch"]
        assert torch.equal(torch.as_tensor(images), run_python(session.session, "x"))
        assert torch.equal(torch.as_tensor(labels), run_python(session.session, "y"))
    session.type("set checkpoints.in_place on;; step")
    assert "a batch ahead" in session.type("checkpoints")
    assert finished(session) == "Training finished after 12 steps"


def test_of_batches_that_are_drawn_together_each_is_used_in_its_turn(script: Callable[..., TypingSession]) -> None:
    together = """
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(4):
    batches = iter(loader)
    for pair in range(2):
        drawn = [next(batches), next(batches)]
        if epoch == 2:
            drawn.pop(0)
        for x, y in drawn:
"""
    session = script(together + ONE_STEP.replace("\n", "\n        "))
    for step in range(1, 13):
        session.type(f"until {step}")
        images = session.controller.get_batch()["batch"][0]
        assert torch.equal(torch.as_tensor(images), run_python(session.session, "x"))
    assert finished(session) == "Training finished after 14 steps"


def test_an_input_that_is_in_no_batch(script: Callable[..., TypingSession]) -> None:
    session = script(PLAIN.replace("model(x), y", "model(x[0]), y[0]"))
    session.type("step 2")
    assert "mean_activation" in session.type("metrics top 1")
    session.type("watch 0")
    assert finished(session) == "Training finished after 4 steps"


def test_an_update_that_is_left_out_and_an_operation_that_is_named(script: Callable[..., TypingSession]) -> None:
    """`skip` and `detect`, in scripts that have never heard of tdb."""

    def weights_after(text: str, *lines: str) -> list[torch.Tensor]:
        session = script(text)
        for line in lines:
            assert "***" not in session.type(line), line
        assert finished(session) == "Training finished after 4 steps"
        assert session.session.run is not None
        model = vars(session.session.run.module)["model"]
        return [weight.detach() for weight in model.parameters()]

    momentum = PLAIN.replace("lr=0.1", "lr=0.1, momentum=0.9")
    by_hand = momentum.replace("for x, y in loader:", "for step, (x, y) in enumerate(loader, 1):")
    left_out = weights_after(by_hand.replace("optimizer.step()", "step == 3 or optimizer.step()"), "set step.on fetch")
    skipped = weights_after(momentum, "step 2", "skip")
    torch.testing.assert_close(skipped, left_out, rtol=0, atol=0)

    bad = PLAIN.replace("    loss.backward()", "    loss = loss + (x.mean() * 0).log() * 0\n    loss.backward()")
    session = script(bad)
    session.type("start")
    shown = session.type("detect")
    assert "log" in shown
    assert "loss = loss + (x.mean() * 0).log() * 0" in shown


def test_layers_that_are_trained_one_after_another_without_being_called(script: Callable[..., TypingSession]) -> None:
    session = script(
        """
layers = [nn.Linear(6, 5), nn.Linear(5, 4)]
optimizers = [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in layers]
x, y = next(iter(loader))
for layer, optimizer in zip(layers, optimizers):
    for repeat in range(6):
        optimizer.zero_grad()
        loss = layer.forward(x).square().mean()
        loss.backward()
        optimizer.step()
    x = layer.forward(x).detach()
"""
    )
    assert session.type("step 6").startswith("> step 6  epoch 1  loss ")
    # Whether the first will go on, too, nobody can know: the second may be waited for, or for once not.
    assert finished(session) in ("Training finished after 11 steps", "Training finished after 12 steps")


@pytest.mark.parametrize("most_searches", [MOST_SEARCHES, 2])
def test_models_one_after_another(
    script: Callable[..., TypingSession], monkeypatch: pytest.MonkeyPatch, most_searches: int
) -> None:
    """As in a search for hyperparameters, also when the whole process has been searched often enough."""
    monkeypatch.setattr("tdb.finder.discovery.MOST_SEARCHES", most_searches)
    session = script(
        """
def fold(number):
    model = nn.Sequential(nn.Sequential(nn.Linear(6, 2 + number)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in loader:"""
        + ONE_STEP.replace("\n", "\n    ")
        + """
for number in range(3):
    fold(number)
"""
    )
    for step, features in {6: 3, 10: 4}.items():
        session.type(f"until {step}")
        assert session.controller.layer.info is not None
        assert session.controller.layer.info.features == features
        assert "mean_activation" in session.type("metrics top 1")
    assert finished(session) == "Training finished after 12 steps"


def test_the_model_can_be_saved_and_copied_in_any_step(script: Callable[..., TypingSession]) -> None:
    saving = "torch.save(model, 'm.pt'); copy.deepcopy((model, optimizer)); pickle.dumps((model, loader))"
    session = script(f"{PLAIN}    import copy, pickle\n    {saving}\n")
    session.type("catch dead_relu")
    for _ in range(3):
        assert session.type("step").startswith("> step")
    assert finished(session) == "Training finished after 4 steps"


def test_threads(script: Callable[..., TypingSession]) -> None:
    session = script(
        """
import threading
def train(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in loader:"""
        + ONE_STEP.replace("\n", "\n    ")
        + """
thread = threading.Thread(target=train, args=(model,))
thread.start()
thread.join()
train(model)
"""
    )
    assert session.type("step").startswith("> step 1 ")
    assert finished(session) == "Training finished after 8 steps"

    session = script(
        """
import threading
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
def train(turn, other):
    for x, y in loader:
        turn.acquire()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        other.release()
one, two = threading.Semaphore(1), threading.Semaphore(0)
threads = [threading.Thread(target=train, args=args) for args in [(one, two), (two, one)]]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    )
    shown = session.type("continue")
    assert "another thread trains as well: only the loop that was found first is followed" in shown
    assert "Training finished after 4 steps" in shown


def test_a_script_that_speaks_for_itself_is_left_alone(script: Callable[..., TypingSession]) -> None:
    explicit = "import tdb\ncontroller = tdb.active_controller()\n" + PLAIN
    assert "without a step" in finished(script(explicit))
    told = explicit + "    controller.capture_batch(x, loss)\n    controller.wait_if_paused()\n"
    assert finished(script(told)) == "Training finished after 4 steps"


def test_what_is_done_at_the_prompt_is_no_training(script: Callable[..., TypingSession]) -> None:
    session = script(PLAIN)
    session.type("step")
    session.type("!for _ in range(3): model(x).sum().backward(); optimizer.step(); next(iter(loader))")
    session.type("!torch.optim.SGD(model.parameters(), lr=1.0)")
    assert session.type("step").startswith("> step 2  epoch 1 ")
    assert finished(session) == "Training finished after 4 steps"


def test_hints_are_for_a_script_that_has_no_controller(script: Callable[..., TypingSession]) -> None:
    session = script(PLAIN)
    assert session.type("optim") == "*** no optimizer is known. It is once training has begun: `start`\n"
    session.type("step")
    shown = session.type("checkpoints") + session.type("checkpoint here")
    assert shown.count("`set checkpoints.in_place on` makes the loop go back so, from the next step on") == 2
    assert "controller." not in shown


def test_interrupt_reaches_a_script_that_saves_then(script: Callable[..., TypingSession], tmp_path: Path) -> None:
    loop = PLAIN.replace("\n", "\n    ")
    session = script(f"try:\n    {loop}\nexcept KeyboardInterrupt:\n    torch.save(model, 'saved.pt')\n")
    session.type("step 2")
    assert "Training finished after 2 steps" in session.type("interrupt")
    assert (tmp_path / "saved.pt").exists()


THREE_LINES = PRELUDE + "import tdb\ncontroller = tdb.active_controller()\n"
HAND_OVER = "    controller.capture_batch(x, loss, labels=y)\n    controller.wait_if_paused()\n"


def test_three_lines_say_no_model_and_it_is_found(script: Callable[..., TypingSession]) -> None:
    plain = torch.optim.Optimizer.__init__, torch.autograd.backward
    session = script(PLAIN + HAND_OVER, THREE_LINES)
    session.play("""
        (tdb) step
        > step 1  loss ...
        -> controller.wait_if_paused()
    """)
    assert "mean_activation" in session.type("metrics top 1")
    assert "Linear" in session.type("layers")
    assert "combined" in session.type("force 0")
    assert "SGD" in session.type("optim")
    session.type("tbreak when grad_norm[0] > 0")
    assert "at step 2: grad_norm[0] = " in session.type("continue")
    assert finished(session) == "Training finished after 4 steps"
    assert (torch.optim.Optimizer.__init__, torch.autograd.backward) == plain


def test_what_a_script_says_of_its_model_counts(script: Callable[..., TypingSession]) -> None:
    other = "other = nn.Linear(6, 2)\n" + PLAIN
    begun = other.replace("for x", "controller.begin(type('Trainer', (), {'model': other, 'optimizer': None}))\nfor x")
    session = script(begun + HAND_OVER, THREE_LINES)
    assert session.type("step").startswith("> step 1 ")
    assert "2 of 2 rows" in session.type("metrics")
    assert finished(session) == "Training finished after 4 steps"


def test_models_one_after_another_in_an_explicit_loop(script: Callable[..., TypingSession]) -> None:
    loop = (PLAIN + HAND_OVER).rstrip().replace("\n", "\n    ")
    session = script(f"for number in (2, 3):\n    model = nn.Linear(6, number)\n    {loop}\n", THREE_LINES)
    for step, features in {2: 2, 6: 3}.items():
        assert session.type(f"until {step}").startswith(f"> step {step} ")
        assert f"{features} of {features} rows" in session.type("metrics")
    assert finished(session) == "Training finished after 8 steps"


def test_a_compiled_model_stays_one_when_it_is_not_looked_for_any_more(script: Callable[..., TypingSession]) -> None:
    """A script that builds optimizers again and again is searched for models only so many times."""
    again = PLAIN.replace("for x, y in loader:", "for x, y in list(loader) * 6:\n    optimizer = type(optimizer)(")
    again = again.replace("(\n    optimizer.zero_grad", "(model.parameters(), lr=0.1)\n    optimizer.zero_grad")
    session = script("model = torch.compile(model, backend='eager')\n" + again + HAND_OVER, THREE_LINES)
    for step in (2, MOST_SEARCHES + 2):
        session.type(f"until {step}")
        shown = session.type("metrics top 1")
        assert "update_norm" in shown
        assert "mean_activation" not in shown
        assert session.controller.model_capture.hooks_do_not_fire
    assert finished(session) == "Training finished after 24 steps"


GRAPH = """
class Graph(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 2)
    def forward(self, nodes, links):
        return links @ self.linear(nodes)
links = (torch.eye(32) * 2).to_sparse()
model = Graph()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(4):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(inputs, links), labels)
    loss.backward()
    optimizer.step()
"""


def test_a_sparse_tensor_is_looked_at_with_its_zeros_unless_there_are_too_many(
    script: Callable[..., TypingSession],
) -> None:
    session = script(GRAPH)
    session.type("step")
    assert re.search(r"^\S+ +32x32 +float32 +0\.0 +0\.0625 +2\.0 ", session.type("batch"), re.MULTILINE)
    session.type("!links = torch.sparse_coo_tensor(size=(10**5, 10**5))")
    session.type("!model.forward = lambda nodes, links: model.linear(nodes)")
    shown = session.type("step;; batch")
    assert "*** a sparse tensor of 100000x100000 is too large to be looked at" in shown
    assert finished(session) == "Training finished after 4 steps"
