"""What is recorded of a step: a few numbers a feature, and scalars over the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from torch import Tensor

from bcl.competition import Competition
from bcl.rules import Outcome, Term, value_of


def metrics(contest: Competition, outcome: Outcome, own: Iterable[str]) -> dict[str, Callable[[], Tensor]]:
    """Return what gives each metric by its name: [D] tensors, one value a feature, and scalars.

    Args:
        contest: the step's competition.
        outcome: what the rule made of it.
        own: the terms of the rule that are metrics.
    """
    found: dict[str, Callable[[], Tensor]] = {
        "win_rate": lambda: contest.win_rate,
        "grad_magnitude": lambda: value_of(_sums(outcome.grad_magnitude, outcome.grad_mask)),
    }
    if (pull := outcome.som_weight) is not None:
        found["som_magnitude"] = lambda: value_of(_sums(outcome.som_magnitude, pull))
    found["mean_activation"] = lambda: contest.strength.mean(0)
    found |= {name: partial(value_of, outcome.terms[name]) for name in own}
    if (novelty := outcome.novelty) is not None:
        found |= {"mean_novelty": novelty.mean, "novelty_std": lambda: spread(novelty)}
    return found | {
        "mean_crowding": contest.image_coverage.mean,
        "crowding_std": lambda: spread(contest.image_coverage),
    }


def for_later(contest: Competition, outcome: Outcome, own: Iterable[str]) -> dict[str, Term]:
    """Return those of the metrics that are recorded, [D] each, some still to be computed: none holds a whole batch.

    Args:
        contest: as in `metrics`.
        outcome: as in `metrics`.
        own: as in `metrics`.
    """
    mask, pull = outcome.grad_mask, outcome.som_weight
    found: dict[str, Term] = {"win_rate": contest.win_rate, "grad_magnitude": _sums(outcome.grad_magnitude, mask)}
    if pull is not None:
        found["som_magnitude"] = _sums(outcome.som_magnitude, pull)
    return found | {name: outcome.terms[name] for name in own}


def _sums(known: Term | None, added: Term) -> Term:
    """Return [D]: what is known, or else the sum over the images of `added` [B, D]."""
    return value_of(added).sum(0) if known is None else known


def spread(values: Tensor) -> Tensor:
    """Return the sample standard deviation (ddof 1); 0 for a single value, which has no spread to estimate."""
    return values.std() if len(values) > 1 else values.new_zeros(())
