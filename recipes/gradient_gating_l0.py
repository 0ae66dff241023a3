"""Do competing features become different features? An autoencoder of digits, with the BCL rule or without.

python -m recipes.gradient_gating_l0 --condition bcl-slow --steps 500      train
tdb -m recipes.gradient_gating_l0 --condition bcl-slow --steps 500         train, and look inside
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

import tdb
from bcl import BCL, BCLConfig, attach_bcl
from bcl.measures import weight_cosine_similarity
from recipes import data
from recipes.model import LinearAutoencoder
from recipes.trainer import Trainer
from tdb.errors import UsageError

if TYPE_CHECKING:
    from tdb import DebugController

Number = TypeVar("Number", int, float)

RECIPE = "gradient_gating_l0"
LAYER = "encoder.0"
CONDITIONS: dict[str, BCLConfig | None] = {
    "control": None,
    "bcl-micro": BCLConfig(som_lr=0.0001),
    "bcl-tiny": BCLConfig(som_lr=0.0003),
    "bcl-slow": BCLConfig(som_lr=0.001),
    "bcl-med": BCLConfig(som_lr=0.005),
}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        prog=RECIPE,
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--condition", choices=CONDITIONS, default="bcl-slow", help="the learning rule")
    parser.add_argument("--steps", type=at_least(1, int), default=2000, help="optimizer updates")
    parser.add_argument(
        "--seed", type=at_least(0, int), default=0, help="of the initial weights and the order of the images"
    )
    parser.add_argument("--batch-size", type=at_least(1, int), default=128, help="images a step")
    parser.add_argument("--lr", type=at_least(0, float), default=1e-3, help="Adam's learning rate")
    parser.add_argument("--hidden", type=at_least(1, int), default=64, help="features")
    parser.add_argument("--device", default="cpu", help="where to train: cpu, cuda, mps")
    parser.add_argument("--threads", type=at_least(1, int), default=1, help="threads that torch computes with")
    parser.add_argument("--workers", type=at_least(0, int), default=0, help="processes that load data")
    parser.add_argument("--data", type=Path, metavar="ROOT", help="a folder with MNIST in torchvision's layout")
    parser.add_argument("--download", action="store_true", help="let torchvision download MNIST first")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the final weights here (safetensors)")
    return parser.parse_args(arguments)


def at_least(least: float, number_type: type[Number]) -> Callable[[str], Number]:
    """Return what reads a finite number of at least `least` from the command line."""

    def number(text: str) -> Number:
        value = number_type(text)
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not a number of at least {least}")
        return value

    return number


def run(options: argparse.Namespace) -> None:
    """Train one condition.

    Raises:
        UsageError: the data, the device or the file to save to cannot be used.
    """
    if options.save is not None and not options.save.resolve().parent.is_dir():
        raise UsageError(f"cannot save to {options.save}: there is no folder {options.save.parent}")
    # One by default: so small a model gains little from more, and crawls where they must wait for a busy processor.
    torch.set_num_threads(options.threads)
    digits = data.load(options.data, options.download)
    print(digits, flush=True)

    torch.manual_seed(options.seed)
    model = LinearAutoencoder(options.hidden)
    try:
        model.to(options.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"cannot train on {options.device!r}: {reason}", "Try --device cpu") from None
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    config = CONDITIONS[options.condition]
    bcl = attach_bcl(model, LAYER, config) if config else None
    loader = data.batches(digits.train, options.batch_size, options.workers)

    began = time.perf_counter()
    with closing(Trainer(model, optimizer, loader)) as trainer:
        controller = tdb.active_controller()
        if controller is not None:
            train_under_tdb(trainer, options, bcl, controller)
        elif sys.stdout.isatty():
            train_with_progress_bar(trainer, options.steps)
        else:
            trainer.train(options.steps)
    print(summary(options.condition, trainer, model, time.perf_counter() - began), flush=True)
    if options.save is not None:
        save(model, options.save)
        print(f"weights saved to {options.save}", flush=True)


def train_under_tdb(
    trainer: Trainer, options: argparse.Namespace, bcl: BCL | None, controller: DebugController
) -> None:
    """Train while tdb may stop at every step and look; what it looks at is computed only if it does."""
    controller.describe(recipe=RECIPE, condition=options.condition)
    controller.focus_on(LAYER)
    controller.image_shape = (28, 28)
    if bcl is None:
        trainer.train(options.steps, debug_controller=controller)
        return

    from bcl.panel import bcl_panel

    controller.add_panel(bcl_panel(bcl))

    def push(_step: int) -> None:
        controller.capture_step_data("bcl_metrics", bcl.get_step_metrics)
        controller.capture_step_data("bcl_tensors", bcl.step_tensors)

    trainer.train(options.steps, training_metrics_fn=push, debug_controller=controller)


def train_with_progress_bar(trainer: Trainer, steps: int) -> None:
    """Train with a bar on the terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.4f}"), TimeRemainingColumn()
    with Progress("steps", *columns) as progress:
        task = progress.add_task("steps", total=steps, loss=float("nan"))

        def show(step: int) -> None:
            # Seldom, because reading the loss makes a GPU wait.
            if step % 25 == 0 or step == steps:
                progress.update(task, completed=step, loss=trainer.losses[-1].item())

        trainer.train(steps, on_step=show)


def summary(condition: str, trainer: Trainer, model: LinearAutoencoder, seconds: float) -> str:
    """Return the line that a run ends with."""
    loss = trainer.losses[-1].item()
    cosine = weight_cosine_similarity(model.get_parameter(f"{LAYER}.weight")).item()
    return (
        f"{condition}: {trainer.step:,} steps, loss {loss:.4f}, weight cosine {cosine:.3f}, "
        f"{seconds:.1f} s, {trainer.step / seconds:,.0f} steps/s"
    )


def save(model: LinearAutoencoder, path: Path) -> None:
    """Write the weights as safetensors; the file is whole or not there at all."""
    from safetensors.torch import save as to_bytes

    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(to_bytes(tensors))
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(f"cannot save to {path}: {error.strerror}") from None


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, or say in one line what is wrong and exit with status 2."""
    try:
        run(parse(arguments))
    except UsageError as error:
        print(f"{RECIPE}: {error}", file=sys.stderr)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
