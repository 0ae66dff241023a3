"""Bars on a terminal that show how far training is."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from recipes.trainer import Trainer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

EVERY = 25  # steps: seldom, because reading the loss makes a GPU wait


class Bars:
    """A bar for the steps of the condition in training, and one for the conditions if there are several.

    Where they are not shown, nothing is: output that nobody watches stays free of them.
    """

    def __init__(self, *, shown: bool, conditions: int = 1) -> None:
        self._progress = _progress() if shown else None
        self._conditions: TaskID | None = None
        self._steps: TaskID | None = None
        if self._progress is not None and conditions > 1:
            self._conditions = self._progress.add_task("conditions", total=conditions, note="")

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def steps(self, name: str, trainer: Trainer, steps: int) -> Callable[[int], None] | None:
        """Begin the bar of one condition; return what is to be called after every step, if anything."""
        progress = self._progress
        if progress is None:
            return None
        self._steps = task = progress.add_task(name, total=steps, note="")

        def show(step: int) -> None:
            if step % EVERY == 0 or step == steps:
                loss = f"loss {trainer.losses[-1].item():.4f}"
                progress.update(task, completed=step, note=loss, refresh=step <= EVERY)

        return show

    def next_condition(self) -> None:
        """One more condition is done: its bar goes."""
        if self._progress is None or self._conditions is None:
            return
        if self._steps is not None:
            self._progress.remove_task(self._steps)
            self._steps = None
        self._progress.advance(self._conditions)


def _progress() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    text, note = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
    return Progress(text, BarColumn(), MofNCompleteColumn(), note, TimeRemainingColumn())
