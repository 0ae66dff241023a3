"""`make bench`: what tdb costs, side by side with the same training without it."""

from __future__ import annotations

import sys

from tests.bench.inside_a_batch import inside_a_batch
from tests.bench.over_time import over_time
from tests.bench.rule import rule
from tests.bench.scripts import scripts
from tests.bench.side_by_side import machine, show
from tests.bench.spine import spine
from tests.bench.stops import stops
from tests.bench.travel import travel

METHOD = """\
Arms take turns in one process, in an order that turns round by round; a figure is the median over the rounds of the
ratio within a round, with its quartiles. One torch thread. The recipe's autoencoder, batch 128, 4,500 digits unless
a row says otherwise."""


def main() -> None:
    """Measure and print."""
    print(machine())
    print(METHOD)
    parts = {"spine": spine, "inside_a_batch": inside_a_batch, "over_time": over_time}
    parts |= {"scripts": scripts, "stops": stops, "travel": travel, "rule": rule}
    for name in sys.argv[1:] or parts:
        show(name.replace("_", " "), parts[name]())


if __name__ == "__main__":
    main()
