"""The recipe's model under every rule, step by step, against the same experiment in numpy alone."""

import numpy as np
import pytest
import torch

from bcl import BCLConfig, attach_bcl
from recipes.model import LinearAutoencoder
from tests.bcl.by_hand import RULES, Experiment


@pytest.mark.parametrize("rule", [None, *RULES])
def test_thirty_steps_of_the_recipe_s_model_are_those_by_hand(rule, embedded_digits):
    """Long enough for neighbours to be found anew several times, in double precision."""
    torch.manual_seed(0)
    model = LinearAutoencoder(24).double()
    byhand = Experiment([p.detach().numpy() for p in model.parameters()], rule, som_lr=0.005, every=7)
    if rule:
        attach_bcl(model, "encoder.0", BCLConfig(rule, som_lr=0.005, recompute_every=7))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    chance = torch.Generator().manual_seed(1)
    for _ in range(30):
        index = torch.randint(len(embedded_digits.train), (40,), generator=chance)
        images = embedded_digits.train.images[index].double().unsqueeze(1) / 255
        loss = torch.nn.functional.l1_loss(model(images), images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert byhand.step(images.flatten(1).numpy()) == pytest.approx(loss.item(), rel=1e-9)
    for parameter, expected in zip(model.parameters(), byhand.weights, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=0, atol=1e-9)
