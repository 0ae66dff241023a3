"""What is said when training has come to another step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdb.results import Part, Text
from tdb.stopping import StopReport, stop_report
from tdb.travel.known import Comparison

if TYPE_CHECKING:
    from tdb.session import Session
    from tdb.travel.route import Landing


def arrive(session: Session, landing: Landing) -> StopReport:
    """Return what is said when training has come to another step."""
    report = stop_report(session)
    parts: list[Part] = [*report.parts, Text(str(landing))]
    if landing.differing:
        comparison = Comparison()
        comparison.differences, comparison.count = list(landing.differences[:5]), landing.differing
        parts.append(comparison.table())
    data: dict[str, Any] = {
        **(report.data or {}),
        "route": landing.route,
        "checkpoint": landing.checkpoint,
        "replayed": landing.replayed,
        "compared": {"losses": landing.losses, "metrics": landing.metrics},
        "differences": [each._asdict() for each in landing.differences],
    }
    on_the_way = [f"stopped on the way to step {landing.goal}"] if landing.step < landing.goal else []
    return StopReport(parts, data, [*report.notes, *landing.notes, *on_the_way])
