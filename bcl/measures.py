"""Measures of a trained model, to compare models by: pure functions on tensors, scalars out, on the tensors' device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def l1(reconstruction: Tensor, images: Tensor) -> Tensor:
    """Return the mean absolute error of reconstructions, clamped to the range 0 to 1 of images of the same shape."""
    return (reconstruction.detach().clamp(0, 1) - images).abs().mean()


def psnr(reconstruction: Tensor, images: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in decibels: 10 log10(1 / MSE), over all pixels of all images.

    Reconstructions are clamped to the range 0 to 1 of the images, of the same shape; a perfect one has infinity.
    """
    return -10 * (reconstruction.detach().clamp(0, 1) - images).square().mean().log10()


def weight_cosine_similarity(weight: Tensor) -> Tensor:
    """Return the mean signed cosine over all pairs of different rows of `weight` [D, F]; 0 for one row."""
    weight = weight.detach()
    # In float32 the squares of entries below 1e-19 or above 1e19 are lost; a power of two changes no other digit.
    exponent = weight.abs().amax(1, keepdim=True).frexp().exponent.clamp(-126, 126)  # [D, 1]
    unit = functional.normalize(weight.ldexp(-exponent), dim=1)  # [D, F]
    features = len(unit)
    if features < 2:
        return unit.new_zeros(())
    cosine = unit @ unit.T  # [D, D]
    return cosine.triu(1).sum() / (features * (features - 1) / 2)


def activation_sparsity(output: Tensor) -> Tensor:
    """Return the share of features whose strength exceeds the mean of their image, over all images.

    Args:
        output: a [B, D], the layer's output before its activation function; a feature's strength is |a|.
    """
    strength = output.detach().abs()  # [B, D]
    return (strength > strength.mean(1, keepdim=True)).to(strength.dtype).mean()


def effective_rank(weight: Tensor) -> Tensor:
    """Return exp(entropy) of the singular values of `weight` [D, F], as shares of their sum: from 1 to min(D, F).

    0 for a weight of zeros; not a number for a weight with values that are not finite. From: Roy and Vetterli,
    "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.
    """
    weight = weight.detach()
    if not weight.isfinite().all():
        return weight.new_full((), torch.nan)
    values: Tensor = torch.linalg.svdvals(weight)  # [min(D, F)]
    total = values.sum()
    if total == 0:
        return total
    entropies: Tensor = torch.special.entr(values / total)  # [min(D, F)]
    return entropies.sum().exp()
