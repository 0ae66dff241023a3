"""Watches: features that are followed step by step, and what their weights did: their trajectories.

A trajectory holds, for every recorded step, the cosine of the feature's weight row with the row it had when its watch
began, and the step's metrics of that feature; between features that are watched together, the cosine of their rows.

A feature whose watch ends keeps its trajectory, and one that is watched later starts fresh. If a feature is watched
again, its trajectory goes on in a new *segment*: nothing recorded is lost, and `weight_cos_to_init` starts again at 1,
measured from the weights of the new beginning.

Steps come in handfuls: products of many rows together are several times faster than one small product a step. Norms
are divided out when somebody reads. Threads: as in `tdb.history`, one thread writes and any reads.
"""

from tdb.watches.course import Course
from tdb.watches.layers import WatchedLayers
from tdb.watches.watches import Watches

__all__ = ["Course", "WatchedLayers", "Watches"]
