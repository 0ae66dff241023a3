"""The formulas against loops over Python floats, against plain indexing, and against their own identities."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from bcl.rule import Competition, compete, metrics, nearest_neighbours, strongest_neighbour
from tests.bcl import reference
from tests.bcl.plain import plain_neighbours, plain_rule

TEMPERATURE = 5.0


def random_case(seed, images, features, inputs, k, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(images, inputs, generator=generator, dtype=torch.float64)
    weight = scale * torch.randn(features, inputs, generator=generator, dtype=torch.float64)
    return x, x @ weight.T, nearest_neighbours(weight, k)


def tensor_of(batch: Competition, name: str) -> torch.Tensor:
    value = getattr(batch, name)
    return value() if callable(value) else value


cases = st.builds(
    random_case,
    seed=st.integers(0, 10_000),
    images=st.integers(1, 7),
    features=st.integers(1, 8),
    inputs=st.integers(1, 6),
    k=st.integers(1, 9),
    scale=st.sampled_from([0.03, 1.0, 3.0]),
)


@settings(max_examples=150, deadline=None)
@given(cases)
def test_every_tensor_equals_its_loop_written_reference(case):
    x, a, neighbours = case
    expected = reference.rule(x.tolist(), a.tolist(), neighbours.index.tolist(), TEMPERATURE)
    # Where a feature's novelty passes through 1, the formula divides noise by noise.
    assume(all(abs(total + 1e-8) > 1e-9 for total in expected.pop("local_sums")))
    batch = compete(x, a, neighbours, TEMPERATURE)
    for name, values in expected.items():
        actual = tensor_of(batch, name)
        assert_close(
            actual, torch.tensor(values, dtype=torch.float64), rtol=1e-6, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_single_precision_at_the_recipe_s_number_of_features():
    x, a, neighbours = random_case(3, images=128, features=64, inputs=12, k=8, scale=0.3)
    expected = reference.rule(x.tolist(), a.tolist(), neighbours.index.tolist(), TEMPERATURE)
    expected.pop("local_sums")
    single = compete(x.float(), a.float(), nearest_like(neighbours), TEMPERATURE)
    for name, values in expected.items():
        assert_close(
            tensor_of(single, name), torch.tensor(values), rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


def nearest_like(neighbours):
    return type(neighbours)(neighbours.index, neighbours.member.float())


def test_equals_plain_indexing_at_full_size():
    x, a, neighbours = random_case(0, images=128, features=64, inputs=784, k=8, scale=0.03)
    fast = compete(x.float(), a.float(), nearest_like(neighbours), TEMPERATURE)
    for name, expected in plain_rule(x.float(), a.float(), neighbours.index, TEMPERATURE).items():
        assert_close(tensor_of(fast, name), expected, rtol=1e-5, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


@settings(max_examples=60, deadline=None)
@given(cases)
def test_identities(case):
    x, a, neighbours = case
    batch = compete(x, a, neighbours, TEMPERATURE)
    assert_close(batch.effective_win.sum(), torch.tensor(1.0, dtype=torch.float64), rtol=1e-6, atol=0)
    assert_close(batch.grad_mask.sum(0), len(x) * batch.effective_win**2, rtol=1e-6, atol=1e-12)
    assert (batch.image_coverage >= 0.5).all()
    assert torch.equal(batch.gradient_weight, batch.effective_win)
    assert_close(batch.contender_weight + batch.attraction_weight, 1 - batch.effective_win)
    # The share of each target is the win rate, unless a feature wins everything and both weights vanish.
    blended = batch.effective_win < 0.999
    rate = batch.win_rate[:, None]
    expected = rate * batch.local_target() + (1 - rate) * batch.global_target()
    assert_close(batch.som_targets[blended], expected[blended], rtol=1e-4, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 9), st.integers(1, 10))
def test_neighbours_are_the_most_similar_other_features(seed, features, k):
    weight = torch.randn(features, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = nearest_neighbours(weight, k)
    assert found.index.tolist() == reference.neighbours(weight.tolist(), k)
    expected = [[float(column in row) for column in range(features)] for row in found.index.tolist()]
    assert found.member.tolist() == expected


def test_neighbours_agree_with_the_plain_version_and_follow_the_sign_of_the_cosine():
    weight = torch.randn(64, 784, generator=torch.Generator().manual_seed(1))
    assert torch.equal(nearest_neighbours(weight, 8).index, plain_neighbours(weight, 8))
    opposed = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.1, 1.0]])
    assert nearest_neighbours(opposed, 1).index[:, 0].tolist() == [2, 2, 0]


def test_the_strongest_neighbour_of_a_lonely_feature_is_nothing():
    strength = torch.tensor([[3.0], [0.0]])
    assert torch.equal(strongest_neighbour(strength, torch.empty(1, 0, dtype=torch.long)), torch.zeros(2, 1))


@pytest.mark.parametrize(("images", "features"), [(1, 1), (1, 5), (6, 1), (6, 2), (6, 64)])
@pytest.mark.parametrize("a_of", [torch.zeros, torch.ones, lambda *shape: 1e4 * torch.arange(shape[1]).expand(shape)])
def test_identical_and_extreme_features_give_finite_numbers(images, features, a_of):
    neighbours = nearest_neighbours(torch.ones(features, 3), 8)
    batch = compete(torch.rand(images, 3), a_of(images, features).float(), neighbours, TEMPERATURE)
    for name in [*Competition.__slots__, "local_target", "global_target"]:
        assert tensor_of(batch, name).isfinite().all(), name
    assert all(value.isfinite().all() for value in metrics(batch).values())


def test_a_saturated_tie_goes_to_the_first():
    a = torch.tensor([[0.0, 50.0, 0.0, 90.0]])  # both margins make r exactly 1 in single precision
    neighbours = type(nearest_neighbours(torch.eye(4), 1))(torch.tensor([[2], [0], [0], [2]]), torch.eye(4).roll(1, 0))
    batch = compete(torch.rand(1, 3), a, neighbours, TEMPERATURE)
    assert batch.rank_score[0, 1] == batch.rank_score[0, 3] == 1
    assert torch.equal(batch.in_nbr[0], neighbours.member[1])


def test_metrics_are_sums_and_means_over_the_batch():
    x, a, neighbours = random_case(5, images=9, features=6, inputs=4, k=3)
    batch = compete(x, a, neighbours, TEMPERATURE)
    found = metrics(batch)
    assert_close(found["grad_magnitude"].sum(), batch.grad_mask.sum())
    assert_close(found["som_magnitude"], batch.som_weight.sum(0))
    assert_close(found["mean_activation"], a.abs().mean(0))
    assert_close(found["mean_crowding"], batch.image_coverage.mean())
    assert_close(found["crowding_std"], torch.tensor(batch.image_coverage.numpy().std(ddof=1)))
    assert_close(found["novelty_std"], torch.tensor(batch.feature_novelty.numpy().std(ddof=1)))
    assert list(found) == [
        *("win_rate", "grad_magnitude", "som_magnitude", "mean_activation", "feature_novelty", "effective_win"),
        *("gradient_weight", "contender_weight", "attraction_weight"),
        *("mean_novelty", "novelty_std", "mean_crowding", "crowding_std"),
    ]
