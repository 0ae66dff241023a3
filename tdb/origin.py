"""How a run began: all that it takes to begin the same run again."""

from __future__ import annotations

import os
import platform
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("torch", "numpy", "torchvision")

ENVIRONMENT = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
    "PYTHONHASHSEED",
    "TORCH_DETERMINISTIC",
)
"""Variables that the numbers of a run may depend on."""

NUMPY_SEEDS = 2**32
TORCH_SEEDS = 2**64


@dataclass(frozen=True)
class Origin:
    """What was run, and how.

    Attributes:
        target: the script's path as it was given, or the module's name.
        arguments: its arguments.
        is_module: it is a module, as `python -m` takes it.
        seed: of the global generators before the script began; None if tdb did not seed them.
        threads: torch's threads in the training thread; None as long as torch is not loaded.
        environment: of the variables that numbers may depend on, those that were set.
        versions: name -> version of Python and the packages that compute.
    """

    target: str
    arguments: tuple[str, ...] = ()
    is_module: bool = False
    seed: int | None = None
    threads: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def environment_of(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return those variables of an environment that the numbers of a run may depend on."""
    return {name: environ[name] for name in ENVIRONMENT if name in environ}


@cache
def versions() -> Mapping[str, str]:
    """Return the versions of Python, of the packages that compute, and the machine's kind."""
    found = {"python": platform.python_version(), "system": f"{platform.system()}-{platform.machine()}"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def threads() -> int | None:
    """Return torch's threads in the calling thread, None if torch is not loaded."""
    torch = sys.modules.get("torch")
    return None if torch is None else torch.get_num_threads()


def seed_generators(seed: int) -> None:
    """Seed python's and numpy's global generators, which otherwise begin differently in every process.

    For torch's, see `seed_torch`: it is not loaded for a script that never does.
    """
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % NUMPY_SEEDS)


def seed_torch(seed: int) -> None:
    """Seed torch's generators, on all devices, as soon as it is loaded: each process draws another seed then."""
    import torch

    torch.manual_seed(seed % TORCH_SEEDS)
