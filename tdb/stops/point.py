"""One stop point that is set: how it decides at one step, and what it says."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tdb.errors import TdbError
from tdb.expressions import Expression, Memory, UnknownNameError, explain, involves_nan, truth
from tdb.expressions.build import FALSE
from tdb.stops.kinds import Description, Moment, Stop


@dataclass(frozen=True)
class Hit:
    """A stop point stops training.

    Attributes:
        number: the stop point's.
        message: names the stop point, what it waited for, and the values that made it true.
        step: the step it stopped at.
        commands: the lines to run.
        temporary: the stop point is gone now.
        is_catch: it is an event stop; a script that ends here has exit status 4.
        failed: it could not be computed; the message says why.
    """

    number: int
    message: str
    step: int
    commands: tuple[str, ...] = ()
    temporary: bool = False
    is_catch: bool = False
    failed: bool = False


@dataclass
class StopPoint:
    """One stop point and all that is known of it.

    Attributes:
        number: its number, never used again.
        stop: what it waits for.
        temporary: it goes at its first stop.
        enabled: it is looked at; a gap of steps while it is not makes the next look a first look.
        condition: what has to be true as well.
        ignored: how many hits to pass over.
        hits: how often what it waits for came about with the condition true, passed over or not.
        commands: lines to run when it stops.
        waiting_for: a name that had no value at the last step, so that nothing could be decided.
    """

    number: int
    stop: Stop
    temporary: bool = False
    enabled: bool = True
    condition: Expression | None = None
    ignored: int = 0
    hits: int = 0
    commands: list[str] = field(default_factory=list)
    waiting_for: str = ""
    _memory: Memory = field(default_factory=Memory, repr=False)
    _held: tuple[int, int] | None = field(default=None, repr=False)  # boundary and step at which it last held
    _follows: bool = field(default=True, repr=False)  # of a step that is taken again: the one before was looked at
    _said: set[str] = field(default_factory=set, repr=False)

    @property
    def label(self) -> str:
        """Its name in messages."""
        return f"{'Catchpoint' if self.stop.kind == 'catch' else 'Breakpoint'} {self.number}"

    @property
    def text(self) -> str:
        """How it is typed, with its present condition; `parse_stop` or `parse_catch` reads it back."""
        return f"{self.stop.what}, {self.condition.text}" if self.condition else self.stop.what

    @property
    def said(self) -> str:
        """How it is spoken of: a step's number alone says little."""
        return f"step {self.text}" if self.stop.kind == "step" else self.text

    @property
    def names(self) -> set[str]:
        """The names of the namespace it may ask for."""
        return {*self.stop.names, *(self.condition.names if self.condition else ())}

    @property
    def plain_expression(self) -> Expression | None:
        """Its expression, if that is all there is: while it is false, nothing has to be remembered or counted."""
        is_plain = self.condition is None and not self.stop.remembers
        return self.stop.expression if is_plain else None

    def is_plainly_false(self, namespace: Mapping[str, Any]) -> bool:
        """Return whether its expression is false and that is all there is to do: the quick way of a free run."""
        expression = self.plain_expression
        if expression is None or self.waiting_for:
            return False
        try:
            return expression.evaluate(namespace) is FALSE
        except TdbError:
            return False  # it will be looked at as it should be, and says why

    def check(self, moment: Moment, notes: list[str]) -> Hit | None:
        """Look at one step and count; return the hit if training has to stop. Never raises.

        Args:
            moment: the step.
            notes: gets what has to be said once without stopping: NaN in the expression, a name without a value.
        """
        try:
            description = self._look(moment, notes)
            if description is None or (self.stop.begins and self._held_before(moment)):
                return None
            if not self._allowed(moment, notes):
                return None
            self.hits += 1
            if self.ignored:
                self.ignored -= 1
                return None
            return self._hit(moment, description, f" (hit {self.hits})" if self.hits > 1 else "")
        except Exception as error:  # noqa: BLE001 - whatever it is, it must stop training, not end it
            return self._failure(moment, error)

    def preview(self, moment: Moment, notes: list[str]) -> Hit | None:
        """Return the hit there would have been at a step, without counting it; see `StopPoints.preview`."""
        try:
            description = self._look(moment, notes)
            return self._hit(moment, description) if description and self._allowed(moment, notes) else None
        except Exception as error:  # noqa: BLE001 - whatever it is, it must stop training, not end it
            return self._failure(moment, error)

    def rehearse(self, moment: Moment, notes: list[str]) -> Hit | None:
        """Return the hit there would have been at a step that is taken again, remembering it but counting nothing."""
        try:
            follows, self._follows = self._follows, True
            description = self._look(moment, notes)
            if description is None or (self.stop.begins and (self._held_before(moment) or not follows)):
                return None
            return self._hit(moment, description) if self._allowed(moment, notes) else None
        except Exception as error:  # noqa: BLE001 - as above
            return self._failure(moment, error)

    def remembered(self) -> tuple[Memory, tuple[int, int] | None]:
        """Return a copy of what it remembers of the steps before."""
        return copy.deepcopy(self._memory), self._held

    def remember(self, memory: Memory, held: tuple[int, int] | None, *, follows: bool) -> None:
        """Go on from what `remembered` has returned; it is the stop point's own from then on.

        Args:
            memory: of the steps before.
            held: when it last held.
            follows: the step before was looked at, or is none of the loop's: otherwise nobody can say whether what
                holds at the next one begins there.
        """
        self._memory, self._held, self._follows = memory, held, follows

    def _look(self, moment: Moment, notes: list[str]) -> Description | None:
        condition, memory = self.condition, self._memory
        condition_remembers = condition is not None and condition.needs_history
        if self.stop.remembers or condition_remembers:
            memory.look(moment.step, moment.boundary)
        if condition is not None and condition_remembers:  # it has to see the steps at which nothing happens, too
            with suppress(TdbError):
                condition.evaluate(moment.namespace, memory)
        try:
            description = self.stop.look(moment, memory)
        except UnknownNameError as error:
            self.waiting_for = error.name
            self._say(notes, f"waits for {error.name!r}, which has no value yet: see keys and sources")
            return None
        self.waiting_for = ""
        if description is None and self.stop.expression is not None:
            self._note_nan(self.stop.expression, moment, notes)
        if self.stop.blind is not None and (why := self.stop.blind(memory)):
            self._say(notes, why)
        return description

    def _held_before(self, moment: Moment) -> bool:
        """Note that it holds now; return whether it did at the boundary before, as far as that was looked at."""
        boundary = moment.step if moment.boundary is None else moment.boundary
        held, self._held = self._held, (boundary, moment.step)
        return held is not None and held[0] == boundary - 1 and held[1] <= moment.step

    def _allowed(self, moment: Moment, notes: list[str]) -> bool:
        if self.condition is None:
            return True
        allowed = truth(self.condition.evaluate(moment.namespace, self._memory), self.condition.text)
        if not allowed:
            self._note_nan(self.condition, moment, notes)
        return allowed

    def _hit(self, moment: Moment, description: Description, suffix: str = "") -> Hit:
        reasons = [description()]
        if self.condition:
            reasons.append(explain(self.condition, moment.namespace, self._memory))
        why = " and ".join(filter(None, reasons))
        message = f"{self.label} at step {moment.step}{': ' if why else ''}{why}{suffix}"
        return Hit(self.number, message, moment.step, tuple(self.commands), self.temporary, self.stop.kind == "catch")

    def _failure(self, moment: Moment, error: Exception) -> Hit:
        reason = str(error) if isinstance(error, TdbError) else f"{self.text} cannot be computed: {error}"
        message = f"{self.label} at step {moment.step}: {reason}. `disable {self.number}` passes over it"
        return Hit(
            self.number, message, moment.step, tuple(self.commands), is_catch=self.stop.kind == "catch", failed=True
        )

    def _note_nan(self, expression: Expression, moment: Moment, notes: list[str]) -> None:
        if involves_nan(expression, moment.namespace):
            self._say(notes, f"{expression.text} can never become true while a value in it is NaN: see catch nan")

    def _say(self, notes: list[str], text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            notes.append(f"{self.label}: {text}")
