"""The commands that the BCL rule brings: `trace`, `image`, `images` and `health`, under every rule."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bcl.panel import bcl_panel
from bcl.rules import RULES
from recipes import gradient_gating_l0 as recipe
from tdb.commands.binding import bind
from tdb.script import Script
from tests.typing_session import TypingSession

Make = Callable[..., TypingSession]
EVERY_COMMAND = [
    *("trace", "trace --all", "trace rank_score", "trace win_rate", "trace som_targets", "trace neighbours"),
    *("image 17", "images", "images sort pull", "images sort coverage asc top 3", "health", "health 31", "health runs"),
]


def script(*options: str) -> Script:
    return Script("recipes.gradient_gating_l0", ("--steps", "60", *options), is_module=True)


def of_rule(rule: str) -> tuple[str, ...]:
    if rule == "nbr-k8":
        return ("--condition", "nbr-k8")
    return ("--condition", "bcl-med", "--rule", rule)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TypingSession]:
    """The recipe with m3-0.2, stopped at step 40, answering in JSON."""
    session = TypingSession(tmp_path_factory.mktemp("slow"), script("--condition", "bcl-slow"), as_json=True)
    session.answer("until 40")
    yield session
    session.close()


def array(session: TypingSession, key: str) -> Any:
    return np.array(session.answer(f"data {key}")["tensor"]["values"], dtype=np.float64)


def told(session: TypingSession, line: str) -> dict[str, Any]:
    """The answer to a line, be it an error."""
    answer: dict[str, Any] = json.loads(session.type(line).splitlines()[0])
    return answer


def column(table: dict[str, Any], name: str) -> Any:
    position = table["columns"].index(name)
    return np.array([row[position] for row in table["rows"]])


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_traced_with_the_tensors_that_it_has_and_asking_changes_no_bit(
    make_session: Make, tmp_path: Path, rule: str
) -> None:
    session = make_session(script(*of_rule(rule), "--save", str(tmp_path / "looked")), as_json=True)
    for stop in ("step", "until 30"):
        session.answer(stop)
        (panel,) = session.controller.panels
        tensors = panel.bcl.step_tensors()  # type: ignore[attr-defined]
        lines = {line["name"]: line for line in session.answer("trace")["lines"]}
        assert {name: line["shape"] for name, line in lines.items()} == {
            name: list(tensor.shape) for name, tensor in tensors.items()
        }
        for name in ("rank_score", "winner", "grad_mask"):
            np.testing.assert_array_equal(session.answer(f"trace {name}")["values"], tensors[name].numpy())
        for line in EVERY_COMMAND:
            answer = told(session, line)
            refused = rule == "nbr-k8" and ("som_targets" in line or "pull" in line)
            assert answer["ok"] != refused, answer
    session.answer("continue")
    recipe.main(["--steps", "60", *of_rule(rule), "--save", str(tmp_path / "alone")])
    assert (tmp_path / "looked").read_bytes() == (tmp_path / "alone").read_bytes()


def test_a_single_feature_has_no_neighbours_and_is_looked_at_all_the_same(make_session: Make) -> None:
    session = make_session(script("--condition", "bcl-slow", "--hidden", "1"), as_json=True)
    session.answer("step")
    refused = [line for line in EVERY_COMMAND if not told(session, line)["ok"]]
    assert refused == ["trace neighbours", "health 31"]
    assert "is empty, for there is only one feature" in session.type("trace neighbours")


def test_the_trace_says_where_symmetry_appears(slow: TypingSession) -> None:
    lines = slow.answer("trace")["lines"]
    marked = {line["name"]: line["symmetry"] for line in lines if line["symmetry"]}
    # The pull to images that a feature does not claim is nearly the same for all features, and with it their targets.
    assert marked["global_pull"] == "appears"
    assert marked["global_target"] == marked["som_targets"] == "stays"
    assert slow.answer("trace")["symmetry"].startswith("the SOM targets are alike, and the symmetry appears in global_")


def test_a_figure_says_when_and_of_what_run_it_was_seen(make_session: Make, tmp_path: Path) -> None:
    session = make_session(script("--condition", "bcl-slow"))
    for line, seen in (
        ("step 2", "seen at step 2, bcl-slow"),
        ("fork slower", "seen at step 2 of branch slower, bcl-slow"),
        ("phase backward", "seen at step 3 at backward of branch slower, bcl-slow"),
    ):
        session.type(line)
        session.type(f"cosmat weights -o {tmp_path}/seen.svg")
        assert f"<!-- {seen} -->" in (tmp_path / "seen.svg").read_text()


def test_inside_a_step_the_rule_s_tensors_are_of_that_step_and_so_is_what_a_figure_says(
    make_session: Make, tmp_path: Path
) -> None:
    session = make_session(script("--condition", "bcl-slow"))
    session.type("step;; phase batch")
    for line in ("image 1", "images", "trace", "trace win_rate", "grid som_targets"):
        assert session.type(line).startswith("*** no output of the model yet: this step is at batch: "), line
    assert "the last one under way for 1 step" in session.type("health")
    assert session.type("assert loss < 9").startswith("*** no loss yet: this step is at batch: ")
    lines = (
        "assert sum(dead) == 0",
        "hist win_rate * 2",
        "metrics sort win_rate",
        "scatter",
        "cosmat weights sort win_rate",
    )
    for line in lines:  # none of them answers of the step before
        assert " yet: this step is at batch: `phase` goes on, `step` completes it" in session.type(line), line
    assert "no win_rate yet" in session.type("display win_rate[31]")
    assert session.type("undisplay;; break when win_rate[31] > 2").splitlines()[1:] == ["tried at the end of step 2"]
    for phase in ("forward", "backward"):
        session.type(f"phase {phase}")
        for line in ("image 1", "images", "trace --all", "grid weights", "scatter weight_norm cos_to_init"):
            session.type(f"{line} -o {tmp_path}/seen.svg")
            drawn = (tmp_path / "seen.svg").read_text()
            assert f"<!-- seen at step 2 at {phase}, bcl-slow -->" in drawn, line
            assert "step 1" not in drawn, line


def test_a_traced_tensor_is_drawn_by_its_shape(make_session: Make, tmp_path: Path) -> None:
    session = make_session(script("--condition", "bcl-slow"))
    session.type("step")
    assert "image 3, and the weights of features " in session.type("image 3")
    for name, shape in (
        ("rank_score", "128x64"),
        ("win_rate", "64"),
        ("global_target", "64x784"),
        ("inputs", "128x784"),
    ):
        said, path = session.type(f"trace {name}").splitlines()
        assert said.startswith(f"{name}: {shape}, ")
        assert Path(path).read_bytes().startswith(b"\x89PNG")
    assert session.type(f"trace --all {tmp_path / 'page.pdf'}") == f"wrote {tmp_path / 'page.pdf'}\n"
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    assert "*** this answer cannot be written as '.txtt'" in session.type("trace --all page.txtt")


def test_an_image_s_coverage_claims_and_forces(slow: TypingSession) -> None:
    answer = slow.answer("image 17")
    score = array(slow, "bcl_tensors.rank_score")
    assert answer["coverage"] == pytest.approx(score[17].sum(), rel=1e-5)
    assert answer["claims"] == np.flatnonzero(score[17] > 0.5).tolist()
    assert answer["winner"] == score[17].argmax()
    assert answer["label"] == slow.answer("batch")["labels"][17]
    weights = np.array(slow.answer("grid weights all")["rows"]) - np.array(slow.answer("grid combined all")["rows"])
    image = array(slow, "bcl_tensors.inputs")[17]
    cw, aw = array(slow, "bcl_tensors.contender_weight"), array(slow, "bcl_tensors.attraction_weight")
    share = array(slow, "bcl_tensors.som_weight")[17] / (cw + aw + 1e-8)
    pull = 0.001 * share * np.linalg.norm(image - weights, axis=1)
    np.testing.assert_allclose(answer["features"]["pull"], pull, rtol=1e-3, atol=1e-9)
    assert answer["pull"] == pytest.approx(pull.sum(), rel=1e-3)
    assert set(column(answer["table"], "feature_id")) >= set(np.argsort(-pull)[:3])


def test_an_image_tells_dead_features_from_others_where_the_user_does(make_session: Make) -> None:
    session = make_session(script("--condition", "bcl-slow"), as_json=True)
    session.answer("until 2")
    session.answer("set status.dead 0.35")
    shown = session.answer("image 3")["table"]
    status = session.answer("metrics")["table"]["status"]
    assert shown["status"] == [status[row] for row in column(shown, "feature_id")]
    assert "dead" in shown["status"]


def test_a_condition_on_what_the_rule_declares_of_every_step_stops_where_stepping_finds_it(make_session: Make) -> None:
    stepped = make_session(script("--condition", "bcl-slow"), as_json=True)
    seen = []
    for _ in range(30):
        stepped.answer("step")
        seen.append(array(stepped, "bcl_tensors.rank_score")[3, 4])
    rarely = float(np.sort(seen[5:])[-2])  # it is so twice, after the first steps
    expected = next(step for step, score in enumerate(seen, 1) if step > 5 and score >= rarely)
    session = make_session(script("--condition", "bcl-slow"), as_json=True)
    session.answer("until 5")
    session.answer(f"break when bcl_tensors.rank_score[3,4] >= {rarely!r}")
    assert session.answer("continue")["step"] == expected
    assert array(session, "bcl_tensors.rank_score")[3, 4] == seen[expected - 1]


def test_the_images_of_most_trouble_come_first(slow: TypingSession) -> None:
    answer = slow.answer("images sort loss top 5")
    losses = np.array(answer["columns"]["loss"])
    assert column(answer["table"], "image").tolist() == np.argsort(-losses, kind="stable")[:5].tolist()
    # Of the model as it is after the step.
    with torch.no_grad():
        model = slow.controller.target.model  # type: ignore[union-attr]
        images = torch.tensor(array(slow, "bcl_tensors.inputs"), dtype=torch.float32)
        expected = (slow.controller.call(lambda: model(images)) - images).abs().mean(1)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    coverage = array(slow, "bcl_tensors.image_coverage")
    assert slow.answer("images sort coverage asc")["order"] == np.argsort(coverage, kind="stable").tolist()
    assert slow.answer("images sort coverage desc")["order"] == slow.answer("images sort coverage")["order"]
    assert slow.answer("images sort label asc")["order"] == np.argsort(answer["labels"], kind="stable").tolist()
    means = answer["labels_table"]
    labels = np.array(answer["labels"])
    assert column(means, "loss") == pytest.approx([losses[labels == label].mean() for label in np.unique(labels)])


def test_health_knows_every_epoch_and_the_one_under_way(slow: TypingSession) -> None:
    answer = slow.answer("health")
    assert [(epoch["epoch"], epoch["steps"]) for epoch in answer["epochs"]] == [(1, 35), (2, 5)]
    assert answer["under_way"]
    rates = np.array(answer["features"]["win_rate"])
    last = answer["epochs"][-1]
    assert (last["dead"], last["winner"]) == ((rates < 0.01).sum(), (rates > 0.05).sum())
    assert last["dead"] + last["contender"] + last["winner"] == 64
    shown = slow.answer("health 31 3")["table"]
    assert column(shown, "feature_id").tolist() == [31, 3]
    assert column(shown, "win_rate") == pytest.approx(rates[[31, 3]])
    assert slow.answer("health")["epochs"] == answer["epochs"]


def test_the_dead_of_health_are_those_that_it_calls_dead(make_session: Make) -> None:
    session = make_session(script("--condition", "bcl-slow"))
    session.type("step 14")  # 25 features win next to nothing in this batch, and none in the mean of the epoch
    assert "x dead" in session.type("metrics @dead")
    assert session.type("health @dead").splitlines()[1:] == ["means of epoch 1, 14 steps, under way"]


def test_health_before_the_first_step_has_ended(make_session: Make) -> None:
    session = make_session(script("--condition", "bcl-slow"))
    session.type("phase backward")
    for line in ("health", "health 3", "health runs"):
        assert session.type(line) == "*** no step has been taken yet: `step` takes the first\n"


def test_health_survives_a_run_of_all_conditions(make_session: Make) -> None:
    session = make_session(
        Script("recipes.gradient_gating_l0", ("--condition", "all", "--steps", "3", "--hidden", "8"), is_module=True),
        as_json=True,
    )
    session.answer("step")
    for line in ("trace", "image 3", "images", "health"):  # the control comes first: it has no rule
        refused = told(session, line)
        assert refused["error"]["message"] == "this condition has no BCL rule: there is nothing to ask it"
    seen = []
    for _ in range(6):
        session.answer("step 3")
        seen.append(column(session.answer("health runs")["table"], "run").tolist())
    names = [name for name in recipe.CONDITIONS if name != "control"]
    assert seen == [names[: count + 1] for count in range(6)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trace nope", "no tensor 'nope'. Tensors: inputs, neighbours, "),
        ("trace rank_scor", "no tensor 'rank_scor'. Did you mean: rank_score"),
        ("image 128", "no image 128: images are 0..127"),
        ("image -1", "no image -1: images are 0..127"),
        ("image", "image needs N. Example: image 17"),
        ("images sort pull asc desc", "images sorts one way"),
        ("images sort nope", "no column 'nope'. Columns: image, label, loss, "),
        ("images top 0", "images top takes a number from 1, not '0'"),
        ("health 64", "no feature 64: features are 0..63"),
        ("health runs 3", "health runs compares conditions, and takes no features. Example: health runs"),
        ("heat loss", "loss is one value a step, not one a feature: `find loss > 0` and `loss` look at it"),
        ("summary loss", "loss is one value a step, not one a feature"),
    ],
)
def test_a_mistake_is_one_line(slow: TypingSession, line: str, message: str) -> None:
    answer = told(slow, line)
    error = answer["error"]
    assert f"{error['message']}{'. ' if error['hint'][:1].isupper() else ': '}{error['hint']}".startswith(message)


def test_without_a_rule_or_a_step_there_is_nothing_to_trace(make_session: Make) -> None:
    session = make_session(script("--condition", "bcl-slow"))
    session.play("""
        (tdb) trace
        *** unknown command 'trace' (nor Python). Did you mean: traj...; those of the script are known from `start` on
        (tdb) start
        > step 0  ...
        (tdb) trace
        *** no step has been taken yet: `step` takes the first
    """)


def test_after_a_crash_in_the_model_its_images_are_told_without_their_loss(make_session: Make) -> None:
    session = make_session(script("--condition", "bcl-slow"), as_json=True)
    session.type("step")
    session.type("!self.model.decoder = None")
    session.type("step")
    for line in ("images", "image 3"):
        answer = told(session, line)
        assert answer["ok"], answer
        assert "the images' loss cannot be computed: TypeError: 'NoneType' object is not callable" in str(answer)


def test_every_command_of_the_rule_explains_itself_with_examples_that_parse(slow: TypingSession) -> None:
    (panel,) = slow.controller.panels
    assert panel.commands == bcl_panel(panel.bcl).commands  # type: ignore[attr-defined]
    for function in panel.commands:
        command = function.__tdb_command__
        assert command.summary.endswith(".")
        assert command.topic == "bcl"
        for example in command.examples:
            name, _, arguments = example.partition(" ")
            assert name == command.name
            bind(name, command.parameters, arguments)


def test_the_images_of_a_trace_stand_under_the_numbers_of_their_features(
    slow: TypingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[Any] = []
    monkeypatch.setattr(slow.interpreter.show.sink, "save", lambda picture, _path: saved.append(picture) or "")
    slow.type("trace global_target -o targets.png")
    assert saved[0].labels == [str(feature) for feature in range(64)]
