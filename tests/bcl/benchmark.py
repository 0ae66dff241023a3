"""How much faster than plain indexing is the rule? `python -m tests.bcl.benchmark`, on a quiet machine.

Whole training steps (model, rule, Adam) of the recipe's autoencoder, one thread. The three arms take turns in one
process, a block of steps each, because a rule's caches are warm in a real run; the first steps of a block do not
count. Printed are medians over the blocks, and medians of the ratios within one round. Both rules see the same
batches, and their tensors are compared at the first step.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from bcl import BCLConfig, attach_bcl
from recipes import data
from recipes.model import LinearAutoencoder
from tests.bcl.plain import PlainBCL

SOM_LR = 0.001
ROUNDS, BLOCK, WARM_UP = 15, 60, 10


def fresh_model() -> LinearAutoencoder:
    torch.manual_seed(0)
    return LinearAutoencoder()


def steps_of(model: LinearAutoencoder) -> Callable[[Tensor], None]:
    optimizer = torch.optim.Adam(model.parameters())

    def step(images: Tensor) -> None:
        loss = nn.functional.l1_loss(model(images), images)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def main() -> None:
    torch.set_num_threads(1)
    batches = [images for images, _ in data.batches(data.load().train, 128)]
    bare_model, plain_model, bcl_model = fresh_model(), fresh_model(), fresh_model()
    plain_rule = PlainBCL(cast(nn.Linear, plain_model.encoder[0]), SOM_LR)
    bcl_rule = attach_bcl(bcl_model, "encoder.0", BCLConfig(som_lr=SOM_LR))
    steps = {"no rule": steps_of(bare_model), "plain indexing": steps_of(plain_model), "bcl": steps_of(bcl_model)}

    for step in steps.values():
        step(batches[0])
    tensors = bcl_rule.step_tensors()
    worst = max((tensors[name] - value).abs().max().item() for name, value in plain_rule.last.items())
    print(f"greatest difference of any tensor from plain indexing at the first step: {worst:.1e}")

    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            taken = []
            for number in range(BLOCK):
                images = batches[number % len(batches)]
                began = time.perf_counter()
                step(images)
                taken.append(time.perf_counter() - began)
            times[name].append(statistics.median(taken[WARM_UP:]))

    for name, taken in times.items():
        print(f"{name:<16}{statistics.median(taken) * 1e3:8.3f} ms a step")
    rounds = list(zip(*times.values(), strict=True))
    whole = statistics.median(bcl / plain for _, plain, bcl in rounds)
    rule_alone = statistics.median((bcl - bare) / (plain - bare) for bare, plain, bcl in rounds)
    print(f"bcl : plain indexing, whole step  {whole:.3f}   (wanted: at most 0.75)")
    print(f"bcl : plain indexing, rule alone  {rule_alone:.3f}   (wanted: at most 0.6)")


if __name__ == "__main__":
    main()
