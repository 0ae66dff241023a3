"""The rules' constants."""

from __future__ import annotations

from dataclasses import dataclass

from bcl.rules import RULES


@dataclass(frozen=True)
class BCLConfig:
    """Which rule, and its constants.

    Attributes:
        rule: one of `bcl.rules.RULES`; "m3-0.2" is the current one.
        neighborhood_k: how many of the most similar features a feature competes with; at most all others.
        temperature: how sharply the margin over the strongest neighbour decides.
        som_lr: the share of the way to its SOM target that a weight goes in one backward pass; 0 leaves only the
            gradient mask.
        novelty_clamp: the greatest novelty of an image, where 1 is the mean (v1, m3-0 and m3-0.1).
        rescue_k: how many images rescue a feature that wins little (decoupled).
        recompute_every: neighbours are found anew at forwards 0, n, 2n, ... (nbr-k8: one forward before each).

    Raises:
        ValueError: a constant is out of its range.
    """

    rule: str = "m3-0.2"
    neighborhood_k: int = 8
    temperature: float = 5.0
    som_lr: float = 0.005
    novelty_clamp: float = 3.0
    rescue_k: int = 5
    recompute_every: int = 50

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"no rule {self.rule!r}: rules are {', '.join(RULES)}")
        for name in ("neighborhood_k", "rescue_k", "recompute_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("temperature", "novelty_clamp"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0, not {getattr(self, name)}")
        if not 0 <= self.som_lr <= 1:
            raise ValueError(f"som_lr must lie within 0 and 1, not {self.som_lr}")
