"""The same questions without BCL: any layer with features, and a rule that only this test knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.typing_session import TypingSession

Make = Callable[..., TypingSession]

LOOP = """
    import torch
    import tdb
    {rule}

    torch.manual_seed(0)
    torch.set_num_threads(1)


    class Trainer:
        model = torch.nn.Sequential({layers})
        optimizer = torch.optim.{optimizer}


    controller = tdb.active_controller()
    {declare}
    controller.begin(Trainer)
    for step in range(1, 100):
        batch = {batch}
        loss = Trainer.model(batch).square().mean()
        loss.backward()
        controller.capture_batch(batch, loss, step)
        {push}
        Trainer.optimizer.step()
        {after}
        controller.wait_if_paused()
"""

LAYERS = {
    "Linear": ("torch.nn.Linear(7, 5), torch.nn.ReLU(inplace=True)", "torch.rand(6, 7)"),
    "Linear over positions": ("torch.nn.Linear(7, 5)", "torch.rand(2, 3, 7)"),
    "Conv1d": ("torch.nn.Conv1d(2, 5, 3), torch.nn.ReLU(inplace=True)", "torch.rand(6, 2, 9)"),
    "Conv2d": ("torch.nn.Conv2d(1, 5, 3)", "torch.rand(6, 1, 9, 9)"),
    "Conv3d": ("torch.nn.Conv3d(2, 5, 3)", "torch.rand(6, 2, 5, 5, 5)"),
    "ConvTranspose1d": ("torch.nn.ConvTranspose1d(2, 5, 3)", "torch.rand(6, 2, 9)"),
    "ConvTranspose2d": ("torch.nn.ConvTranspose2d(2, 5, 3), torch.nn.ReLU(inplace=True)", "torch.rand(4, 2, 5, 5)"),
    "Embedding": ("torch.nn.Embedding(5, 4)", "torch.randint(0, 5, (6, 3))"),
    "Embedding with sparse gradients": ("torch.nn.Embedding(5, 4, sparse=True)", "torch.randint(0, 5, (6, 3))"),
}


def loop(kind: str, optimizer: str = "SGD(model.parameters(), lr=0.1)", **more: str) -> str:
    layers, batch = LAYERS[kind]
    words = {"rule": "", "declare": "", "push": "", "after": "Trainer.optimizer.zero_grad()", **more}
    return LOOP.format(layers=layers, batch=batch, optimizer=optimizer, **words)


def rows(session: TypingSession, name: str) -> Any:
    return np.array(session.answer(f"grid {name} all")["rows"], dtype=np.float64)


@pytest.mark.parametrize("kind", LAYERS)
def test_metrics_of_any_layer_equal_their_definition(make_session: Make, kind: str) -> None:
    session = make_session(loop(kind), as_json=True)
    session.type("start")
    session.type("! output = None")
    columns = ".transpose(0, 1)" if kind.startswith("ConvTranspose") else ""
    session.type("! hook = Trainer.model[0].register_forward_hook(lambda m, i, o: globals().update(output=o.clone()))")
    initial = None
    for _ in range(2):
        before = np.array(session.answer(f"p Trainer.model[0].weight{columns}.flatten(1)")["value"]["values"])
        initial = before if initial is None else initial
        session.answer("step")
        table = session.answer("metrics")["table"]
        metrics = {
            name: np.array(values)
            for name, values in zip(table["columns"], zip(*table["rows"], strict=True), strict=True)
        }
        after, grad = rows(session, "weights"), rows(session, "grad")
        norm, change = np.linalg.norm(after, axis=1), np.linalg.norm(after - before, axis=1)
        np.testing.assert_allclose(metrics["weight_norm"], norm, rtol=1e-5)
        np.testing.assert_allclose(metrics["grad_norm"], np.linalg.norm(grad, axis=1), rtol=1e-5)
        np.testing.assert_allclose(metrics["update_norm"], change, rtol=1e-3, atol=1e-7)
        np.testing.assert_allclose(metrics["update_ratio"], change / norm, rtol=1e-3, atol=1e-7)
        cosine = (after * initial).sum(axis=1) / norm / np.linalg.norm(initial, axis=1)
        np.testing.assert_allclose(metrics["cos_to_init"], cosine, atol=1e-5)
        np.testing.assert_allclose(rows(session, "combined"), after - before, atol=1e-7)
        if kind.startswith("Embedding"):
            assert "mean_activation" not in metrics
            continue
        output = np.array(
            session.answer("p output.movedim({}, 0).flatten(1)".format(-1 if kind.startswith("Linear") else 1))[
                "value"
            ]["values"]
        )
        np.testing.assert_allclose(metrics["mean_activation"], output.mean(axis=1), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(metrics["active_fraction"], (output > 0).mean(axis=1), atol=1e-6)


def test_the_focus_may_move(make_session: Make) -> None:
    script = loop("Linear").replace("torch.nn.ReLU(inplace=True)", "torch.nn.ReLU(), torch.nn.Linear(5, 3)")
    session = make_session(script)
    session.play("""
        (tdb) focus
        *** no model is known. It is once training has begun: `start`
        (tdb) step
        > step 1 ...
        (tdb) focus
        layer  kind    features  row  focus
        0      Linear         5    7  <-
        2      Linear         3    5
        2 layers with features
        (tdb) focus 2
        focus 2: Linear, 3 features of 5
        (tdb) metrics top 1 weight_norm update_norm
        feature_id  weight_norm  update_norm  status
        ...
        1 of 3 rows of layer 2
    """)


RULE = """
    from tdb.commands import command
    from tdb.panel import Panel, StatusRule
    from tdb.results import Result, Text


    @command("hum", running="now")
    def hummed(session) -> Result:
        '''Say what the toy rule hums.

        Example:
            hummed
        '''
        return Result([Text("hm")], {"hum": 1})


    def hum():
        '''A toy rule: every step draws all weights a little toward one.'''
        delta = 0.01 * (1 - Trainer.model[0].weight.detach())
        Trainer.model[0].weight.data.add_(delta)
        hum.delta = delta
"""


def test_a_rule_of_its_own_brings_columns_status_sources_forces_and_commands(make_session: Make) -> None:
    declare = (
        'controller.add_panel(Panel(name="hum", layer="0", metrics=lambda: {"pitch": hum.delta.abs().mean(1)}, '
        'columns=("pitch",), status=StatusRule("pitch", dead_below=0.001, winner_above=0.01), '
        'sources={"hums": lambda: hum.delta * 100}, forces={"hum": lambda: hum.delta}, commands=[hummed]))'
    )
    script = loop("Linear", rule=RULE, declare=declare, push="hum()", after="pass")
    session = make_session(script, as_json=True)
    session.answer("step 2")
    assert session.answer("metrics")["table"]["columns"] == ["feature_id", "pitch"]
    assert session.answer("hum") == {"hum": 1}
    assert "hums" in session.answer("sources")["sources"]
    vectors = session.answer("force 0")["vectors"]["0"]
    assert list(vectors) == ["weight", "grad_delta", "hum_delta", "combined"]
    total = np.array(vectors["grad_delta"]) + np.array(vectors["hum_delta"])
    np.testing.assert_allclose(total, vectors["combined"], atol=1e-8)
    assert session.answer("force")["hum_to_grad"] > 0


def test_what_was_followed_in_a_layer_that_is_not_in_focus_any_more_is_exported_with_its_name(
    make_session: Make, tmp_path: Path
) -> None:
    layers = "torch.nn.Linear(7, 5), torch.nn.Linear(5, 3)"
    session = make_session(loop("Linear").replace(LAYERS["Linear"][0], layers), as_json=True)
    for line in ("step", "focus 0", "watch 2 3", "step 3", "focus 1", "watch 2", "step 2"):
        session.answer(line)
    session.answer(f"export {tmp_path / 'run.npz'}")
    with np.load(tmp_path / "run.npz") as run:
        assert run["trajectories/2/step"].tolist() == [5, 6]
        assert run["trajectories/0.3/step"].tolist() == run["pairs/0.2-3/step"].tolist() == [2, 3, 4]
    session.answer(f"export {tmp_path / 'run.csv'}")
    names = (tmp_path / "run.csv").read_text().partition("\n")[0].split(",")
    assert {"watch.2.cos_to_init", "watch.0.3.cos_to_init", "cos.0.2-3"} <= {*names}


def test_what_is_not_finite_is_counted_and_comes_first(make_session: Make) -> None:
    session = make_session(loop("Linear", after="Trainer.model[0].weight.data[3, 0] = float('nan')"))
    session.type("step")
    shown = session.type("metrics sort weight_norm asc")
    assert shown.splitlines()[1].lower().split()[:2] == ["3", "nan"]
    for line in ("cosmat weights", "grid weights", "heatmap weights", "force 3", "hist weights", "scatter"):
        assert "***" not in session.type(line), line
    assert "not finite" in session.type("cosmat weights")


def test_what_has_no_features_says_what_shows_it(make_session: Make) -> None:
    layers = "torch.nn.LayerNorm(8), torch.nn.Sequential(torch.nn.Linear(8, 3)), torch.nn.Linear(3, 2)"
    script = LOOP.format(
        layers=layers,
        batch="torch.rand(6, 8)",
        optimizer="SGD(model.parameters(), lr=0.1)",
        rule="",
        declare="",
        push="",
        after="pass",
    )
    make_session(script).play("""
        (tdb) step
        > step 1 ...
        (tdb) focus 0
        *** 0 is a LayerNorm, which has no row of weights a feature: `layers 0` and `layers gradients 0` show it
        (tdb) focus 1
        *** 1 is a Sequential, which has no row of weights a feature. Inside it: 1.0
    """)


ONE_FEATURE = LOOP.format(
    layers="torch.nn.Linear(7, 1)",
    optimizer="SGD(model.parameters(), lr=0.1)",
    batch="torch.rand(1, 7)",
    after="Trainer.optimizer.zero_grad()",
    **dict.fromkeys(("rule", "declare", "push"), ""),
)


def test_one_of_something_is_in_the_singular(
    make_session: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_session(ONE_FEATURE).play("""
        (tdb) watch 0
        ...
        (tdb) step
        ...
        (tdb) metrics weight_norm
        ...
        1 of 1 row of layer 0
        (tdb) watch
        ...
        watching 1 feature of layer 0
        (tdb) scatter
        update_norm against weight_norm of 1 feature, ...
        (tdb) grid weights
        weights of 1 feature, values ...
        (tdb) hist grad_norm
        grad_norm: 1 value, ...
        (tdb) heat grad_norm
        grad_norm of 1 feature at 1 recorded step from 1 to 1: ...
        (tdb) summary grad_norm
        ...
        the last 1 of 1 recorded step
        grad_norm of 1 feature, 1 recorded step from 1 to 1, ...
        (tdb) find loss > 0
        ...
        held at 1 of 1 recorded step from 1 to 1
        (tdb) layers activations
        ...
        1 row; quantiles of absolute values
        activations of 1 module: ...
        (tdb) focus
        ...
        1 layer with features
        (tdb) export run.json
        run.json: 1 step, 1 trajectory, ...
        (tdb) set figures off
        ...
        (tdb) loss
        ...
        1 line of at most 1 point
    """)


def test_a_feature_whose_output_is_nan_is_not_dead_but_unknown(make_session: Make) -> None:
    words = {"rule": "", "push": "", "after": "Trainer.optimizer.zero_grad()"}
    words |= {"layers": "torch.nn.Linear(1, 3, bias=False)", "optimizer": "SGD(model.parameters(), lr=0.0)"}
    words["declare"] = "Trainer.model[0].weight.data[:, 0] = torch.tensor([1.0, -1.0, 1.0])"
    words["batch"] = "torch.ones(4, 1); Trainer.model[0].weight.data[2] = float('nan') if step > 1 else 1.0"
    session = make_session(LOOP.format(**words), as_json=True)
    assert "known from the first step on" in session.type("watch all")
    session.type("watch 0:3")  # the metrics of several steps are computed together then
    session.type("step 3")
    table = session.answer("metrics active_fraction")["table"]
    assert (table["rows"], table["status"]) == ([[0, 1.0], [1, 0.0], [2, "NaN"]], ["contender", "dead", "unknown"])
    assert session.answer("metrics @dead")["table"]["rows"][0][0] == 1
    summary = session.answer("summary active_fraction")["table"]
    counts = [summary["columns"].index(word) for word in ("dead", "contender")]
    assert [[row[at] for at in counts] for row in summary["rows"]] == [[1, 2], [1, 1], [1, 1]]


def test_questions_about_no_feature_and_about_one(make_session: Make) -> None:
    make_session(ONE_FEATURE).play("""
        (tdb) watch 0
        ...
        (tdb) step
        ...
        (tdb) grid weights 0:0
        weights of 0 features, no finite values
        (tdb) force 0:0
        feature_id ...
        norms of the step's parts, L2
        (tdb) heatmap weights[0:0]
        weights[0:0]: 0x7, no finite values
        ...
        (tdb) heatmap weights[0]
        *** weights[0] has shape [7]: a heatmap takes two dimensions. Its values: hist weights[0]
        (tdb) cosmat weights
        *** weights has one row, and a cosine takes two
        (tdb) pairs
        *** a pair takes two watched features. Example: watch 0 15 31
        (tdb) traj weight_norm
        weight_norm at step 1: feature 0 ...
        (tdb) find loss > 0 first last
        *** find takes one of first, last and all. Example: find loss < 0.1 first
        (tdb) state
        ...
        watches    feature 0
        ...
    """)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_layer_of_no_features_is_passed_over_and_features_of_no_numbers_are_as_unlike_as_can_be(
    make_session: Make,
) -> None:
    words = {"layers": "torch.nn.Linear(7, 0), torch.nn.Linear(0, 5)", "optimizer": "SGD(model.parameters(), lr=0.1)"}
    words |= {"batch": "torch.rand(1, 7)", "after": "pass", **dict.fromkeys(("rule", "declare", "push"), "")}
    make_session(LOOP.format(**words)).play("""
        (tdb) step
        > step 1 ...
        (tdb) focus
        layer  kind    features  row  focus
        1      Linear         5  0    <-
        1 layer with features
        (tdb) focus 0
        *** 0 is a Linear, which has no row of weights a feature: `layers 0` and `layers gradients 0` show it
        (tdb) cosmat weights
        cosines of  mean  std  max  not finite  most similar
        weights      0.0  0.0  0.0           0  0-1 0.0000, 0-2 0.0000, 0-3 0.0000
        ...
        (tdb) summary weight_norm
        ...
        weight_norm of 5 features, 1 recorded step from 1 to 1, ...
        (tdb) layers weights
        ...
        weights of 4 parameters: ...
    """)


def test_where_no_layer_has_features_its_tensors_are_said_to_be_those_of_no_layer(make_session: Make) -> None:
    words = {"layers": "torch.nn.LayerNorm(7)", "optimizer": "SGD(model.parameters(), lr=0.1)"}
    words |= {"batch": "torch.rand(2, 7)", "after": "pass", **dict.fromkeys(("rule", "declare", "push"), "")}
    make_session(LOOP.format(**words)).play("""
        (tdb) step
        > step 1 ...
        (tdb) grid weights
        *** no focus layer: `focus` lists the layers with features, `layers` all of the model
    """)


def test_charts_say_where_a_line_ends_though_it_ends_in_nan(make_session: Make) -> None:
    session = make_session(loop("Linear", push="controller.capture_batch(batch, [4, 2, float('nan')][step - 1], step)"))
    session.type("step 3")
    assert "loss 4 to nan, least 2 at step 2, most 4 at step 1" in session.type("loss")


def test_watching_a_feature_that_turns_out_not_to_exist_costs_nothing_else(make_session: Make) -> None:
    session = make_session(loop("Linear"))
    session.type("watch 1 99")
    assert "not watched: 99, for features are 0..4" in session.type("step")
    assert "watching 1 feature" in session.type("watch")
    assert "weight_norm at step 1: feature 1 " in session.type("traj weight_norm")
    assert "1 recorded step" in session.type("heat weight_norm")


def test_focus_says_which_features_that_were_named_before_are_not_there(make_session: Make) -> None:
    session = make_session(loop("Linear", declare="controller.focus_on('nosuch')"))
    session.type("watch 1 99")
    assert "no layer 'nosuch'" in session.type("step")
    said = session.type("focus 0")
    assert "not watched: 99, for features are 0..4" in said
    assert "watching 1 feature" in session.type("watch")


@pytest.mark.parametrize("line", ["until 30", "break 30;; continue", "break when loss > 1e9;; until 30"])
@pytest.mark.parametrize("kind", ["Linear", "Conv2d"])
def test_all_metrics_of_what_is_watched_are_recorded_of_steps_that_a_stop_point_is_asked_at(
    make_session: Make, kind: str, line: str
) -> None:
    session = make_session(loop(kind), as_json=True)
    session.answer("step")
    session.answer("watch 1")
    session.type(line)
    for metric in ("update_norm", "mean_activation", "cos_to_init"):
        assert session.answer(f"find {metric}[1] < 9")["steps"] == [*range(1, 31)]
    session.answer("unwatch")
    session.answer("until 45")
    assert session.answer("find update_norm[1] < 9")["steps"] == [*range(1, 31), 45]
    session.close()
