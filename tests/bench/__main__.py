"""`make bench`: what tdb costs, side by side with the same training without it."""

from __future__ import annotations

from tests.bench.side_by_side import machine, show
from tests.bench.spine import spine

METHOD = """\
Arms take turns in one process, in an order that turns round by round; a figure is the median over the rounds of the
ratio within a round, with its quartiles. One torch thread. The recipe's autoencoder, batch 128, 4,500 digits."""


def main() -> None:
    """Measure and print."""
    print(machine())
    print(METHOD)
    show("The spine", spine())


if __name__ == "__main__":
    main()
