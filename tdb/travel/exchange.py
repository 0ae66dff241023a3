"""Going on from a file: what was written in this run, or in another one of the same script."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tdb.errors import StateError, in_words
from tdb.step import Position
from tdb.travel import files

if TYPE_CHECKING:
    from tdb.travel.branches import Branch
    from tdb.travel.checkpoints import Checkpoint
    from tdb.travel.traveller import Traveller


def write(travel: Traveller, file: Path) -> Checkpoint:
    """Write everything to a file, and return what was written; in the training thread.

    Raises:
        StateError: training cannot go back in place, or a state cannot be written.
        TdbError: the file cannot be written; an older one is as it was.
    """
    taken = travel.copies.take()
    files.write(file, taken.snapshot, taken.position)
    return taken


def load(travel: Traveller, file: Path) -> Branch:
    """Put back what is in a file, and begin a branch there which inherits nothing; in the training thread.

    Raises:
        StateError: it is no checkpoint, or not all of one, or of another training; nothing has changed then.
    """
    state = travel.reach.need()
    snapshot, about = files.read(file)
    if travel.reach.data.passes is not None and about["run"] != files.RUN:
        why = "of a loop over `controller.steps`, only the run that wrote it knows which batches follow"
        raise StateError(f"{file} is of another run: {why}", "Trainers with state() and restore(state) go on")
    try:
        state.check(snapshot)
    except StateError as error:
        raise StateError(f"{file} is of another training: {error}") from None
    travel.copies.part()
    before = travel.copies.take()
    try:
        state.put_back(snapshot)
    except Exception as error:  # noqa: BLE001 - a part of the user's own may raise anything
        state.put_back(before.snapshot)
        raise StateError(f"{file} does not fit here: {in_words(error)}") from None
    return travel.go_on_from(Position(0, about["step"], about["epoch"], about["loss"]))
