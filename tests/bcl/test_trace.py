"""One batch through the rule, and what its images do: every number against its definition."""

import math

import pytest
import torch
from torch.testing import assert_close

from bcl import BCLConfig, attach_bcl
from bcl.images import exerted, feature_columns, image_columns, means_by, pull_shares
from bcl.rules import RULES
from bcl.trace import AXES, IDS, MADE_FROM, in_order, trace, variation, verdict

B, D, F, K = 11, 7, 5, 3
SIZES = {"B": B, "D": D, "F": F, "k": K}


def stepped(rule, seed=0, dtype=torch.float64):
    """Return the tensors of one step, the configuration, and the weight as it was pulled."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(F, D), torch.nn.ReLU(), torch.nn.Linear(D, F)).to(dtype)
    config = BCLConfig(rule, neighborhood_k=K, som_lr=0.01)
    bcl = attach_bcl(model, "0", config)
    images = torch.rand(B, F, dtype=dtype)
    before = model[0].weight.detach().clone()
    torch.nn.functional.l1_loss(model(images), images).backward()
    return bcl.step_tensors(), config, before


def cosine_by_loops(rows):
    found = []
    for i, row in enumerate(rows):
        for other in rows[:i]:
            lengths = math.sqrt(sum(x * x for x in row)) * math.sqrt(sum(y * y for y in other))
            found.append(sum(x * y for x, y in zip(row, other, strict=True)) / lengths if lengths else 0.0)
    return sum(found) / len(found)


@pytest.mark.parametrize("rule", RULES)
def test_every_tensor_has_its_axes_and_stands_after_what_it_is_made_from(rule):
    tensors, *_ = stepped(rule)
    assert set(in_order(tensors)) == set(tensors)
    for name, tensor in tensors.items():
        assert tuple(tensor.shape) == tuple(SIZES[axis] for axis in AXES[name]), name
    order = list(AXES)
    for name, sources in MADE_FROM.items():
        assert all(order.index(source) < order.index(name) for source in sources), name


@pytest.mark.parametrize("rule", RULES)
def test_a_line_says_what_numpy_and_loops_find(rule):
    tensors, *_ = stepped(rule)
    lines = trace(tensors)
    assert [line.name for line in lines] == in_order(tensors)
    for line in lines:
        values = tensors[line.name].double().numpy()
        assert line.shape == values.shape
        assert (line.low, line.high) == pytest.approx((values.min(), values.max()))
        rows = {"BD": values.T, "DF": values, "BF": values}.get(AXES[line.name])
        if rows is None:
            assert line.cosine is None
        else:
            assert line.cosine == pytest.approx(cosine_by_loops(rows.tolist()), abs=1e-9)
        if line.name in IDS:
            assert line.variation is None
        else:
            assert line.variation == pytest.approx(values.std() / abs(values.mean()), rel=1e-9)


def test_a_tensor_with_nan_has_the_bounds_of_its_finite_values_and_says_how_many_are_not():
    tensors, *_ = stepped("m3-0.2")
    low, high = tensors["rank_score"][:, 1:].min().item(), tensors["rank_score"][:, 1:].max().item()
    tensors["rank_score"][:, 0] = math.nan
    tensors["som_targets"][:] = math.inf
    lines = {line.name: line for line in trace(tensors)}
    score, targets = lines["rank_score"], lines["som_targets"]
    assert (score.low, score.high, score.not_finite) == (low, high, B)
    assert math.isnan(targets.low)
    assert targets.not_finite == D * F
    assert lines["strength"].not_finite == 0
    said = "rank_score is the first that is not finite: how alike features are cannot be told from there on"
    assert verdict(list(lines.values())) == said


def test_variation_of_nothing_and_of_what_cancels_out():
    assert math.isnan(variation(torch.zeros(3)))
    assert variation(torch.tensor([-1.0, 1.0])) == math.inf
    assert variation(torch.full((4,), 0.3)) == pytest.approx(0, abs=1e-6)


def test_symmetry_appears_where_features_become_alike_and_stays_in_what_follows():
    one = torch.rand(6, 1)
    tensors = {
        "rank_score": torch.eye(6)[:, :4],
        "in_nbr": torch.eye(6)[:, :4],
        "global_pull": one.expand(6, 4),
        "global_target": one.T.expand(4, 6),
        "local_target": torch.eye(4, 6),
        "som_targets": one.T.expand(4, 6),
    }
    lines = {line.name: line for line in trace(tensors)}
    assert {name: line.symmetry for name, line in lines.items()} == {
        "rank_score": "", "in_nbr": "", "global_pull": "appears", "global_target": "stays", "local_target": "",
        "som_targets": "stays",
    }  # fmt: skip
    assert verdict(list(lines.values())) == (
        "the SOM targets are alike, and the symmetry appears in global_pull: global_pull 1.000, global_target 1.000, "
        "som_targets 1.000; rank_score, before it, has 0.000"
    )
    tensors["som_targets"] = torch.eye(4, 6)
    assert verdict(trace(tensors)) == "the SOM targets differ: mean cosine 0.000"
    del tensors["som_targets"]
    assert verdict(trace(tensors)) == "features are alike from global_pull on"
    assert verdict(trace({"rank_score": torch.eye(6)})) == "features are alike in none of these tensors"


# The forces of single images: all [B, D, F] vectors, one by one.


def forces_one_by_one(tensors, config, weight):
    """Return [B, D, F]: what each image adds to each feature's weight, and [D, F]: what is left, a pull to 0."""
    share = pull_shares(tensors)
    x = tensors["inputs"]
    rate = config.som_lr * tensors.get("som_rate", torch.ones(D, dtype=x.dtype))
    forces = torch.zeros(B, D, F, dtype=x.dtype)
    for b in range(B):
        for d in range(D):
            whole = share.whole[b, d]
            freed = 0 if share.freed is None else share.freed[b, d]
            towards = (whole - freed) * (x[b] - weight[d])
            if share.freed is not None:
                u = tensors["bully_direction"][d]
                towards = towards + freed * (x[b] - (x[b] @ u) * u - weight[d])
            forces[b, d] = rate[d] * towards
    left = -(rate * (1 - share.whole.sum(0)))[:, None] * weight
    return forces, left


PULLING = [name for name, rule in RULES.items() if rule.pulls]


@pytest.mark.parametrize("rule", PULLING)
@pytest.mark.parametrize("seed", range(3))
def test_the_images_forces_add_up_to_the_som_s_part_of_the_step(rule, seed):
    tensors, config, weight = stepped(rule, seed)
    forces, left = forces_one_by_one(tensors, config, weight)
    assert_close(forces.sum(0) + left, tensors["som_delta"], rtol=1e-6, atol=1e-12)
    found = exerted(tensors, config)
    assert_close(found.pull, forces.norm(dim=2), rtol=1e-6, atol=1e-10)
    assert_close(found.pull_share, pull_shares(tensors).whole)


@pytest.mark.parametrize("rule", RULES)
def test_the_images_shares_of_the_gradient_are_those_of_autograd(rule):
    tensors, config, _ = stepped(rule)
    found = exerted(tensors, config)
    masked = tensors["arriving"] * tensors["grad_mask"]
    alone = torch.einsum("bd,bf->bdf", masked, tensors["inputs"]).norm(dim=2)
    total = alone.sum(0)
    assert_close(found.grad_share, alone / torch.where(total > 0, total, 1.0))
    assert (found.pull is None) == (rule == "nbr-k8")


def test_a_pull_that_is_switched_off_has_no_length():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(F, D))
    bcl = attach_bcl(model, "0", BCLConfig(som_lr=0.0, neighborhood_k=K))
    model(torch.rand(B, F)).sum().backward()
    assert exerted(bcl.step_tensors(), bcl.config).pull.abs().max() == 0


def test_images_that_were_overwritten_are_not_made_up():
    tensors, config, _ = stepped("m3-0.2")
    del tensors["inputs"]
    with pytest.raises(LookupError, match="overwritten"):
        exerted(tensors, config)


def test_columns_of_images_and_of_features():
    tensors, config, _ = stepped("m3-0.2")
    found = exerted(tensors, config)
    columns = image_columns(found, torch.arange(B))
    assert list(columns) == ["image", "loss", "coverage", "claims", "winner", "pull"]
    assert_close(columns["coverage"], tensors["rank_score"].sum(1))
    assert columns["claims"].tolist() == [(row > 0.5).sum().item() for row in tensors["rank_score"]]
    assert columns["winner"].tolist() == [row.argmax().item() for row in tensors["rank_score"]]
    assert "loss" not in image_columns(found)
    one = feature_columns(found, 4)
    assert list(one) == ["rank_score", "grad_mask", "grad_share", "pull_share", "pull"]
    assert_close(one["pull"], found.pull[4])
    gated, config, _ = stepped("nbr-k8")
    assert list(feature_columns(exerted(gated, config), 0)) == ["rank_score", "grad_mask", "grad_share"]
    assert "pull" not in image_columns(exerted(gated, config))


def test_means_by_label():
    labels, values = torch.tensor([3, 1, 3, 3]), torch.tensor([1.0, 5.0, 2.0, 6.0])
    found = means_by(labels, {"loss": values})
    assert {name: column.tolist() for name, column in found.items()} == {
        "group": [1, 3], "images": [1, 3], "loss": [5.0, 3.0],
    }  # fmt: skip
    assert found["loss"].isfinite().all()
