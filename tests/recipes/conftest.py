"""What the tests of the recipe share."""

import pytest

from recipes import data
from recipes.trainer import Trainer


@pytest.fixture
def digits_read_once(embedded_digits, monkeypatch):
    """For runs in this process."""
    real = data.load
    monkeypatch.setattr(
        data,
        "load",
        lambda root, download: embedded_digits if (root, download) == (None, False) else real(root, download),
    )


def after_step(monkeypatch, number, act, run=1):
    """Call `act` right after step `number` of the run that is the `run`-th to be trained."""
    train, runs = Trainer.train, []

    def acting(self, steps, on_step=None, *more, **options):
        runs.append(self)

        def then(step):
            if on_step is not None:
                on_step(step)
            if (len(runs), step) == (run, number):
                act()

        train(self, steps, then, *more, **options)

    monkeypatch.setattr(Trainer, "train", acting)
