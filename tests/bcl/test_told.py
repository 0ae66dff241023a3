"""What the commands tell of a rule, as plain arrays and rows: no tdb in sight."""

import numpy as np
import pytest
import torch

from bcl.arrays import owned
from bcl.batch import OneImage, batch_of
from bcl.drawing import drawing_of, drawn_together
from bcl.faring import faring
from bcl.health import BCLHealthTracker
from bcl.trace import in_order
from tests.bcl.test_trace import B, D, F, stepped


def test_what_is_owned_is_not_changed_with_the_tensor():
    tensor = torch.ones(3, dtype=torch.bfloat16)
    array = owned(tensor)
    tensor.zero_()
    assert (array.dtype, array.tolist()) == (np.float32, [1, 1, 1])


def test_images_have_an_order_and_what_is_no_number_comes_last():
    tensors, config, weight = stepped("m3-0.2")
    loss = torch.arange(B, dtype=torch.float64)
    loss[4] = torch.nan
    batch = batch_of(tensors, weight, config, loss, np.arange(B) % 2)
    assert batch.sorts == ["loss", "coverage", "pull"]
    assert batch.order("loss", ascending=False).tolist() == [10, 9, 8, 7, 6, 5, 3, 2, 1, 0, 4]
    assert batch.order("loss", ascending=True).tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 4]
    assert list(batch.rows(np.array([3]))) == ["image", "label", "loss", "coverage", "claims", "winner", "pull"]
    assert batch.by_label()["images"].tolist() == [6, 5]
    assert batch.image(9).facts["loss rank"] == "2 of 11"
    assert batch_of(tensors, weight, config, labels=np.arange(3)).labels is None, "they are not of these images"


def test_an_image_concerns_those_that_claim_it_and_those_that_it_moves_most():
    score = np.array([0.9, 0.1, 0.6, 0.2, 0.7, 0.3])
    pull = np.array([0.0, 0.0, 0.0, 5.0, 0.0, 7.0])
    seen = OneImage({}, score > 0.5, {"rank_score": score, "pull": pull})
    assert seen.concerned(4).tolist() == [0, 4, 2, 5, 3]
    assert seen.concerned(2).tolist() == [0, 4, 5]
    assert OneImage({}, score > 0.5, {"rank_score": score}).concerned(2).tolist() == [0, 4]


def test_tensors_with_one_number_a_feature_are_drawn_together_and_empty_ones_not():
    tensors, *_ = stepped("m3-0.2")
    arrays = {name: owned(tensors[name]) for name in in_order(tensors)} | {"neighbours": np.empty((1, 0))}
    groups = [list(group) for group in drawn_together(arrays)]
    assert ["feature_novelty", "win_rate"] in groups
    assert ["effective_win", "gradient_weight", "contender_weight", "attraction_weight"] in groups
    drawn = [name for group in groups for name in group]
    assert sorted(drawn) == sorted(set(arrays) - {"neighbours", "winner"})


@pytest.mark.parametrize(
    ("name", "shape", "form", "size"),
    [
        ("rank_score", None, "heatmap", (B, D)),
        ("som_targets", None, "bars", (D, F)),
        ("som_targets", (1, F), "images", (D, 1, F)),
        ("win_rate", (1, F), "bars", (1, D)),
        ("neighbours", None, "heatmap", (D, 3)),
        ("neighbours", (1, F), "images", (4 * D, 1, F)),
    ],
)
def test_a_tensor_is_drawn_by_its_axes(name, shape, form, size):
    tensors, _, weight = stepped("m3-0.2")
    drawn = drawing_of({name: owned(tensors[name])}, owned(weight), shape)
    assert (drawn.form, drawn.values.shape) == (form, size)
    if (name, form) == ("neighbours", "images"):
        first, second = drawn.values[0].ravel(), drawn.values[1].ravel()
        np.testing.assert_array_equal(first, weight[0].numpy())
        np.testing.assert_array_equal(second, weight[tensors["neighbours"][0, 0]].numpy())
        assert drawn.labels[:5] == ["0", "", "", "", "1"]


def test_how_features_fare_includes_the_epoch_under_way_and_every_run():
    weight, win_rate = torch.eye(3), torch.tensor([0.0, 0.02, 0.9])
    step = {"win_rate": win_rate, "grad_magnitude": torch.ones(3), "som_magnitude": torch.ones(3)}
    tracker = BCLHealthTracker()
    assert faring(tracker, weight).epochs == []
    tracker.begin_run("first")
    tracker.record_bcl_step(step)
    tracker.end_epoch(weight)
    tracker.begin_run("second")
    assert [row["run"] for row in faring(tracker, weight).each_run()] == ["first"]
    tracker.record_bcl_step(step)
    now = faring(tracker, weight)
    assert (now.run, now.steps_under_way, now.data["under_way"]) == ("second", 1, True)
    assert [(row["run"], row["epoch"]) for row in now.each_run()] == [("first", 1), ("second", 1)]
    assert now.status_of([2, 0]) == ["winner", "dead"]
    assert now.numbers_of([2, 0])["win_rate"].tolist() == pytest.approx([0.9, 0.0])
    assert {word: counts.tolist() for word, (_, counts) in now.counts().items()} == {
        "dead": [1], "contender": [1], "winner": [1],
    }  # fmt: skip
