"""The route that always leads there: a fresh process takes the run anew from its start.

It works with whatever a run consists of, DataLoader workers and accelerators included, as long as the run is
deterministic; it costs the imports and every step again.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING

from tdb.elsewhere.carried import Carried
from tdb.elsewhere.channel import Channel
from tdb.elsewhere.link import Link
from tdb.elsewhere.way import LedElsewhere
from tdb.standing import READY

if TYPE_CHECKING:
    from tdb.elsewhere.beginning import Beginning
    from tdb.session import Session
    from tdb.travel.route import Landing

NAME = "re-run"
QUICKER = "on the CPU, `set checkpoints.forks 8` before steps are taken makes going back to them quick"


@dataclass(frozen=True)
class Order:
    """What a fresh process is to do.

    Attributes:
        captures: what training prints is shown by the front.
        forks: how many copies may be set aside.
    """

    route: str
    target: str
    arguments: tuple[str, ...]
    is_module: bool
    beginning: Beginning
    seed: int | None
    step: int
    carried: Carried
    captures: bool
    forks: int
    log_file: Path


class Rerun(LedElsewhere):
    """Going to a step in a fresh process."""

    name = NAME

    def refusal(self, session: Session, step: int) -> str:
        """Return why a step cannot be reached this way, empty if it can."""
        if session.run is None:
            return "there is no script that could be run again: tdb has not started this one"
        if session.run.began is None or session.status == READY:
            return "the script has not been started"
        if session.run.began.is_gone:
            return f"{session.run.script.name} is not there any more"
        if step and session.run.began.has_changed:
            return f"{session.run.script.name} has been changed since: `restart` begins with it as it is now"
        return ""

    def reach(self, session: Session, step: int, carried: Carried, before: int | None = None) -> tuple[Link, Landing]:
        """Take a fresh process to the boundary of a step; see `tdb.elsewhere.way.Reaching`."""
        del before
        run = session.run
        assert run is not None
        assert run.began is not None
        if run.began.has_changed:  # it begins another run, of which nothing is known
            run.began = run.began.with_source_as_it_is()
            carried = replace(carried, branches=[carried.branch.begun_anew()])
        ours, theirs = Pipe()
        began, script = run.began, run.script
        order = Order(
            NAME,
            script.target,
            tuple(script.arguments),
            script.is_module,
            began,
            run.seed,
            step,
            carried,
            session.front.captures,
            session.settings["checkpoints.forks"],
            session.shell.log_file,
        )
        sys.stdout.flush()
        process = subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-m", "tdb.elsewhere.worker", str(theirs.fileno()), str(os.getpid())],
            cwd=began.folder,
            env={**began.environ, "PYTHONPATH": os.pathsep.join(filter(None, began.path))},
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,  # Ctrl-C and the end of the terminal are the front's to hear
        )
        theirs.close()
        link = Link(session, Channel(ours), process.pid, process)
        link.order(order)
        landing = link.arrived()
        if not session.settings["checkpoints.forks"] and sys.platform.startswith("linux"):
            if not multiprocessing.active_children() and session.journal.first("copies"):
                landing = landing._replace(notes=[*landing.notes, QUICKER])
        return link, landing
