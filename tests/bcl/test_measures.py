"""Each measure against its definition in numpy, in double precision."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bcl.measures import activation_sparsity, effective_rank, l1, psnr, weight_cosine_similarity

shapes = {"rows": st.integers(1, 9), "columns": st.integers(1, 9), "seed": st.integers(0, 10_000)}


def random(rows, columns, seed, scale=1.0):
    return scale * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None)
@given(**shapes)
def test_errors_of_clamped_reconstructions(rows, columns, seed):
    images, reconstruction = random(rows, columns, seed).sigmoid(), random(rows, columns, seed + 1, scale=2)
    difference = np.clip(reconstruction.double().numpy(), 0, 1) - images.double().numpy()
    assert l1(reconstruction, images).item() == pytest.approx(np.abs(difference).mean(), rel=1e-5)
    assert psnr(reconstruction, images).item() == pytest.approx(10 * math.log10(1 / (difference**2).mean()), rel=1e-5)


def test_a_perfect_reconstruction_has_no_error_and_infinite_psnr():
    images = torch.rand(3, 1, 28, 28)
    assert l1(images, images) == 0
    assert psnr(images, images) == math.inf


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_cosine_is_that_of_directions_however_long_the_rows_are(scale):
    weight = random(5, 7, seed=3)
    expected = weight_cosine_similarity(weight).item()
    assert weight_cosine_similarity(weight * scale).item() == pytest.approx(expected, rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(**shapes)
def test_weight_cosine_similarity_is_the_mean_over_all_pairs(rows, columns, seed):
    weight = random(rows, columns, seed)
    found = weight_cosine_similarity(weight).item()
    values = weight.double().numpy()
    cosines = [
        values[i] @ values[j] / (np.linalg.norm(values[i]) * np.linalg.norm(values[j]))
        for i in range(rows)
        for j in range(i + 1, rows)
    ]
    assert found == pytest.approx(np.mean(cosines) if cosines else 0.0, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(**shapes)
def test_activation_sparsity_counts_the_features_above_their_image_s_mean(rows, columns, seed):
    output = random(rows, columns, seed)
    above = 0
    for image in np.abs(output.double().numpy()):
        above += sum(strength > image.mean() + 1e-7 for strength in image)
    assert activation_sparsity(output).item() == pytest.approx(above / (rows * columns), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(**shapes, scale=st.sampled_from([1e-20, 1.0, 1e20]))
def test_effective_rank_is_the_exponential_of_the_singular_values_entropy(rows, columns, seed, scale):
    weight = random(rows, columns, seed, scale)
    values = np.linalg.svd(weight.double().numpy(), compute_uv=False)
    parts = values / values.sum()
    expected = math.exp(-sum(part * math.log(part) for part in parts if part > 0))
    assert effective_rank(weight).item() == pytest.approx(expected, rel=1e-4)


def test_effective_rank_of_simple_matrices():
    assert effective_rank(torch.eye(7)[:5]).item() == pytest.approx(5)
    assert effective_rank(torch.ones(4, 6)).item() == pytest.approx(1, abs=1e-5)
    assert effective_rank(torch.zeros(4, 6)) == 0
    assert effective_rank(torch.tensor([[1.0, math.nan]])).isnan()


def test_measures_give_no_gradient_and_change_nothing():
    weight = torch.randn(4, 6, requires_grad=True)
    images, before = torch.rand(4, 6), weight.detach().clone()
    found = [weight_cosine_similarity(weight), effective_rank(weight), activation_sparsity(weight)]
    found += [l1(weight, images), psnr(weight, images)]
    assert not any(value.requires_grad or value.dim() for value in found)
    assert torch.equal(weight, before)
