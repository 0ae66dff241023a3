"""Event stops: what goes wrong in training, each a pure function of one moment and its own memory.

Every function returns None, or what it saw: which tensor, which entries, how many. They say what *is*; that a stop
point hits only when it begins to be so is decided in `tdb.stops.points`. `memory` has begun its look at the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from tdb.counted import counted
from tdb.errors import TdbError
from tdb.expressions import Expression, Memory, UnknownNameError, short
from tdb.stops.kinds import Description, Moment, Stop

if TYPE_CHECKING:
    from numpy.typing import NDArray

Blind: TypeAlias = Callable[[Memory], str]
"""Says after a look why the event cannot be seen, if it cannot."""

Event: TypeAlias = Callable[[Moment, Memory], str | None]

NOT_FINITE_IN = ("loss", "grads", "weights", "activations")
SPIKE_FACTOR = 3.0
SPIKE_WINDOW = 20  # steps whose median a spike is measured against
SPIKE_WARM_UP = 5  # steps before the first spike can be seen: a median of fewer says little
PLATEAU_TOLERANCE = 1e-4  # what counts as a new best, relative: torch's ReduceLROnPlateau has the same default
# One step's change of a weight matrix relative to its norm is about 1e-3 in healthy training; these are far outside.
VANISHING_RATIO = 1e-6
EXPLODING_RATIO = 0.1
DEAD_SHARE = 0.5
LISTED = 3  # tensors or features named in a message before "..."


def as_stop(
    what: str, event: Event, names: Sequence[str] = (), groups: Sequence[str] = (), blind: Blind | None = None
) -> Stop:
    """Return the stop that hits when an event begins; whatever the event raises becomes a TdbError."""

    def look(moment: Moment, memory: Memory) -> Description | None:
        try:
            with np.errstate(all="ignore"):
                message = event(moment, memory)
        except TdbError:
            raise
        except KeyError as error:
            raise UnknownNameError(str(error.args[0])) from error
        except Exception as error:
            raise TdbError(f"catch {what} cannot be computed: {error}") from error
        return None if message is None else lambda: message

    return Stop("catch", what, look, begins=True, names=tuple(names), groups=tuple(groups), blind=blind)


def not_finite(kind: Literal["nan", "inf"], places: Sequence[str] = NOT_FINITE_IN) -> Stop:
    """NaN, or infinity of either sign, in the loss or in any tensor of the groups."""
    is_bad = np.isnan if kind == "nan" else np.isinf

    def event(moment: Moment, _memory: Memory) -> str | None:
        bad = [
            (place, name, found, array.size)
            for place, name, array in _tensors(moment, places)
            # A sum that is finite has neither NaN nor infinity in it, and takes no memory.
            if array.dtype.kind in "fc" and not np.isfinite(array.sum()) and len(found := np.argwhere(is_bad(array)))
        ]
        if not bad:
            return None
        place, name, found, size = bad[0]
        if place == "loss":
            first = f"{kind} in loss" + (f": {len(found):,} of {counted(size, 'entry', 'entries')}" if size > 1 else "")
        else:
            entries = counted(size, "entry", "entries")
            first = f"{kind} in {place} of {name}: {len(found):,} of {entries}, first at {found[0].tolist()}"
        others = [name if place == "loss" else f"{place} of {name}" for place, name, *_ in bad[1:]]
        return first + (f"; also in {_listed(others)}" if others else "")

    what = kind if tuple(places) == NOT_FINITE_IN else f"{kind} {' '.join(places)}"
    groups = [place for place in places if place != "loss"]
    return as_stop(what, event, ["loss"] if "loss" in places else [], groups)


def spike(metric: Expression, factor: float = SPIKE_FACTOR) -> Stop:
    """A number that exceeds `factor` times its median over the steps before.

    In general it exceeds the median by (factor - 1) times the median's absolute value, so that a metric below zero has
    spikes too. Values that are not finite are left out, here and in the median.
    """

    def event(moment: Moment, memory: Memory) -> str | None:
        value = _number(metric, moment, memory)
        past = memory.recall("spike", ())
        memory.keep("spike", (*past, value)[-SPIKE_WINDOW:] if np.isfinite(value) else past)
        if len(past) < SPIKE_WARM_UP or not np.isfinite(value):
            return None
        median = float(np.median(past))
        if value - median <= (factor - 1) * abs(median):
            return None
        before = f"median of the {len(past)} steps before {short(median)}"
        return f"{metric.text} = {short(value)}, {before}: more than x{factor:g}"

    return as_stop(f"spike {metric.text} x{factor:g}", event, metric.names)


def plateau(metric: Expression, steps: int) -> Stop:
    """A number that has had neither a new lowest nor a new highest value for `steps` steps.

    Both directions, because a loss falls and an accuracy rises. New means by more than 1e-4 of the old one's absolute
    value. A value that is not finite is no new one.
    """

    def event(moment: Moment, memory: Memory) -> str | None:
        value = _number(metric, moment, memory)
        start = value if np.isfinite(value) else np.nan
        lowest, highest, waited = memory.recall("plateau", (start, start, -1))
        margin = PLATEAU_TOLERANCE * np.abs([lowest, highest])
        is_within = lowest - margin[0] <= value <= highest + margin[1]  # false while there is no finite value yet
        if np.isfinite(value) and not is_within:
            lowest, highest, waited = np.fmin(lowest, value), np.fmax(highest, value), 0
        else:
            waited += 1
        memory.keep("plateau", (lowest, highest, waited))
        if waited < steps:
            return None
        seen = f"lowest {short(lowest)}, highest {short(highest)}"
        return f"{metric.text} = {short(value)}, no new lowest or highest value for {counted(waited, 'step')} ({seen})"

    return as_stop(f"plateau {metric.text} {steps}", event, metric.names)


def vanishing(limit: float = VANISHING_RATIO) -> Stop:
    """A weight matrix whose change in the step is less than `limit` of its norm; none at all is `frozen`."""

    def event(moment: Moment, memory: Memory) -> str | None:
        ratios = _update_ratios(moment)
        memory.keep("not finite", [name for name, ratio in ratios.items() if not np.isfinite(ratio)])
        return _ratio_message(
            ratios, {name: ratio for name, ratio in ratios.items() if 0 < ratio < limit}, "less", limit
        )

    def blind(memory: Memory) -> str:
        names = memory.kept("not finite", [])
        return (
            f"{_listed(names)} cannot be seen to vanish while a value in it is not finite: see catch nan"
            if names
            else ""
        )

    return as_stop(f"vanishing {limit:g}", event, groups=("updates", "weights"), blind=blind)


def exploding(limit: float = EXPLODING_RATIO) -> Stop:
    """A weight matrix whose change in the step is more than `limit` of its norm, or one that is not finite."""

    def event(moment: Moment, _memory: Memory) -> str | None:
        ratios = _update_ratios(moment)
        outside = {name: ratio for name, ratio in ratios.items() if not ratio <= limit}
        return _ratio_message(ratios, outside, "more", limit)

    return as_stop(f"exploding {limit:g}", event, groups=("updates", "weights"))


def frozen(steps: int = 1) -> Stop:
    """A trainable weight that no step of the last `steps` has changed in any entry."""

    def event(moment: Moment, memory: Memory) -> str | None:
        past = memory.recall("frozen", {})
        updates = moment.tensors["updates"]
        unchanged = {name: past.get(name, 0) + 1 for name, update in updates.items() if not update.any()}
        memory.keep("frozen", unchanged)
        names = [name for name, count in unchanged.items() if count >= steps]
        if not names:
            return None
        duration = "in this step" if steps == 1 else f"for {steps} steps"
        return f"{len(names)} of {len(updates)} weights not changed {duration}: {_listed(names)}"

    return as_stop(f"frozen {steps}", event, groups=("updates",))


def dead(share: float = DEAD_SHARE) -> Stop:
    """At least a share of the features is dead; the namespace's `dead` says which are, [D] bool."""

    def event(moment: Moment, _memory: Memory) -> str | None:
        is_dead = np.asarray(moment.namespace["dead"], dtype=bool)
        count = np.count_nonzero(is_dead)
        if not is_dead.size or count < share * is_dead.size:
            return None
        ids = [str(feature) for feature in np.flatnonzero(is_dead)]
        features = f"{counted(is_dead.size, 'feature')} {'is' if count == 1 else 'are'}"
        return f"{count} of {features} dead, at least a share of {share:g}: {_listed(ids)}"

    return as_stop(f"dead {share:g}", event, ["dead"])


def _tensors(moment: Moment, places: Sequence[str]) -> Iterator[tuple[str, str, NDArray[Any]]]:
    for place in places:
        tensors = {"loss": moment.namespace["loss"]} if place == "loss" else moment.tensors[place]
        for name, tensor in tensors.items():
            yield place, name, np.asarray(tensor)


def _number(metric: Expression, moment: Moment, memory: Memory) -> float:
    value = metric.evaluate(moment.namespace, memory)
    if np.ndim(value):
        raise TdbError(
            f"{metric.text} is an array of shape {list(np.shape(value))}, not one number a step",
            f"Use one entry or one number of all, as in mean({metric.text})",
        )
    return float(value)


def _update_ratios(moment: Moment) -> dict[str, float]:
    """Return |change| / |weight before| of every weight matrix.

    Biases and scales are left out, and matrices that were all zeros: they start at zero, so their first changes are
    large whatever the training does.
    """
    ratios = {}
    for name, update in moment.tensors["updates"].items():
        if update.ndim >= 2:
            before = float(np.linalg.norm(moment.tensors["weights"][name] - update))
            if before:
                ratios[name] = float(np.linalg.norm(update)) / before
    return ratios


def _ratio_message(ratios: Mapping[str, float], outside: Mapping[str, float], word: str, limit: float) -> str | None:
    if not outside:
        return None
    changes = [
        f"{name} by {short(ratio)} of its norm" if np.isfinite(ratio) else f"{name} is not finite"
        for name, ratio in outside.items()
    ]
    return f"{len(outside)} of {len(ratios)} weight matrices changed by {word} than {limit:g}: {_listed(changes)}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
