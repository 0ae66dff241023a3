"""Stop points: where training stops, decided once a step from numbers alone.

    points = StopPoints()
    points.add(parse_stop("when win_rate[31] < 0.01"))
    points.add(parse_catch("nan grads"))
    for hit in points.check(namespace, step, epoch, tensors):       # once a step, at its boundary
        print(hit.message)      # Breakpoint 1 at step 341: win_rate[31] = 0.0098 < 0.01

Nothing here waits, prints or knows a thread. `points.names` and `points.groups` say what a check may ask for.
"""

from tdb.stops.kinds import Moment, Stop
from tdb.stops.parse import parse_catch, parse_stop
from tdb.stops.point import Hit, StopPoint
from tdb.stops.points import StopPoints

__all__ = ["Hit", "Moment", "Stop", "StopPoint", "StopPoints", "parse_catch", "parse_stop"]
