"""The recipe under tdb, compared number by number with the same training without it."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.scripts.conftest import Place

STEPS = 60
RECIPE = "recipes.gradient_gating_l0"

# The recipe, and the loss of every step it took in a file of its own.
WITH_LOSSES = """
    import runpy
    import sys
    import numpy
    from recipes import trainer

    made = []


    class Trainer(trainer.Trainer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)


    trainer.Trainer = Trainer
    losses = sys.argv.pop(1)
    runpy.run_module("recipes.gradient_gating_l0", run_name="__main__", alter_sys=False)
    numpy.save(losses, made[0].losses.numpy())
"""

LOOKS = [
    "batch",
    "keys",
    "state",
    "where",
    "p torch.rand(3)",
    "p model(images).mean()",
    "p self.model(images).mean()",
    "metrics top 3",
    "force",
    "force 5",
    "cosmat weights",
    "!torch.manual_seed(99)",
    "!self.model.eval()",
    "data nothing",
]


class Runs:
    """The recipe's results, by how it was run."""

    def __init__(self, place: Place, condition: str) -> None:
        self.place = place
        self.script = place.write("with_losses.py", WITH_LOSSES)
        self.options = ["--condition", condition, "--steps", str(STEPS)]

    def results(self, name: str) -> dict[str, Any]:
        folder = self.place.folder
        return {**load_file(folder / f"{name}.safetensors"), "losses": np.load(folder / f"{name}.npy")}

    def arguments(self, name: str) -> list[str]:
        return [self.script, f"{name}.npy", *self.options, "--save", f"{name}.safetensors"]

    def plain(self) -> dict[str, Any]:
        ended = self.place.python(*self.arguments("plain"))
        assert ended.status == 0, ended.error
        return self.results("plain")

    def under_tdb(self, name: str, typed: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        (self.place.folder / f"{name}.tdb").write_text("\n".join(typed))
        ended = self.place.tdb(
            *("--json", "--figures", "off", "--on-error", "continue", "-x", f"{name}.tdb", *self.arguments(name))
        )
        answers = [json.loads(line) for line in ended.out.splitlines()]
        assert len(answers) == len(typed)
        return self.results(name), answers


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name, strict=True)


@pytest.mark.parametrize("condition", ["control", "bcl-slow"])
def test_every_loss_and_weight(torch_place: Place, condition: str) -> None:
    runs = Runs(torch_place, condition)
    plain = runs.plain()
    assert len(plain["losses"]) == STEPS
    assert len(np.unique(plain["losses"])) == STEPS

    through, _ = runs.under_tdb("through", ["continue"])
    assert_same(through, plain)

    session = random.Random(condition)
    typed: list[str] = ["start"]
    while sum(line.startswith("step") for line in typed) < 12:
        typed += [session.choice(["step", "step 2", "step 4"]), *session.sample(LOOKS, 3)]
    typed += ["continue &", "pause", *LOOKS, "continue", "p 'the end'"]
    looked, answers = runs.under_tdb("looked", typed)
    assert_same(looked, plain)

    stops = [answer["data"] for answer in answers if answer["ok"] and answer["cmd"] in ("step", "pause")]
    assert len(stops) >= 12
    for stop in stops:
        if stop["step"]:
            assert stop["loss"] == plain["losses"][stop["step"] - 1], stop


def test_the_session_that_tdb_must_show(torch_place: Place) -> None:
    runs = Runs(torch_place, "bcl-slow")
    typed = ["step", "batch", "step 5", "batch", "continue &", "pause", "state", "state", "continue", "state"]
    results, answers = runs.under_tdb("shown", typed)
    data = [answer["data"] for answer in answers]
    losses = runs.plain()["losses"]

    assert all(answer["ok"] for answer in answers)
    assert (data[0]["step"], data[0]["loss"]) == (1, losses[0])
    assert batch_shape(data[1]) == [128, 1, 28, 28]
    assert (data[2]["step"], data[2]["loss"]) == (6, losses[5])
    assert batch_shape(data[3]) == [128, 1, 28, 28]
    assert data[3]["tensors"] != data[1]["tensors"]
    assert data[3]["labels"] != data[1]["labels"]
    assert data[4] == {"background": True}
    paused, first, second = data[5], data[6], data[7]
    assert 6 < paused["step"] < STEPS
    assert paused["loss"] == losses[paused["step"] - 1]
    assert first == second
    assert first["step"] == paused["step"]
    assert answers[8]["state"] == {"status": "finished", "step": STEPS, "epoch": 2}
    assert data[9]["loss"] == losses[-1]
    np.testing.assert_array_equal(results["losses"], losses)


def batch_shape(data: dict[str, Any]) -> list[int]:
    """Return the shape of the one tensor in the answer to `batch`."""
    (row,) = data["tensors"]["rows"]
    return [int(size) for size in str(dict(zip(data["tensors"]["columns"], row, strict=True))["shape"]).split("x")]


def test_a_module_under_tdb_ends_as_it_does_alone(torch_place: Place) -> None:
    ended = torch_place.tdb("-c", "continue", "-m", RECIPE, "--steps", "3", "--save", "weights.safetensors")
    assert (ended.status, ended.error) == (0, "")
    assert "bcl-slow: 3 steps, loss " in ended.out
    assert (torch_place.folder / "weights.safetensors").is_file()
    wrong = ["-m", RECIPE, "--data", "nowhere"]
    alone, ended = torch_place.python(*wrong), torch_place.tdb("-c", "continue", *wrong)
    assert alone.status == ended.status == 2
    assert alone.error == ended.error
    assert "no file nowhere" in ended.error
