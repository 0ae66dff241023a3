"""What is recorded of a step: a few numbers a feature, and scalars over the batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from bcl.competition import Competition
from bcl.rules import Outcome, Rule, value_of


def metrics(contest: Competition, outcome: Outcome, rule: Rule) -> dict[str, Callable[[], Tensor]]:
    """Return what gives each metric by its name: [D] tensors, one value a feature, and scalars.

    Args:
        contest: the step's competition.
        outcome: what the rule made of it.
        rule: the rule.
    """
    names = (*rule.shared, "mean_activation", *rule.metrics)
    found: dict[str, Callable[[], Tensor]] = {name: partial(_metric, name, contest, outcome, rule) for name in names}
    if (novelty := outcome.novelty) is not None:
        found |= {"mean_novelty": novelty.mean, "novelty_std": lambda: spread(novelty)}
    return found | {
        "mean_crowding": contest.image_coverage.mean,
        "crowding_std": lambda: spread(contest.image_coverage),
    }


def parts(contest: Competition, outcome: Outcome, rule: Rule) -> list[Tensor]:
    """Return what the metrics are made of that tell how each feature fares: tensors [D], as many in each step.

    Arguments as in `metrics`.
    """
    if rule.of_parts is not None:
        return list(outcome.parts.values())
    return [_metric(name, contest, outcome, rule) for name in rule.columns]


def of_parts(given: Tensor, outcome: Outcome, rule: Rule) -> dict[str, Tensor]:
    """Return those metrics of k steps by their names, [k, D] each.

    Args:
        given: [k, n, D], the `parts` of each step.
        outcome: what the rule made of any step.
        rule: the rule.
    """
    columns = given.unbind(1)
    if rule.of_parts is None:
        return dict(zip(rule.columns, columns, strict=True))
    named = dict(zip(outcome.parts, columns, strict=True))
    return {"win_rate": named["win_rate"], **rule.of_parts(named)}


def _metric(name: str, contest: Competition, outcome: Outcome, rule: Rule) -> Tensor:
    """Return [D]: one of the rule's columns, or the mean activation."""
    if name == "win_rate":
        return contest.win_rate
    if name == "mean_activation":
        return contest.strength.mean(0)
    if name in outcome.terms:
        return value_of(outcome.terms[name])
    if rule.of_parts is not None:
        return rule.of_parts(outcome.parts)[name]
    added = outcome.grad_mask if name == "grad_magnitude" else outcome.som_weight
    assert added is not None, "a rule that does not pull has no such column"
    return value_of(added).sum(0)


def spread(values: Tensor) -> Tensor:
    """Return the sample standard deviation (ddof 1); 0 for a single value, which has no spread to estimate."""
    return values.std() if len(values) > 1 else values.new_zeros(())
