"""The plan's questions about one batch, asked of the recipe: every number against the rule's own tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tdb.script import Script
from tdb.step import Step
from tests.typing_session import TypingSession

COLUMNS = [
    "feature_id",
    "win_rate",
    "grad_magnitude",
    "som_magnitude",
    "feature_novelty",
    "effective_win",
    "gradient_weight",
    "contender_weight",
    "attraction_weight",
]


def recipe(condition: str, *more: str) -> Script:
    return Script("recipes.gradient_gating_l0", ("--condition", condition, "--steps", "400", *more), is_module=True)


@pytest.fixture(scope="module")
def bcl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TypingSession]:
    """The recipe with BCL, stopped at step 30, answering in JSON."""
    session = TypingSession(tmp_path_factory.mktemp("bcl"), recipe("bcl-slow"), as_json=True)
    session.answer("until 30")
    yield session
    session.close()


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TypingSession]:
    """The recipe without a rule, stopped at step 5."""
    session = TypingSession(tmp_path_factory.mktemp("control"), recipe("control"), as_json=True)
    session.answer("step 5")
    yield session
    session.close()


def array(session: TypingSession, key: str) -> Any:
    """What `data KEY` answers, as an array."""
    return np.array(session.answer(f"data {key}")["tensor"]["values"], dtype=np.float64)


def column(table: dict[str, Any], name: str) -> Any:
    position = table["columns"].index(name)
    return np.array([row[position] for row in table["rows"]])


def source(session: TypingSession, name: str) -> Any:
    return np.array(session.answer(f"grid {name} all")["rows"], dtype=np.float64)


def cosines_one_by_one(rows: Any, others: Any) -> Any:
    """Cosine similarity as its definition says, pair by pair, in float64."""
    found = np.zeros((len(rows), len(others)))
    for i, row in enumerate(rows):
        for j, other in enumerate(others):
            product = math.sqrt(sum(x * x for x in row)) * math.sqrt(sum(x * x for x in other))
            found[i, j] = sum(x * y for x, y in zip(row, other, strict=True)) / product if product else 0.0
    return found


def test_keys_lists_exactly_what_the_step_captured(bcl: TypingSession, control: TypingSession) -> None:
    assert bcl.answer("keys")["keys"] == ["bcl_metrics", "bcl_tensors"]
    assert control.answer("keys")["keys"] == []


def test_the_batch_is_128_real_digits(bcl: TypingSession) -> None:
    answer = bcl.answer("batch")
    assert answer["step"] == 30
    assert answer["tensors"]["rows"][0][:3] == ["batch", "128x1x28x28", "float32"]
    assert len(answer["labels"]) == 128
    assert set(answer["labels"]) <= set(range(10))


def test_metrics_has_the_columns_of_the_plan_and_equals_the_rule(bcl: TypingSession) -> None:
    table = bcl.answer("metrics")["table"]
    assert table["columns"] == COLUMNS
    assert column(table, "feature_id").tolist() == list(range(64))
    for name in COLUMNS[1:]:
        np.testing.assert_array_equal(column(table, name), array(bcl, f"bcl_metrics.{name}"))


def test_grad_magnitude_sums_to_the_mask(bcl: TypingSession) -> None:
    total = column(bcl.answer("metrics")["table"], "grad_magnitude").sum()
    assert total == pytest.approx(array(bcl, "bcl_tensors.grad_mask").sum(), rel=1e-5)


def test_dead_features_have_a_high_som_signal(bcl: TypingSession) -> None:
    table = bcl.answer("metrics sort win_rate asc top 10")["table"]
    everyone = bcl.answer("metrics")["table"]
    assert column(table, "som_magnitude").mean() > column(everyone, "som_magnitude").mean()
    assert (np.diff(column(table, "win_rate")) >= 0).all()


def test_status_is_read_from_the_win_rate(bcl: TypingSession) -> None:
    answer = bcl.answer("metrics")
    for rate, status in zip(column(answer["table"], "win_rate"), answer["status"], strict=True):
        assert status == ("dead" if rate < 0.01 else "winner" if rate > 0.05 else "contender")


def test_rows_are_chosen_by_status_ids_and_condition(bcl: TypingSession) -> None:
    everyone = bcl.answer("metrics")
    rates, som = column(everyone["table"], "win_rate"), column(everyone["table"], "som_magnitude")
    for words, expected in (
        ("@winner", np.flatnonzero(rates > 0.05)),
        ("3 17 0:8:4", [3, 17, 0, 4]),
        ("where win_rate < 0.05 and som_magnitude > 0.5", np.flatnonzero((rates < 0.05) & (som > 0.5))),
    ):
        shown = column(bcl.answer(f"metrics {words}")["table"], "feature_id")
        assert shown.tolist() == list(expected)


def test_thresholds_are_settings(bcl: TypingSession) -> None:
    bcl.answer("set status.winner 0.5")
    try:
        answer = bcl.answer("metrics")
        winners = (column(answer["table"], "win_rate") > 0.5).sum()
        assert answer["status"].count("winner") == winners
    finally:
        bcl.answer("set status.winner 0.05")


def test_a_csv_file_has_every_digit(bcl: TypingSession, tmp_path: Path) -> None:
    bcl.answer(f"metrics -o {tmp_path / 'metrics.csv'}")
    header, *lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert header.split(",")[: len(COLUMNS)] == COLUMNS
    rates = np.array([float(line.split(",")[1]) for line in lines[:64]], dtype=np.float32)
    np.testing.assert_array_equal(rates, array(bcl, "bcl_metrics.win_rate").astype(np.float32))


def test_a_slice_is_numpys(bcl: TypingSession) -> None:
    whole = array(bcl, "bcl_tensors.rank_score")
    assert whole.shape == (128, 64)
    for text, index in (
        ("[0:5, 17]", np.s_[0:5, 17]),
        ("[::-1]", np.s_[::-1]),
        ("[-1]", -1),
        ("[..., 3]", np.s_[..., 3]),
    ):
        np.testing.assert_array_equal(array(bcl, f"bcl_tensors.rank_score{text}"), whole[index])


@pytest.mark.parametrize("condition", ["bcl-slow", "bcl-med"])
@pytest.mark.parametrize("optimizer", ["Adam", "SGD", "momentum"])
def test_the_parts_add_up_to_the_step(tmp_path: Path, condition: str, optimizer: str) -> None:
    session = TypingSession(tmp_path, recipe(condition), as_json=True)
    try:
        session.type("start")
        if optimizer != "Adam":
            momentum = 0.9 if optimizer == "momentum" else 0.0
            session.type(
                f"! torch = __import__('torch'); self.optimizer = torch.optim.SGD("
                f"self.model.parameters(), lr=0.1, momentum={momentum})"
            )
        before = source(session, "weights") if session.controller.position.step else None
        assert before is None
        for _ in range(3):
            session.answer("step")
            parts = session.answer("force 0 17 63")["vectors"]
            for vectors in parts.values():
                combined = np.array(vectors["combined"], dtype=np.float64)
                total = np.array(vectors["grad_delta"]) + np.array(vectors["som_delta"])
                np.testing.assert_allclose(total, combined, rtol=0, atol=3e-9)
                assert np.abs(combined).max() > 0
    finally:
        session.close()


def test_combined_is_what_the_weights_did(bcl: TypingSession) -> None:
    before = source(bcl, "weights")
    bcl.answer("step")
    after = source(bcl, "weights")
    np.testing.assert_allclose(source(bcl, "combined"), after - before, rtol=0, atol=1e-8)


def test_force_without_ids_counts_who_agrees_and_who_fights(bcl: TypingSession) -> None:
    grad, som = source(bcl, "grad_delta"), source(bcl, "som_delta")
    cosines = [cosines_one_by_one([g], [s])[0, 0] for g, s in zip(grad, som, strict=True)]
    answer = bcl.answer("force")
    assert answer["agree"] == sum(value > 0 for value in cosines)
    assert answer["fight"] == sum(value < 0 for value in cosines)
    assert (answer["grad_delta_norm"], answer["som_delta_norm"]) == pytest.approx(
        (np.linalg.norm(grad), np.linalg.norm(som)), rel=1e-5
    )
    assert "grad_norm" not in answer, "the name of a metric that is the gradient's"
    assert answer["som_to_grad"] == pytest.approx(np.linalg.norm(som) / np.linalg.norm(grad), rel=1e-5)
    opposed = column(answer["most_opposed"], "feature_id").tolist()
    assert opposed == [int(i) for i in np.argsort(cosines)[:10] if cosines[i] < 0]


def test_control_has_one_force_only(control: TypingSession) -> None:
    answer = control.answer("force 17")
    assert answer["table"]["columns"] == ["feature_id", "grad_delta", "combined"]
    assert answer["vectors"]["17"]["grad_delta"] == answer["vectors"]["17"]["combined"]


@pytest.mark.parametrize(
    "name", ["weights", "som_targets", "local_target", "global_target", "grad_delta", "som_delta", "grad"]
)
def test_cosine_matrices_equal_the_definition(bcl: TypingSession, name: str) -> None:
    matrix = np.array(bcl.answer(f"cosmat {name}")["matrices"][name])
    rows = source(bcl, name)
    expected = cosines_one_by_one(rows[:12], rows)
    np.testing.assert_allclose(matrix[:12], expected, atol=1e-5)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(np.diag(matrix), (np.abs(rows).max(axis=1) > 0).astype(float))


def test_two_sources_are_compared(bcl: TypingSession) -> None:
    answer = bcl.answer("cosmat weights som_targets")
    means = {}
    for name, matrix in answer["matrices"].items():
        values = np.array(matrix)
        means[name] = values[~np.eye(64, dtype=bool)].mean()
        assert answer["similarity"][name]["mean"] == pytest.approx(means[name], abs=1e-6)
    assert answer["difference"] == pytest.approx(means["som_targets"] - means["weights"], abs=1e-6)
    # What the whole investigation is about: the targets are alike from the first steps on.
    assert means["som_targets"] > 0.9 > means["weights"]


def test_cross_compares_rows_of_two_sources(bcl: TypingSession) -> None:
    matrix = np.array(bcl.answer("cosmat weights grad_delta cross")["matrices"]["weights x grad_delta"])
    expected = cosines_one_by_one(source(bcl, "weights")[:5], source(bcl, "grad_delta"))
    np.testing.assert_allclose(matrix[:5], expected, atol=1e-5)


def test_a_heatmap_may_be_reordered(bcl: TypingSession) -> None:
    rates = array(bcl, "bcl_metrics.win_rate")
    answer = bcl.answer("heatmap bcl_tensors.rank_score columns win_rate")
    assert answer["column_ids"] == np.argsort(-rates, kind="stable").tolist()
    np.testing.assert_array_equal(answer["values"], array(bcl, "bcl_tensors.rank_score")[:, answer["column_ids"]])


def test_what_is_asked_while_training_runs_is_of_one_whole_step(make_session: Callable[..., TypingSession]) -> None:
    session = make_session(Script("recipes.gradient_gating_l0", ("--steps", "1000000"), is_module=True), as_json=True)
    session.answer("watch 3 17")
    session.answer("step 2")
    session.answer("continue &")
    assert session.answer("keys")["keys"] == ["bcl_metrics", "bcl_tensors"]
    np.testing.assert_allclose(array(session, "bcl_metrics.effective_win").sum(), 1, rtol=1e-5)
    parts = {name: np.array(value) for name, value in session.answer("force 3")["vectors"]["3"].items()}
    np.testing.assert_allclose(parts["grad_delta"] + parts["som_delta"], parts["combined"], atol=1e-7)
    assert session.answer("pairs")["ids"] == [3, 17]
    assert session.session.status == "running"
    session.answer("pause")


def test_where_training_stops_meanwhile_it_is_of_the_step_of_the_stop(
    make_session: Callable[..., TypingSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(Script("recipes.gradient_gating_l0", ("--steps", "1000000"), is_module=True), as_json=True)
    session.answer("step")
    peek = session.controller.peek

    def peek_too_late(look: Callable[[Step], Any]) -> Future[Any]:
        session.controller.pause()
        assert session.controller.wait() == "stopped"
        return peek(look)

    monkeypatch.setattr(session.controller, "peek", peek_too_late)
    for line in ("batch", "force 3"):
        session.answer("continue &")
        seen = session.answer(line)  # and does not wait for a step that nobody takes
        assert seen == session.answer(line)
        assert session.session.status == "stopped"


def test_a_histogram_is_of_a_tensor_or_an_expression(bcl: TypingSession) -> None:
    rates, magnitudes = array(bcl, "bcl_metrics.win_rate"), array(bcl, "bcl_metrics.som_magnitude")
    drawn = bcl.answer("hist win_rate * som_magnitude")["values"]
    np.testing.assert_allclose(drawn, rates * magnitudes, rtol=1e-6)
    np.testing.assert_array_equal(bcl.answer("hist bcl_metrics.win_rate")["values"], rates)


def test_scatter_shows_this_batch(bcl: TypingSession) -> None:
    points = bcl.answer("scatter")["points"]
    assert points["columns"] == ["feature_id", "grad_magnitude", "som_magnitude", "win_rate"]
    np.testing.assert_array_equal(column(points, "grad_magnitude"), array(bcl, "bcl_metrics.grad_magnitude"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("force 999", "no feature 999: features are 0..63"),
        ("metrics sort wr", "no column 'wr'. Columns: win_rate, grad_magnitude, "),
        ("metrics sort winrate", "no column 'winrate'. Did you mean: win_rate"),
        ("data bcl_tensor", "nothing captured under 'bcl_tensor'. Did you mean: bcl_tensors"),
        ("data bcl_tensors.rank", "bcl_tensors has no entry 'rank'. Did you mean: "),
        ("data bcl_tensors.rank_score[200]", "bcl_tensors.rank_score has shape [128, 64]: "),
        ("data bcl_tensors.rank_score[", "'bcl_tensors.rank_score[' is not the name of a value. Example: "),
        ("hist nosuch * win_rate", "no metric, key or variable 'nosuch' in this step. See `keys` and `sources`"),
        ("data bcl_tensors.rank_score[x]", "[x] is no slice. As in numpy: [0:5, 17], [:, ::2], [3]"),
        ("cosmat weight", "no source 'weight'. Did you mean: weights"),
        ("cosmat weights cross", "cosmat cross needs two sources. Example: "),
        ("heatmap bcl_metrics.win_rate", "bcl_metrics.win_rate has shape [64]: a heatmap takes two dimensions"),
        ("hist loss", "loss is not many values in this step"),
        ("hist delta(win_rate)", "delta(win_rate) is not many values in this step"),
        ("hist nope", "nothing captured under 'nope'"),
        ("heatmap bcl_tensors", "bcl_tensors is a set of entries. Take one: "),
        ("metrics where nope > 1", "nope"),
        ("metrics top 0", "metrics top takes a number from 1, not '0'"),
        ("focus nowhere", "no layer 'nowhere' with features. Layers with features: encoder.0, decoder.0"),
        ("scatter -o points.xyz", "an answer cannot be written as '.xyz'"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(bcl: TypingSession, line: str, message: str) -> None:
    before = bcl.answer("state")
    shown = bcl.type(line)
    assert f"*** {message}" in shown or message in shown
    assert '"ok":false' in shown
    assert bcl.answer("state") == before
