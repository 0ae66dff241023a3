"""Do competing features become different features? An autoencoder of digits, with the BCL rule or without.

python -m recipes.gradient_gating_l0 --condition bcl-slow --steps 500              train
python -m recipes.gradient_gating_l0 --condition all --steps 5000 --out results    train all conditions, and compare
tdb -m recipes.gradient_gating_l0 --condition bcl-slow --steps 500                 train, and look inside
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch

import tdb
from bcl import BCLConfig
from bcl.health import BCLHealthTracker, health_report
from recipes import data
from recipes.comparison import NAME, Comparison, must_be_writable, write_whole
from recipes.conditions import CONDITIONS, ITERATIONS, check_choice, title
from recipes.evaluation import row_of, summary
from recipes.progress import Bars
from recipes.training import LAYER, RECIPE, InterruptionError, Trained, train, train_under_tdb
from tdb.errors import TdbError, UsageError

__all__ = ["CONDITIONS", "LAYER", "RECIPE", "main", "train_under_tdb"]

Number = TypeVar("Number", int, float)
LARGEST_SEED, MOST_THREADS, MOST_WORKERS = 2**63 - 1, 1024, 1024
MOST_STEPS = 10**9  # a week at 600 microseconds a step
MOST_FEATURES = 2**16  # the cosines of all pairs, of which neighbours are found, are 16 GiB then


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        prog=RECIPE,
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--condition", choices=[*CONDITIONS, "all"], default="bcl-slow", help="which rule, and how strongly it pulls"
    )
    parser.add_argument(
        "--rule", choices=ITERATIONS, help="the iteration of the rule in bcl-* conditions: m3-0.2 if none"
    )
    parser.add_argument("--steps", type=at_least(1, int, MOST_STEPS), default=2000, help="optimizer updates")
    parser.add_argument(
        "--seed",
        type=at_least(0, int, LARGEST_SEED),
        default=0,
        help="of the initial weights and the order of the images",
    )
    parser.add_argument("--batch-size", type=at_least(1, int), default=128, help="images a step")
    parser.add_argument("--lr", type=at_least(0, float), default=1e-3, help="Adam's learning rate")
    parser.add_argument("--hidden", type=at_least(1, int, MOST_FEATURES), default=64, help="features")
    parser.add_argument("--device", default="cpu", help="where to train: cpu, cuda, mps")
    parser.add_argument(
        "--threads", type=at_least(1, int, MOST_THREADS), default=1, help="threads that torch computes with"
    )
    parser.add_argument("--workers", type=at_least(0, int, MOST_WORKERS), default=0, help="processes that load data")
    parser.add_argument("--data", type=path, metavar="ROOT", help="a folder with MNIST in torchvision's layout")
    parser.add_argument("--download", action="store_true", help="let torchvision download MNIST first")
    parser.add_argument("--save", type=path, metavar="FILE", help="write the final weights here (safetensors)")
    parser.add_argument(
        "--out",
        type=path,
        metavar="FOLDER",
        help=f"with --condition all: write {NAME}.json, .csv and .md, or go on there",
    )
    options = parser.parse_args(arguments)
    options.arguments = sys.argv[1:] if arguments is None else list(arguments)
    return options


def path(text: str) -> Path:
    """Return a path; an empty one, as an unset variable of the shell leaves it, is not the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path; the current folder is .")
    return Path(text)


def at_least(least: float, number_type: type[Number], most: float = math.inf) -> Callable[[str], Number]:
    """Return what reads a finite number of at least `least` and at most `most` from the command line."""

    def number(text: str) -> Number:
        value = number_type(text)
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not a number of at least {least}")
        if value > most:
            raise argparse.ArgumentTypeError(f"{text} is more than {most}")
        return value

    return number


def run(options: argparse.Namespace) -> None:
    """Train one condition, or all.

    Raises:
        UsageError: the data, the device or what to write to cannot be used, or options contradict each other.
        InterruptionError: Ctrl-C.
    """
    check(options)
    # One by default: so small a model gains little from more, and crawls where they must wait for a busy processor.
    torch.set_num_threads(options.threads)
    # Pixels that are always black soon have denormal outputs; with those a step takes three times as long.
    torch.set_flush_denormal(True)
    digits = data.load(options.data, options.download)
    print(digits, flush=True)
    if options.condition == "all":
        compare(options, digits)
    else:
        train_one(options, digits)


def check(options: argparse.Namespace) -> None:
    """Refuse options that contradict each other, or that training would find unusable at its end.

    Raises:
        UsageError: see there.
    """
    every = options.condition == "all"
    if not every:
        check_choice(options.condition, options.rule)
    if options.out is not None and not every:
        raise UsageError("--out is for comparisons", "Use it with --condition all")
    if options.save is not None and every:
        raise UsageError("--save is for the weights of one condition", "With --condition all, use --out")
    if options.save is not None:
        must_be_writable(options.save)
    if options.out is not None:
        try:
            options.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write to {options.out}: {error.strerror}") from None
        must_be_writable(options.out / f"{NAME}.json")


def train_one(options: argparse.Namespace, digits: data.Data) -> None:
    """Train one condition, say how it ended, and save its weights if asked."""
    with Bars(shown=watched()) as bars:
        trained = train(options, options.condition, digits, BCLHealthTracker(), bars)
    print(summary(trained), flush=True)
    if options.save is not None:
        save(trained, options.save)
        print(f"weights saved to {options.save}", flush=True)


def compare(options: argparse.Namespace, digits: data.Data) -> None:
    """Train every condition that is not finished yet, one after another, and print the table."""
    comparison = Comparison.begun_in(options.out, settings_of(options, digits))
    try:
        with Bars(shown=watched(), conditions=len(CONDITIONS)) as bars:
            train_the_rest(comparison, options, digits, bars)
    except (InterruptionError, KeyboardInterrupt) as interrupted:
        go_on = f"Go on with: python -m recipes.{RECIPE} {shlex.join(options.arguments)}"
        hint = go_on if options.out else "With --out FOLDER it could go on"
        raise InterruptionError(str(interrupted) or "interrupted", hint) from None
    comparison.write(options.out)
    print(f"\n{comparison.table()}", flush=True)
    if options.out is not None:
        print(f"\nwritten to {options.out}: {NAME}.json, {NAME}.csv, {NAME}.md", flush=True)


def train_the_rest(comparison: Comparison, options: argparse.Namespace, digits: data.Data, bars: Bars) -> None:
    """Train the conditions that `comparison` has not, and keep each when it is done; one tracker follows them all."""
    tracker = BCLHealthTracker()
    for condition in CONDITIONS:
        name = title(condition, options.rule)
        done = comparison.rows.get(name)
        if done is None:
            trained = train(options, condition, digits, tracker, bars)
            health = health_report(tracker)["runs"][-1] if trained.config else None
            comparison.add(row_of(trained, digits.evaluation, health))
            comparison.write(options.out)
            print(summary(trained), flush=True)
        else:
            if done.health is not None:
                tracker.adopt_run(done.health)
            print(f"{name}: done before, in {options.out}", flush=True)
        bars.next_condition()


def settings_of(options: argparse.Namespace, digits: data.Data) -> dict[str, Any]:
    """Return all that decides a comparison's numbers."""
    return {
        "recipe": RECIPE,
        "steps": options.steps,
        "seed": options.seed,
        "batch_size": options.batch_size,
        "lr": options.lr,
        "hidden": options.hidden,
        "rule": options.rule or BCLConfig().rule,
        "device": options.device,
        "digits": f"{len(digits.train):,} to train on, {len(digits.evaluation):,} to evaluate on",
    }


def watched() -> bool:
    """Return whether somebody may be watching bars: on a terminal that tdb does not use."""
    return sys.stdout.isatty() and tdb.active_controller() is None


def save(trained: Trained, path: Path) -> None:
    """Write the weights as safetensors; the file is whole or not there at all."""
    from safetensors.torch import save as to_bytes

    tensors = {name: tensor.contiguous() for name, tensor in trained.model.state_dict().items()}
    write_whole(path, to_bytes(tensors))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, or say in one line what is wrong and exit with its status: 2 for a wrong option, 130 after Ctrl-C."""
    try:
        run(parse(arguments))
    except KeyboardInterrupt:
        leave(InterruptionError("interrupted"))
    except TdbError as error:
        leave(error)


def leave(error: TdbError) -> NoReturn:
    """Say what happened and exit."""
    print(f"{RECIPE}: {error}", file=sys.stderr)
    sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
