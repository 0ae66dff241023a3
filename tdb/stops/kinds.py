"""The kinds of stop points: each is a question about one finished step.

A stop point hits as long as it holds or, with `begins`, only when it begins to hold: when it did not at the step
before. After a gap (it was disabled, training went back in time) nothing is known of the step before, so the first look
counts, as it does when the stop point is new.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from tdb.counted import counted
from tdb.expressions import Expression, Memory, explain, short, truth
from tdb.expressions.memory import owned

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind: TypeAlias = Literal["step", "epoch", "every", "when", "while", "changed", "catch"]


class Moment(NamedTuple):
    """What a stop point may look at: one finished step.

    Attributes:
        namespace: what expressions see: numbers and numpy arrays by name; may be produced on demand.
        step: the step.
        epoch: the epoch it belongs to; None if the loop does not say.
        tensors: what event stops see: group -> tensor name -> array, where a group is "grads", "weights",
            "activations" or "updates" (each trainable weight after the step minus before); may be produced on demand.
        boundary: how many boundaries training has passed; None if nobody counts them, then steps are counted.
    """

    namespace: Mapping[str, Any]
    step: int
    epoch: int | None
    tensors: Mapping[str, Mapping[str, NDArray[Any]]]
    boundary: int | None = None


Description: TypeAlias = Callable[[], str]
Look: TypeAlias = Callable[[Moment, Memory], Description | None]


@dataclass(frozen=True)
class Stop:
    """What makes a stop point hit.

    Attributes:
        kind: the kind, as it is typed; "step" for a plain number, "catch" for an event.
        what: how it is typed, without the condition.
        look: None if it does not hold at a moment, else what says in which values it holds, called only on a hit.
            The memory has begun its look. Raises TdbError if it cannot be computed.
        remembers: `look` uses the memory, so it has to see every step.
        begins: it hits only when it begins to hold.
        expression: what has to be true, of `when` and `while`.
        condition: what has to be true as well.
        names: the names of the namespace that `look` may ask for.
        groups: the groups of tensors that `look` may ask for.
        blind: says after a look that has found nothing why nothing can be found, or nothing.
        may_hold: whether it could hold at (step, epoch), as far as these tell.
    """

    kind: Kind
    what: str
    look: Look
    remembers: bool = True
    begins: bool = False
    expression: Expression | None = None
    condition: Expression | None = None
    names: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    blind: Callable[[Memory], str] | None = None
    may_hold: Callable[[int, int | None], bool] = lambda _step, _epoch: True

    @property
    def text(self) -> str:
        """How it is typed; `parse_stop` or `parse_catch` reads it back."""
        return f"{self.what}, {self.condition.text}" if self.condition else self.what


def at_step(number: int) -> Stop:
    """At one step, or at the first one after it if the loop's numbers skip it."""

    def look(moment: Moment, memory: Memory) -> Description | None:
        if not _step_before(moment, memory) < number <= moment.step:
            return None
        return lambda: "" if moment.step == number else f"the first from step {number} on"

    return Stop("step", str(number), look, may_hold=lambda step, _epoch: step == number)


def every(number: int) -> Stop:
    """At every step that is a multiple of a number, or at the first one after it if the loop's numbers skip it."""

    def look(moment: Moment, memory: Memory) -> Description | None:
        multiple = moment.step // number * number
        if _step_before(moment, memory) >= multiple:
            return None
        return lambda: f"every {number}"

    return Stop("every", f"every {number}", look, may_hold=lambda step, _epoch: step % number == 0)


def at_epoch(number: int) -> Stop:
    """At the first step of one epoch."""

    def look(moment: Moment, memory: Memory) -> Description | None:
        before = memory.recall("epoch")
        memory.keep("epoch", moment.epoch)
        return (lambda: f"epoch {number}") if moment.epoch == number != before else None

    return Stop("epoch", f"epoch {number}", look, may_hold=lambda _step, epoch: epoch in (None, number))


def when(expression: Expression) -> Stop:
    """When an expression becomes true; true at the first look counts."""
    return replace(while_true(expression), kind="when", what=f"when {expression.text}", begins=True)


def while_true(expression: Expression) -> Stop:
    """At every step at which an expression is true."""

    def look(moment: Moment, memory: Memory) -> Description | None:
        if not truth(expression.evaluate(moment.namespace, memory), expression.text):
            return None
        return lambda: explain(expression, moment.namespace, memory)

    text, remembers = f"while {expression.text}", expression.needs_history
    return Stop("while", text, look, remembers, expression=expression, names=expression.names)


def changed(expression: Expression) -> Stop:
    """When the value of an expression, a number or an array, differs from the step before; NaN equals NaN."""

    def look(moment: Moment, memory: Memory) -> Description | None:
        value = expression.evaluate(moment.namespace, memory)
        before = memory.recall("changed", value)
        memory.keep("changed", owned(value))
        return None if _same(value, before) else lambda: f"{expression.text} {_difference(value, before)}"

    return Stop("changed", f"changed {expression.text}", look, names=expression.names)


def _step_before(moment: Moment, memory: Memory) -> int:
    """Return the number of the step before: of the look before, or one less at a first look."""
    before: int = memory.recall("step", moment.step - 1)
    memory.keep("step", moment.step)
    return before


def _same(a: Any, b: Any) -> bool:
    return np.shape(a) == np.shape(b) and not _differs(a, b).any()


def _differs(a: Any, b: Any) -> NDArray[np.bool_]:
    a, b = np.asarray(a), np.asarray(b)
    both_nan = (a != a) & (b != b)  # NaN differs from itself
    return np.asarray((a != b) & ~both_nan)


def _difference(value: Any, before: Any) -> str:
    """Say how a value differs from the one before; of an array how many entries, and the first of them."""
    if np.shape(value) != np.shape(before):
        return f"has shape {list(np.shape(value))}, was {list(np.shape(before))}"
    if not np.ndim(value):
        return f"= {short(value)}, was {short(before)}"
    differs = _differs(value, before)
    place = tuple(int(index) for index in np.argwhere(differs)[0])
    entry = f"{list(place)} = {short(value[place])}, was {short(before[place])}"
    return f"differs in {np.count_nonzero(differs):,} of {counted(differs.size, 'entry', 'entries')}, first at {entry}"
