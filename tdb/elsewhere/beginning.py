"""How a run began: what another process needs to begin it in the same way."""

from __future__ import annotations

import os
import random
import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Beginning:
    """The state of a process just before its script began.

    Attributes:
        folder: where it ran.
        environ: its environment.
        path: where it found modules, the script's own folder first.
        python: state of python's generator.
        numpy: state of numpy's global generator.
        torch: state of torch's generator on the CPU; None if torch was not loaded, and so begins with its own seed.
        threads: torch's threads; None if torch was not loaded, and so decides by itself.
    """

    folder: str
    environ: dict[str, str]
    path: list[str]
    python: Any
    numpy: Any
    torch: Any
    threads: int | None

    def enter(self) -> None:
        """Put the calling thread's process into this state, except for its environment."""
        import numpy as np

        os.chdir(self.folder)
        sys.path[:] = self.path
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        if self.torch is not None:
            import torch

            torch.set_rng_state(torch.from_numpy(self.torch.copy()))
            if self.threads is not None:
                torch.set_num_threads(self.threads)


def beginning_now() -> Beginning:
    """Return the state of this process, in the thread in which the script is about to begin."""
    import numpy as np

    torch = sys.modules.get("torch")
    return Beginning(
        os.getcwd(),  # noqa: PTH109 - the text, to go back to
        dict(os.environ),
        list(sys.path),
        random.getstate(),
        np.random.get_state(),
        None if torch is None else torch.get_rng_state().numpy().copy(),
        None if torch is None else torch.get_num_threads(),
    )
