"""What if the rule were another? Small experiments with tdb that tell apart why the features become alike.

python -m recipes.what_if                      train 1,000 steps of each, and print a table
python -m recipes.what_if --data ROOT          on the full MNIST

Each run is stopped before its first step, one thing in the rule is changed at the prompt, and the weights and targets
are compared at a few steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

import tdb
from bcl import BCL, BCLConfig
from bcl.competition import Competition
from bcl.rules import Outcome, value_of

STEPS = (100, 300, 1000)
Change = Callable[[BCL], None]


def as_it_is(_rule: BCL) -> None:
    """Change nothing."""


def mask_alone(rule: BCL) -> None:
    """Leave the SOM out: nothing pulls."""
    rule.config = replace(rule.config, som_lr=0.0)


def som_alone(rule: BCL) -> None:
    """Let every gradient pass, and keep the pull."""
    _outcome(rule, lambda _contest, outcome: replace(outcome, grad_mask=torch.ones_like(outcome.grad_mask)))


def local_target_alone(rule: BCL) -> None:
    """Leave the global pull out: features are pulled only to what their neighbourhood won."""

    def local(contest: Competition, outcome: Outcome) -> Outcome:
        return replace(outcome, som_targets=value_of(outcome.terms["local_pull"]).T @ contest.inputs)

    _outcome(rule, local)


def batch_mean(rule: BCL) -> None:
    """Pull every feature to the mean of the batch, whatever it wins."""

    def mean(contest: Competition, outcome: Outcome) -> Outcome:
        assert outcome.som_targets is not None
        return replace(outcome, som_targets=contest.inputs.mean(0).expand_as(outcome.som_targets))

    _outcome(rule, mean)


EXPERIMENTS: Mapping[str, tuple[str, Change]] = {
    "control: no rule": ("control", as_it_is),
    "bcl-slow as it is": ("bcl-slow", as_it_is),
    "mask alone, no SOM": ("bcl-slow", mask_alone),
    "SOM alone, no mask": ("bcl-slow", som_alone),
    "local target alone": ("bcl-slow", local_target_alone),
    "all pulled to the batch mean": ("bcl-slow", batch_mean),
}


def _outcome(rule: BCL, change: Callable[[Competition, Outcome], Outcome]) -> None:
    """Let the rule's formulas give a changed outcome."""
    formulas = rule.rule.formulas

    def changed(contest: Competition, weight: Tensor, config: BCLConfig) -> Outcome:
        return change(contest, formulas(contest, weight, config))

    rule.rule = replace(rule.rule, formulas=changed)


def run(condition: str, change: Change, steps: Sequence[int], options: Iterable[str] = ()) -> list[float]:
    """Train a condition with one thing changed; return the weights' mean cosine after each of `steps`."""
    arguments = ["--condition", condition, "--steps", str(max(steps) + 1), *options]
    found = []
    with tdb.run("recipes.gradient_gating_l0", arguments, module=True) as session:
        session.do("set record.every 1000")
        session.start()
        if condition != "control":
            session.do("up")
            change(session.value("bcl"))
        for step in steps:
            session.until(step)
            found.append(session.cosmat("weights")["similarity"]["weights"]["mean"])
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all experiments and print their table."""
    parser = argparse.ArgumentParser(prog="what_if", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="when the weights are compared")
    options, rest = parser.parse_known_args(arguments)
    rows: dict[str, list[float]] = {}
    for name, (condition, change) in EXPERIMENTS.items():
        rows[name] = run(condition, change, options.steps, rest)
    print(table(rows, options.steps))


def table(rows: Mapping[str, Sequence[float]], steps: Sequence[int]) -> str:
    """Return the rows as Markdown: the weights' mean cosine, a column a step."""
    head = ["weights' mean cosine at step", *(f"{step:,}" for step in steps)]
    width = max(map(len, (head[0], *rows)))
    lines = [
        head,
        ["-" * width, *("-----:" for _ in steps)],
        *([name, *(f"{x:.3f}" for x in r)] for name, r in rows.items()),
    ]
    return "\n".join(f"| {line[0]:{width}} | {' | '.join(f'{cell:>6}' for cell in line[1:])} |" for line in lines)


if __name__ == "__main__":
    main()
