"""Neighbours and the contest for images: what every rule starts from."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bcl.competition import Neighbours, compete, nearest_neighbours, strongest_neighbour
from tests.bcl import reference
from tests.bcl.plain import plain_neighbours


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


def test_a_saturated_tie_goes_to_the_first():
    a = torch.tensor([[0.0, 50.0, 0.0, 90.0]])  # both margins make r exactly 1 in single precision
    neighbours = Neighbours(torch.tensor([[2], [0], [0], [2]]), torch.eye(4).roll(1, 0))
    contest = compete(torch.rand(1, 3), a, neighbours, temperature=5.0)
    assert contest.rank_score[0, 1] == contest.rank_score[0, 3] == 1
    assert torch.equal(contest.in_nbr[0], neighbours.member[1])
