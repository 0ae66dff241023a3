"""What goes along with the prompt to another process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdb.crashes import parse_crash
from tdb.elsewhere.known_branches import KnownBranch, recorded_columns
from tdb.expressions import compile_expression
from tdb.journal import Change
from tdb.standing import READY
from tdb.step import BOUNDARY
from tdb.stops import parse_catch, parse_stop

if TYPE_CHECKING:
    from tdb.session import Session
    from tdb.stops import StopPoint


@dataclass(frozen=True)
class Point:
    """A stop point as text and numbers."""

    number: int
    text: str
    condition: str
    temporary: bool
    enabled: bool
    ignored: int
    hits: int
    commands: tuple[str, ...]
    is_catch: bool


@dataclass(frozen=True)
class Carried:
    """What the user has set up, and what is known of the run so far.

    Attributes:
        settings: those that are not at their default, as they would be typed.
        watched: the watched features.
        focus: the focus layer's name, empty if nobody has chosen one.
        displays: as typed.
        points: the stop points.
        last_number: of the stop points.
        branches: those there are, the one to go on with first.
        left_behind: the names of further ones, which stay in the process in which training was over.
        answers_json: a program reads the answers.
        is_whole: what was changed at the very step that training is to go to is changed again there, too.
        asks: a condition to be asked at every step on the way, empty if there is none.
    """

    settings: dict[str, str]
    watched: list[int]
    focus: str
    displays: list[str]
    points: list[Point]
    last_number: int
    branches: list[KnownBranch]
    left_behind: tuple[str, ...] = ()
    answers_json: bool = False
    is_whole: bool = False
    asks: str = ""

    @property
    def branch(self) -> KnownBranch:
        """The branch to go on with."""
        return self.branches[0]


def carried_from(session: Session) -> Carried:
    """Return what another process needs to go on in this one's place; training must not run."""
    recorder, points = session.controller.recorder, session.armed.points
    branches, left_behind = _branches(session)
    return Carried(
        session.settings.changed(),
        recorder.watched(),
        session.controller.focus_name,
        [display.text for display in session.displays],
        [_as_text(point) for point in points],
        points.last_number,
        branches,
        left_behind,
        session.shell.answers_json,
    )


def _branches(session: Session) -> tuple[list[KnownBranch], tuple[str, ...]]:
    """Return the branches that go along, the present one first, and the names of those that do not.

    Where training goes back in place, what was changed is for its own branches to say: a change stays on the branch on
    which it was made, and is made again whenever its step is passed again.
    """
    travel = session.controller.travel
    if travel.why_not:
        return session.branches.all(session), ()
    now = travel.branches.now
    noted = [each for each in session.journal.changes if not each.has_begun or each.phase != BOUNDARY]
    edits = (Change(each.step, True, BOUNDARY, each.text) for each in travel.branches.edits_of_now())
    known = KnownBranch(
        now.name,
        last=travel.furthest,
        changes=(*noted, *edits),
        columns=recorded_columns(session),
        course=session.controller.recorder.watched_layers.course(),
    )
    return [known], tuple(each.name for each in travel.branches if each is not now)


def set_points(session: Session, carried: Carried) -> None:
    """Set up the stop points, before the steps are taken: they are to remember them; a copy's own remember already."""
    session.displays.clear()
    session.armed.looks_back = []
    session.armed.aim(None)
    points = session.armed.points
    remembered = points.remembered()
    points.remove(*[point.number for point in points])
    for point in carried.points:
        points.last_number = point.number - 1
        stop = (parse_crash(point.text) or parse_catch(point.text)) if point.is_catch else parse_stop(point.text)
        made = points.add(stop, temporary=point.temporary)
        points.set_condition(made.number, compile_expression(point.condition) if point.condition else None)
        points.set_commands(made.number, point.commands)
        points.ignore(made.number, point.ignored)
        made.hits = point.hits
        if not point.enabled:
            points.disable(made.number)
    points.last_number = carried.last_number
    points.remember(remembered, at_start=session.status == READY)


def set_up(session: Session, carried: Carried, run: Callable[[str], object]) -> None:
    """Set up, after the steps have been taken, what is shown; `run` runs a line silently."""
    for text in carried.displays:
        run(f"display {text}")
    session.armed.refresh()


def _as_text(point: StopPoint) -> Point:
    return Point(
        point.number,
        point.stop.what,
        point.condition.text if point.condition is not None else "",
        point.temporary,
        point.enabled,
        point.ignored,
        point.hits,
        tuple(point.commands),
        point.stop.kind == "catch",
    )
