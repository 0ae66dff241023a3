"""What is recorded of a step: a few numbers a feature, and scalars over the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

from numpy.typing import NDArray
from torch import Tensor

from bcl.competition import Competition
from bcl.rules import Outcome, Term, value_of
from bcl.terms import sum_of_products

Array: TypeAlias = NDArray[Any]


def metrics(contest: Competition, outcome: Outcome, own: Iterable[str]) -> dict[str, Callable[[], Tensor]]:
    """Return what gives each metric by its name: [D] tensors, one value a feature, and scalars.

    Args:
        contest: the step's competition.
        outcome: what the rule made of it.
        own: the terms of the rule that are metrics.
    """
    found: dict[str, Callable[[], Tensor]] = {
        "win_rate": lambda: contest.win_rate,
        "grad_magnitude": lambda: _sums(outcome.grad_magnitude, outcome.grad_mask),
    }
    if (pull := outcome.som_weight) is not None:
        found["som_magnitude"] = lambda: _sums(outcome.som_magnitude, pull)
    found["mean_activation"] = lambda: contest.strength.mean(0)
    found |= {name: partial(value_of, outcome.terms[name]) for name in own}
    if (novelty := outcome.novelty) is not None:
        found |= {"mean_novelty": novelty.mean, "novelty_std": lambda: spread(novelty)}
    return found | {
        "mean_crowding": contest.image_coverage.mean,
        "crowding_std": lambda: spread(contest.image_coverage),
    }


def parts(contest: Competition, outcome: Outcome, own: Iterable[str]) -> list[Tensor]:
    """Return what those of the metrics are made of that are recorded: tensors [D], as many in each step of a rule.

    Args:
        contest: as in `metrics`.
        outcome: as in `metrics`.
        own: as in `metrics`.
    """
    found = [contest.win_rate, *(outcome.grad_magnitude or [outcome.grad_mask.sum(0)])]
    if (pull := outcome.som_weight) is not None:
        found += outcome.som_magnitude or [value_of(pull).sum(0)]
    return found + [value_of(outcome.terms[name]) for name in own]


def of_parts(given: Array, outcome: Outcome, own: Iterable[str]) -> dict[str, Array]:
    """Return the metrics [k, D] of k steps by their names.

    Args:
        given: [k, n, D], the `parts` of each step.
        outcome: what the rule made of any step.
        own: as in `metrics`.
    """
    counts = {"win_rate": 1, "grad_magnitude": len(outcome.grad_magnitude)}
    if outcome.som_weight is not None:
        counts["som_magnitude"] = len(outcome.som_magnitude)
    counts |= dict.fromkeys(own, 1)
    columns = iter(given.swapaxes(0, 1))
    found = {name: [next(columns) for _ in range(max(1, count))] for name, count in counts.items()}
    return {name: sum_of_products(some) if len(some) > 1 else some[0] for name, some in found.items()}


def _sums(factors: Sequence[Tensor], added: Term) -> Tensor:
    """Return [D]: the sum of the products of `factors`, or else the sum over the images of `added` [B, D]."""
    return sum_of_products(factors) if factors else value_of(added).sum(0)


def spread(values: Tensor) -> Tensor:
    """Return the sample standard deviation (ddof 1); 0 for a single value, which has no spread to estimate."""
    return values.std() if len(values) > 1 else values.new_zeros(())
