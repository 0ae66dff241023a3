"""The rule on a layer: hooks that compute it during forward, mask the gradient and pull the weight during backward.

    bcl = attach_bcl(model, "encoder.0", BCLConfig(som_lr=0.001))
    ...                                  # train as ever
    bcl.get_step_metrics()["win_rate"]   # [D]
    bcl.remove()

Nothing in a hook waits for the device: no value is read back, whatever is only for looking is computed when asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bcl.competition import Competition, Neighbours, compete, margin, nearest_neighbours, neighbours_of
from bcl.config import BCLConfig
from bcl.metrics import metrics, of_parts, parts
from bcl.rules import RULES, Outcome, Term, value_of


@dataclass(slots=True, eq=False)
class _Pass:
    """One forward pass with a gradient to come.

    Attributes:
        number: counts passes from 0.
        contest: the batch's competition.
        outcome: what the rule made of it.
        version: of the layer's input, to know whether it was overwritten since.
        spent: whether a gradient has arrived: a pass pulls the weight at most once.
        arriving: [B, D] the gradient that arrived last, not masked yet.
        som_delta: [D, F] what was added to the weight, once it was; computed for looking.
    """

    number: int
    contest: Competition
    outcome: Outcome
    version: int
    spent: bool = False
    arriving: Tensor | None = None
    som_delta: Term | None = None


class BCL:
    """Bidirectional Competitive Learning on one linear layer; made by `attach_bcl`."""

    def __init__(self, layer: nn.Linear, name: str, config: BCLConfig) -> None:
        self.layer = layer
        self.name = name
        self.config = config
        self.rule = RULES[config.rule]
        self._neighbours = self._nearest() if self.rule.ahead else None
        self._forwards = 0
        self._last: _Pass | None = None
        self._due: _Pass | None = None
        self._active = True
        self._handles = (
            layer.register_forward_hook(self._compute),
            # Only now is the weight free to change: whoever needs its old value for a gradient has used it.
            layer.weight.register_post_accumulate_grad_hook(self._pull),  # type: ignore[no-untyped-call]
        )

    def get_step_metrics(self, names: Collection[str] | None = None) -> dict[str, Tensor]:
        """Return the last step's metrics by name: [D] tensors and scalars; empty before the first step.

        Args:
            names: the only ones to compute, as far as the rule has them; all if not given.
        """
        if self._last is None:
            return {}
        found = metrics(self._last.contest, self._last.outcome, self.rule)
        return {name: metric() for name, metric in found.items() if names is None or name in names}

    def recorded_parts(self) -> list[Tensor]:
        """Return what those metrics of the last step are made of that tell how each feature fares: tensors [D].

        They are as many after each step; none before the first.
        """
        last = self._last
        return parts(last.contest, last.outcome, self.rule) if last is not None else []

    def recorded_metrics(self, given: Tensor) -> dict[str, Tensor]:
        """Return metrics of k steps by their names, [k, D] each, as `get_step_metrics` gave them.

        Args:
            given: [k, n, D], the `recorded_parts` of each.
        """
        assert self._last is not None, "there are no parts before the first step"
        return of_parts(given, self._last.outcome, self.rule)

    def step_tensor(self, name: str) -> Tensor:
        """Return one of the tensors that `step_tensors` gives.

        Raises:
            LookupError: there is none of this name, or not yet.
        """
        lookups = self._lookups()
        if name not in lookups:
            raise LookupError(f"no tensor {name!r} in this step: {', '.join(lookups) or 'no step was taken yet'}")
        return lookups[name]()

    def step_tensors(self, names: Collection[str] | None = None) -> dict[str, Tensor]:
        """Return the tensors of the last step by their names in the formulas; empty before the first step.

        `arriving`, the gradient at the layer's output, and `som_delta` are there once backward was there. What the rule
        keeps no tensor for is computed here: `margin`, `winner`, and parts of the target (`local_target` and
        `global_target` of m3-0.2). The latter need the layer's `inputs`: if those were overwritten in the meantime,
        they and the targets made from them are missing.

        Args:
            names: the only ones to compute, as far as the step has them; all if not given.
        """
        return {name: look_up() for name, look_up in self._lookups().items() if names is None or name in names}

    def tensor_names(self) -> dict[str, None]:
        """Return the names of the last step's tensors; nothing is computed."""
        return dict.fromkeys(self._lookups())

    @contextmanager
    def inert(self) -> Iterator[None]:
        """Let the rule sleep: inside, passes through the layer neither count nor change anything."""
        before, self._active = self._active, False
        try:
            yield
        finally:
            self._active = before

    def state(self) -> dict[str, Any]:
        """Return a copy of all that the rule carries from step to step: the counter and the neighbours [D, k]."""
        return {"forwards": self._forwards, "neighbours": self._neighbours and self._neighbours.index.clone()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, as `state()` gave it; the state stays its own."""
        index: Tensor | None = state["neighbours"]
        self._forwards = state["forwards"]
        self._neighbours = None if index is None else neighbours_of(index.clone(), self.layer.weight.detach())
        self._due = None

    def remove(self) -> None:
        """Take the rule off the layer; what it last computed can still be looked at."""
        self._active = False
        for handle in self._handles:
            handle.remove()

    def _lookups(self) -> dict[str, Callable[[], Tensor]]:
        if self._last is None:
            return {}
        contest, outcome = self._last.contest, self._last.outcome
        unchanged = contest.inputs._version == self._last.version  # noqa: SLF001 -- the only way to know
        terms = {name: partial(value_of, term) for name, term in outcome.terms.items()}
        pulls = outcome.pulls if unchanged else {}
        return {
            **_given(
                inputs=contest.inputs if unchanged else None,
                neighbours=contest.neighbours.index,
                strength=contest.strength,
            ),
            "margin": lambda: margin(contest.strength, contest.neighbours.index),
            **_given(
                rank_score=contest.rank_score,
                image_coverage=contest.image_coverage,
                win_rate=contest.win_rate,
            ),
            "winner": lambda: contest.rank_score.argmax(1),
            **_given(in_nbr=contest.in_nbr),
            **terms,
            **{name: partial(_target, terms[pull], contest.inputs) for name, pull in pulls.items()},
            **_given(
                arriving=self._last.arriving,
                grad_mask=outcome.grad_mask,
                som_weight=outcome.som_weight,
                som_targets=outcome.som_targets,
                som_delta=self._last.som_delta,
            ),
        }

    def _nearest(self) -> Neighbours:
        return nearest_neighbours(self.layer.weight.detach(), self.config.neighborhood_k)

    def _compute(self, _layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        """Forward hook: compute the rule for this batch and let its mask wait for the gradient."""
        if not (self._active and output.requires_grad):
            return
        if output.dim() != 2:
            raise ValueError(f"BCL needs a batch of vectors [B, F] at {self.name!r}, not {list(args[0].shape)}")
        if self._neighbours is None or (self._forwards + self.rule.ahead) % self.config.recompute_every == 0:
            self._neighbours = self._nearest()
        contest = compete(args[0].detach(), output.detach(), self._neighbours, self.config.temperature)
        outcome = self.rule.formulas(contest, self.layer.weight.detach(), self.config)
        version = contest.inputs._version  # noqa: SLF001 -- see _lookups
        self._last = this = _Pass(self._forwards, contest, outcome, version)
        self._forwards += 1
        output.register_hook(lambda gradient: self._mask(this, gradient))  # type: ignore[no-untyped-call]

    def _mask(self, this: _Pass, gradient: Tensor) -> Tensor | None:
        """Gradient hook of the output: mask it, and let the newest of the passes in this backward pull the weight."""
        if not self._active:
            return None
        if not this.spent and (self._due is None or self._due.number < this.number):
            self._due = this
        this.spent, this.arriving = True, gradient
        return gradient * this.outcome.grad_mask  # [B, D]

    def _pull(self, weight: Tensor) -> None:
        """Hook on the weight, when its gradient is complete: pull it towards the SOM targets, once."""
        due, self._due = self._due, None
        if due is None or not self._active:
            return
        outcome = due.outcome
        if outcome.som_targets is not None:
            # `data` is not watched by autograd: a graph that was kept may be walked again.
            data = weight.data
            way = outcome.som_targets - data  # [D, F]
            if outcome.som_rate is not None:
                way.mul_(outcome.som_rate[:, None])
            data.add_(way, alpha=self.config.som_lr)
            due.som_delta = partial(torch.mul, way, self.config.som_lr)
        self._last = due


def attach_bcl(model: nn.Module, layer: str, config: BCLConfig | None = None) -> BCL:
    """Attach the rule to one linear layer of a model.

    Args:
        model: any model.
        layer: the layer's name in the model, such as "encoder.0".
        config: the rule's constants; BCLConfig() if not given.

    Raises:
        ValueError: there is no such layer, it is not linear, or its weight is not trained.
    """
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    if layer not in linear:
        raise ValueError(f"no linear layer {layer!r} in the model: linear layers are {', '.join(linear) or 'none'}")
    module = linear[layer]
    if not module.weight.requires_grad:
        raise ValueError(f"the weight of {layer!r} is not trained (requires_grad is False)")
    return BCL(module, layer, config or BCLConfig())


def _given(**terms: Term | None) -> dict[str, Callable[[], Tensor]]:
    """Return what gives each of the tensors that are there."""
    return {name: partial(value_of, term) for name, term in terms.items() if term is not None}


def _target(pull: Callable[[], Tensor], inputs: Tensor) -> Tensor:
    """Return [D, F]: where a pull [B, D] leads."""
    return pull().T @ inputs
