"""History: what every step left behind, in columns, within a budget of bytes.

    history = History(budget_bytes=256 * 2**20)
    history.append_steps(timeline, [(tick, step, epoch, loss, wall_time), ...])
    history.append_metrics(timeline, [[tick, step], ...], ("win_rate", ...), blocks)           # [k, 2], [k, m, D]
    steps, losses = history.loss()
    steps, values = history.metric("win_rate")                                                 # [n], [n, D]

    history.py     History: loss, epoch, wall time and metrics of every step, as they are appended
    recorded.py    Recorded: the same as it is read: what was recorded from step to step, of which branch, how densely
    budget.py      Budget: the bytes that all columns share, and the steps that thinning never takes
    series.py      Series: rows of one kind (the steps, one layer's metrics, one set of watched features) in chunks

**Thinning.** When a new chunk would exceed the budget, two neighbouring chunks of the largest series become one: every
second row goes. They are taken from the older half, the densest first and among those the oldest, so the newer half
stays as it was recorded, and the older half stays evenly spaced: after a million steps the first thousand are as well
covered as the hundred-thousandth. Rows at which training stopped are set aside and kept; only when a series holds more
of them than of anything else are they thinned in their turn, because the budget is a promise too.

**Threads.** One thread writes: the training thread. Any thread reads, without a lock. A row is written first and the
length of its chunk raised last, so a reader sees a prefix of whole rows. A full chunk is never written again: thinning
makes a new chunk, and one assignment of a reference swaps the list of chunks, so a reader that began earlier goes on
with the old list. A reader can therefore be late by some steps, but never sees half of one.
"""

from tdb.history.budget import Budget
from tdb.history.density import Span
from tdb.history.history import History
from tdb.history.recorded import between

__all__ = ["Budget", "History", "Span", "between"]
