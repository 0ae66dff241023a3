"""A session that somebody else can rerun."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from tdb.commands import command
from tdb.commands.arguments import File
from tdb.errors import StateError, TdbError
from tdb.files import appended, is_there, written_whole
from tdb.journal import Entry
from tdb.origin import Origin, environment_of, threads, versions
from tdb.recording import Transcript
from tdb.results import Result, Text
from tdb.standing import STOPPED

if TYPE_CHECKING:
    from pathlib import Path

    from tdb.session import Session


@command(running="yes")
def record(session: Session, path: File | None = None) -> Result:
    """Write this session to a file that `tdb replay FILE` runs again: what was typed so far, and from now on.

    The file says what was run, with its arguments, seeds, threads and versions; then the commands, each with where
    training stood after it. It is text, may be edited, and `source` takes it too. A replay says whether it came out the
    same, to the last bit of the loss. Without FILE, the one being written is shown.

    Example:
        record session.tdb
        record
    """
    if path is None:
        if session.recording is None:
            raise StateError("nothing is being recorded", "`record FILE` begins")
        session.recording.write_what_is_missing()
        return Result([Text(f"recording to {session.recording.path}")], {"file": str(session.recording.path)})
    if session.run is None:
        raise StateError("there is no script that could be run again", "`save FILE` writes the set-up of a session")
    path = path.expanduser()
    recording = RecordingFile(session, path)
    recording.write()
    if session.recording is not None:
        session.journal.no_longer(session.recording.take)
    session.recording = recording
    session.journal.on_entry(recording.take)
    return Result([Text(f"recording to {path}: `tdb replay {path}` runs it again")], {"file": str(path)})


class RecordingFile:
    """The file of a session being recorded; it is whole after every command."""

    def __init__(self, session: Session, path: Path) -> None:
        self.path = path
        self._session = session
        self._date = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
        self._threads: int | None = None
        self._transcript: Transcript | None = None  # None as long as what stands in the file is not all
        self._failed = False

    def write(self) -> None:
        """Write the file.

        Raises:
            TdbError: it cannot be written.
        """
        transcript = Transcript()
        written_whole(self.path, transcript.begin(self._origin(), self._session.journal.entries, self._date))
        self._transcript = transcript

    @property
    def _whole(self) -> Transcript | None:
        """The transcript, if all of it stands in the file."""
        return self._transcript if is_there(self.path) else None

    def write_what_is_missing(self) -> None:
        """Write the file anew if what stands in it is not all.

        Raises:
            TdbError: it cannot be written.
        """
        if self._whole is None:
            self.write()
            self._failed = False

    def take(self, entry: Entry) -> None:
        """Add an entry to the file; if that fails, say so once."""
        try:
            if (whole := self._whole) is None:
                self.write_what_is_missing()
            else:
                appended(self.path, whole.go_on(self._origin(), entry))
        except TdbError as error:
            self._transcript = None
            if not self._failed:
                self._session.journal.notices.append(f"the session is not recorded: {error}")
            self._failed = True

    def _origin(self) -> Origin:
        run, controller = self._session.run, self._session.controller
        assert run is not None
        if controller.gate.status == STOPPED:  # the count belongs to the training thread
            self._threads = controller.gate.call(threads)
        script = run.script
        return Origin(
            script.target,
            tuple(script.arguments),
            script.is_module,
            run.seed,
            self._threads,
            environment_of(),
            versions(),
        )
