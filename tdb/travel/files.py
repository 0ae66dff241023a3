"""Checkpoints in files: tensors as safetensors keep them, everything else as JSON in the file's header; no pickle.

A file is written under another name, forced to the disk and then renamed: it is there whole, or not at all.
"""

from __future__ import annotations

import json
import os
from pathlib import Path as File
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tdb.errors import StateError, TdbError, in_words
from tdb.files import replacing
from tdb.step import Position
from tdb.travel.plain import decoded, encoded
from tdb.travel.slots import Copied, Path
from tdb.travel.snapshot import Snapshot

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "tdb checkpoint 1"
HEADER = "tdb"
ABOUT = ("step", "epoch", "loss", "run")
RUN = uuid4().hex
"""Of this process, and of its copies."""


def write(file: File, snapshot: Snapshot, position: Position) -> None:
    """Write a checkpoint.

    Raises:
        StateError: a state holds something that cannot be written.
        TdbError: the file cannot be written; an older one of its name is as it was.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {_name(path): copied.tensor for path, copied in snapshot.tensors.items()}
    devices = {_name(path): str(copied.device) for path, copied in snapshot.tensors.items()}

    def lift(tensor: Tensor) -> str:
        name = f"value {len(tensors)}"
        tensors[name] = tensor.detach().cpu().contiguous().clone()
        return name

    values = []
    for path, value in snapshot.values.items():
        try:
            values.append([list(path), encoded(value, lift)])
        except StateError as error:
            raise StateError(f"{' '.join(map(str, path))}: {error.message}", error.hint) from None
    _, step, epoch, loss, _ = position
    loss = loss.item() if hasattr(loss, "item") else loss
    about = encoded({"step": step, "epoch": epoch, "loss": loss, "run": RUN}, lift)
    header = json.dumps({"format": FORMAT, "about": about, "values": values, "devices": devices}, allow_nan=False)
    with replacing(file) as temporary:
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, {HEADER: header})
        except (SafetensorError, ValueError, TypeError, RuntimeError) as error:  # a sparse tensor, for one
            raise TdbError(f"cannot write {file}: {error}") from None
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
    _force(file.parent)


def read(file: File) -> tuple[Snapshot, dict[str, Any]]:
    """Return a checkpoint, and {"step", "epoch", "loss", "run"} of where it was taken.

    Raises:
        StateError: it is no such file, or not all of it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            if HEADER not in metadata:
                raise StateError(
                    f"{file} holds tensors, but is no checkpoint of tdb", "`checkpoint -o FILE` writes one"
                )
            header = json.loads(metadata[HEADER])
            if header.get("format") != FORMAT:
                raise StateError(f"{file} is of another tdb: {header.get('format')!r}, not {FORMAT!r}")
            # The library maps the file into memory, where it would change with it.
            read = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118 - it has no iterator
        tensors: dict[Path, Copied] = {}
        for name, device in header["devices"].items():
            tensor = read[name]
            tensors[tuple(json.loads(name))] = Copied(tensor, -1, device, tensor.nbytes)
        values = {tuple(path): decoded(value, read.__getitem__) for path, value in header["values"]}
        about = decoded(header["about"], read.__getitem__)
        return Snapshot(tensors, values), {name: about[name] for name in ABOUT}
    except OSError as error:
        raise StateError(f"cannot read {file}: {error.strerror or str(error).removesuffix(f': {file}')}") from None
    except SafetensorError as error:
        raise StateError(f"{file} is no whole safetensors file: {error}", "`checkpoint -o FILE` writes one") from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise StateError(f"{file} is damaged: {in_words(error)}") from None


def _name(path: Path) -> str:
    return json.dumps(path)


def _force(folder: File) -> None:
    """Force the name of a new file to the disk, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
