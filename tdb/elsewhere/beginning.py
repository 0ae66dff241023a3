"""How a run began: what another process needs to begin it in the same way."""

from __future__ import annotations

import hashlib
import os
import random
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tdb.files import is_there


@dataclass(frozen=True)
class Beginning:
    """The state of a process just before its script began.

    Attributes:
        folder: where it ran.
        environ: its environment.
        path: where it found modules, the script's own folder first.
        python: state of python's generator.
        numpy: state of numpy's global generator.
        torch: state of torch's generator on the CPU; None if torch was not loaded, and so begins with the run's seed.
        threads: torch's threads; None if torch was not loaded, and so decides by itself.
        source: the script's own file and a digest of what was in it; None for a module.
    """

    folder: str
    environ: dict[str, str]
    path: list[str]
    python: Any
    numpy: Any
    torch: Any
    threads: int | None
    source: tuple[Path, str] | None

    @property
    def is_gone(self) -> bool:
        """Whether there is no script any more to begin with."""
        return self.source is not None and not is_there(self.source[0])

    @property
    def has_changed(self) -> bool:
        """Whether the script's own file is not what it was."""
        return self.source is not None and digest_of(self.source[0]) != self.source[1]

    def with_source_as_it_is(self) -> Beginning:
        """Return the same beginning of the script as it is now."""
        return self if self.source is None else replace(self, source=(self.source[0], digest_of(self.source[0])))

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


def digest_of(path: Path) -> str:
    """Return a digest of a file's contents, empty if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def beginning_now(script: Path | None) -> Beginning:
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
        None if script is None else (script.absolute(), digest_of(script)),
    )
