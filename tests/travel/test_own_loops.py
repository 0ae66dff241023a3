"""A loop over `controller.steps(...)` goes back in place: the batches come again, whatever they come from."""

from __future__ import annotations

import gc
import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from tdb.commands import all_commands
from tdb.controller import DebugController
from tdb.errors import StateError
from tdb.session import Session
from tdb.target import Training
from tests.conftest import PATIENCE, join

EPOCHS, BATCHES = 4, 6
STEPS = EPOCHS * BATCHES


class Augmented(Dataset[Any]):
    """Images that are changed at random, by all three generators, whenever they are fetched."""

    def __init__(self) -> None:
        chance = torch.Generator().manual_seed(5)
        self._images, self._labels = torch.randn(24, 6, generator=chance), torch.randint(3, (24,), generator=chance)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Any:
        noise = torch.rand(6) + random.random() + np.random.randn()
        return self._images[index] + 0.1 * noise, self._labels[index]


class Whimsical(Sampler[int]):
    """Draws each index when it is asked for."""

    def __iter__(self) -> Iterator[int]:
        return iter(random.randrange(24) for _ in range(24))

    def __len__(self) -> int:
        return 24


def plain_data() -> TensorDataset:
    return TensorDataset(Augmented()._images, Augmented()._labels)


def generated() -> Iterator[Any]:
    """Shuffles when it begins, as endless generators do, and changes its one buffer in place."""
    data, buffer = plain_data(), torch.empty(4, 6)
    order = np.random.permutation(24)
    for begin in range(0, 24, 4):
        chosen = order[begin : begin + 4].tolist()
        buffer.copy_(data.tensors[0][chosen])
        if begin > 8:
            buffer.add_(np.random.randn() * 0.1)
        yield buffer, data.tensors[1][chosen]


KINDS: dict[str, Callable[[], Callable[[], Any]]] = {}


def always(batches: Any) -> Callable[[], Any]:
    return lambda: batches


KINDS["shuffled"] = lambda: always(DataLoader(plain_data(), batch_size=4, shuffle=True))
KINDS["augmented"] = lambda: always(DataLoader(Augmented(), batch_size=4, shuffle=True))
KINDS["own generator"] = lambda: always(
    DataLoader(Augmented(), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(3))
)
KINDS["own sampler"] = lambda: always(DataLoader(Augmented(), batch_size=4, sampler=Whimsical()))
KINDS["list"] = lambda: always([tuple(each) for each in DataLoader(plain_data(), batch_size=4)])
KINDS["generator"] = lambda: generated
KINDS["workers"] = lambda: always(DataLoader(Augmented(), batch_size=4, shuffle=True, num_workers=2))
KINDS["lasting workers"] = lambda: always(
    DataLoader(Augmented(), batch_size=4, shuffle=True, num_workers=2, persistent_workers=True)
)


class Loop:
    """Training by hand, with a scheduler, a pass to evaluate, and weights that are cut off after each epoch."""

    def __init__(self, kind: str, *, cuts: bool) -> None:
        self.cuts = cuts
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        self.model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.02)
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.7)
        self.batches = KINDS[kind]()
        self.test = DataLoader(plain_data(), batch_size=12)

    def run(self, steps: Callable[[Any], Any], on_step: Callable[[], None] = lambda: None) -> None:
        for _ in range(EPOCHS):
            self.model.train()
            for images, labels in steps(self.batches()):
                if not isinstance(self.batches(), list):
                    images.mul_(1 + 0.01 * torch.rand(1))  # what is given again must not be changed
                loss = nn.functional.cross_entropy(self.model(images), labels)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                on_step()
            self.scheduler.step()
            self.model.eval()
            for images, _ in self.test:
                self.model(images)
            for weight in self.model.parameters() if self.cuts else ():
                weight.data.clamp_(-0.5, 0.5)

    def digest(self) -> str:
        found = hashlib.sha256()
        for state in (self.model.state_dict(), self.optimizer.state_dict(), self.scheduler.state_dict()):
            found.update(repr(plain(state)).encode())
        found.update(repr((random.getstate(), plain(np.random.get_state()), plain(torch.get_rng_state()))).encode())
        return found.hexdigest()


def plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, dict):
        return [(str(key), plain(each)) for key, each in value.items()]
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


class Prompt:
    """A loop in its own thread, and the commands of somebody at a prompt."""

    def __init__(self, kind: str, *, cuts: bool) -> None:
        self.controller = DebugController()
        self.session = Session(self.controller, all_commands())
        self.loop = Loop(kind, cuts=cuts)
        self.controller.gate.stop_at_begin()
        self.thread = threading.Thread(target=self._train, daemon=True)
        self.controller.gate.launched(self.thread)
        self.thread.start()
        assert self.controller.wait(PATIENCE) == "stopped"

    def _train(self) -> None:
        loop = self.loop
        self.controller.begin(Training(loop.model, [loop.optimizer], [loop.scheduler]))
        loop.run(self.controller.steps)
        self.controller.finish("finished")

    def do(self, name: str, *words: Any) -> Any:
        command = self.session.registry.find(name)
        assert command is not None
        return command.function(self.session, *words)

    @property
    def step(self) -> int:
        return self.controller.position.step

    def digest(self) -> str:
        return self.controller.gate.call(self.loop.digest)

    def close(self) -> None:
        self.controller.stop()
        self.controller.gate.dismiss()
        join(self.thread)
        for each in gc.get_objects():
            if issubclass(type(each), _MultiProcessingDataLoaderIter):  # a dead reference has no class to ask for
                each._shutdown_workers()  # left to the garbage collector it waits five seconds for each of them
        self.controller.travel.reach.data.forget()
        del self.loop


@pytest.fixture
def start() -> Iterator[Callable[..., Prompt]]:
    begun: list[Prompt] = []

    def begin(kind: str, *, cuts: bool = True) -> Prompt:
        begun.append(Prompt(kind, cuts=cuts))
        return begun[-1]

    yield begin
    for prompt in begun:
        prompt.close()


def undisturbed(kind: str, *, rate: float = 0.0, at: int = -1) -> dict[int, str]:
    """Return the state after every step of a run that has never heard of tdb; its learning rate changes after `at`."""
    loop, found = Loop(kind, cuts=not rate), {}

    def note() -> None:
        found[len(found) + 1] = loop.digest()
        if len(found) == at:
            loop.optimizer.param_groups[0]["lr"] = rate

    loop.run(lambda batches: batches, note)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_walks_in_time(kind: str, start: Callable[..., Prompt]) -> None:
    expected, prompt, chance = undisturbed(kind), start(kind), random.Random(kind)
    prompt.do("until", "15")
    for goal in (14, 13, 7, 6, 1, 12, 9):
        answer = prompt.do("goto", goal)
        assert answer.data["differences"] == []
        assert answer.data["route"] == "in place"
        assert (prompt.step, prompt.digest()) == (goal, expected[goal])
        prompt.do("step", chance.randint(1, 4))
        assert prompt.digest() == expected[prompt.step], prompt.step
    furthest = prompt.controller.travel.furthest
    prompt.do("fork")
    prompt.do("until", "20")
    assert prompt.digest() == expected[20]
    prompt.do("switch", "main")
    assert (prompt.step, prompt.digest()) == (furthest, expected[furthest])
    prompt.do("goto", 0)
    prompt.do("until", str(STEPS - 1))
    assert prompt.digest() == expected[STEPS - 1]
    prompt.controller.resume()
    assert prompt.controller.wait(PATIENCE) == "finished"
    assert prompt.step == STEPS
    losses = prompt.controller.recorder.history.range()
    assert losses["step"].tolist() == list(range(1, STEPS + 1))
    assert losses["epoch"].tolist() == [1 + step // BATCHES for step in range(STEPS)]


def test_features_watched_after_going_back_are_followed_through_steps_taken_again(start: Callable[..., Prompt]) -> None:
    expected, prompt = undisturbed("list"), start("list")
    prompt.do("until", "14")
    prompt.do("watch", "5")
    prompt.do("until", "17")
    prompt.do("goto", 4)
    prompt.do("watch", "3", "5")
    prompt.do("until", "16")
    watches = prompt.controller.recorder.watches
    assert watches.trajectory(3)["step"].tolist() == list(range(5, 17))
    assert prompt.do("goto", 7).data["differences"] == []
    assert watches.trajectory(3)["step"].tolist() == [5, 6, 7]
    prompt.do("watch", "5")
    prompt.do("goto", 2)
    prompt.do("until", "20")
    assert watches.trajectory(5)["step"].tolist()[-18:] == list(range(3, 21))
    assert prompt.digest() == expected[20]


def test_a_layer_that_has_come_back_into_focus_is_compared_with_what_it_was_before(
    start: Callable[..., Prompt],
) -> None:
    prompt = start("list")
    prompt.do("step", 1)
    prompt.do("watch", "0", "1")
    for line in (("until", "5"), ("focus", "4"), ("until", "9"), ("focus", "0"), ("until", "14")):
        prompt.do(*line)
    for goal in (11, 7, 3):
        answer = prompt.do("goto", goal)
        assert answer.data["differences"] == [], answer.data
    prompt.do("focus", "4")
    assert prompt.do("goto", 8).data["differences"] == []
    assert prompt.do("find", "max(cos_to_init) < 2 --replay").data["steps"].tolist() == list(range(1, 9))


def test_a_branch_with_another_rate_goes_on_over_the_ends_of_epochs(start: Callable[..., Prompt]) -> None:
    plain_run, changed = undisturbed("augmented", rate=0.02), undisturbed("augmented", rate=0.3, at=9)
    prompt = start("augmented", cuts=False)
    prompt.do("until", "16")
    prompt.do("goto", 9)
    prompt.do("set", "optimizer.lr", "0.3")
    for step in (14, 20, 13, 10):
        prompt.do("until" if step > prompt.step else "goto", str(step) if step > prompt.step else step)
        assert prompt.digest() == changed[step], step
    prompt.do("switch", "main")
    assert prompt.digest() == plain_run[16]
    prompt.do("until", "20")
    assert prompt.digest() == plain_run[20]


def test_where_batches_are_kept_the_furthest_step_back_is_said(start: Callable[..., Prompt]) -> None:
    expected, prompt = undisturbed("generator"), start("generator")
    prompt.do("step", 1)
    passes = prompt.controller.travel.reach.data.passes
    assert passes is not None
    passes.shelf.limit = 4 * 128
    prompt.do("step", 5)
    prompt.do("checkpoint")
    prompt.do("step", 4)
    with pytest.raises(StateError, match=r"batches cannot be drawn again: only the last are kept, .* back to step 7"):
        prompt.do("goto", 5)
    assert prompt.digest() == expected[10]
    assert prompt.do("checkpoints").data["back to"] == 7
    answer = prompt.do("goto", 7)
    assert prompt.digest() == expected[7]
    assert "counters and sums, did not" in answer.notes[0]
    prompt.do("until", "12")
    assert prompt.digest() == expected[12]
