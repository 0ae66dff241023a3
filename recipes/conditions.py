"""The experiment's conditions: which learning rule, and how strongly it pulls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bcl import BCLConfig
from bcl.rules import RULES
from tdb.errors import UsageError

CONDITIONS: Mapping[str, BCLConfig | None] = {
    "control": None,
    "bcl-micro": BCLConfig(som_lr=0.0001),
    "bcl-tiny": BCLConfig(som_lr=0.0003),
    "bcl-slow": BCLConfig(som_lr=0.001),
    "bcl-med": BCLConfig(som_lr=0.005),
    "bcl-fast": BCLConfig(som_lr=0.01),
    "nbr-k8": BCLConfig("nbr-k8"),
}
ITERATIONS = tuple(name for name, rule in RULES.items() if rule.pulls)


def config_of(condition: str, rule: str | None = None) -> BCLConfig | None:
    """Return a condition's configuration; None for the control, which has no rule.

    Args:
        condition: one of `CONDITIONS`.
        rule: one of `ITERATIONS`, for conditions whose rule pulls; the condition's own if not given.
    """
    config = CONDITIONS[condition]
    return replace(config, rule=rule) if config and rule and has_choice(condition) else config


def has_choice(condition: str) -> bool:
    """Return whether a condition can be tried with every iteration of the rule."""
    config = CONDITIONS[condition]
    return config is not None and config.rule in ITERATIONS


def title(condition: str, rule: str | None = None) -> str:
    """Return what a condition is called: "bcl-slow", or "bcl-slow v1" with a rule that is not its own."""
    config = config_of(condition, rule)
    return condition if config is None or config == CONDITIONS[condition] else f"{condition} {config.rule}"


def check_choice(condition: str, rule: str | None) -> None:
    """Refuse a rule for a condition that has no choice.

    Raises:
        UsageError: there is nothing to choose.
    """
    if rule is not None and not has_choice(condition):
        choices = ", ".join(filter(has_choice, CONDITIONS))
        raise UsageError(f"{condition} has no rule to choose", f"--rule is for {choices} and all")
