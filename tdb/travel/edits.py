"""What the user changes at a boundary: noted, so that it is changed again whenever that boundary is passed again."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tdb.prompt_python import compiled, run_python_again
from tdb.standing import STOPPED
from tdb.target import optimizers_of

if TYPE_CHECKING:
    from tdb.session import Session
    from tdb.travel.branches import Forked

# `weight.zero_()`, `torch.nn.init.normal_(weight)`: by custom, what ends in an underscore changes its argument.
IN_PLACE = re.compile(r"\w_\(")
INSIDE = "this is inside a step: going back and passing it again does not change it again, as it would at a boundary"


def changes(text: str, *, forced: bool) -> bool:
    """Return whether Python may have changed training: a statement, a call in place, or what was typed with `!`."""
    if forced or IN_PLACE.search(text):
        return True
    try:
        compiled(text, "eval")
    except SyntaxError:
        return True
    return False


def note_python(session: Session, text: str) -> list[str]:
    """Note Python that was run at a boundary, and return what has to be said."""
    return note(session, f"!{text}", lambda: run_python_again(session, text))


def note(session: Session, text: str, apply: Callable[[], Any], *, is_ahead: bool = False) -> list[str]:
    """Note a change that was made, and return what has to be said: a branch may have been begun for it.

    Args:
        session: whose training.
        text: what was typed.
        apply: does it again, in the training thread.
        is_ahead: it concerns the step ahead, and is no part of the state that a checkpoint keeps.
    """
    controller, travel = session.controller, session.controller.travel
    if session.status != STOPPED:
        return []
    # What concerns the step ahead is as good at the boundary before it, unless that has steps after it already.
    counts_before = is_ahead and not travel.why_not and controller.recorder.known is None
    if controller.is_inside and not counts_before:
        return [INSIDE] if not travel.why_not and session.journal.first("changes inside a step") else []
    elsewhere = session.branches.fork_for_a_change(session) if travel.why_not else None
    # Also where training does not go back in place: it may be asked to from some later step on.
    here = controller.gate.call(lambda: travel.note_edit(text, apply, is_ahead=is_ahead))
    branch: Forked | None = elsewhere or here
    if branch is None:
        return []
    session.route("fork").drop_after(branch.forked_at)
    left = f"what was taken after step {branch.forked_at} stays on branch {branch.parent}"
    return [f"{left}; this is branch {branch.name} now"]


def values_that_can_be_set(session: Session) -> dict[str, Any]:
    """Return what `set` changes of training itself: options of the optimizer, and a rule's constants."""
    found: dict[str, Any] = {}
    for optimizer in optimizers_of(session.controller.target)[:1]:
        for name, value in optimizer.param_groups[0].items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                found[f"optimizer.{name}"] = value
    for panel in session.controller.panels:
        found |= {f"{panel.name}.{name}": value for name, value in panel.settings().items()}
    return found


def setter(session: Session, name: str, value: Any) -> Callable[[], None]:
    """Return what gives one of these values to all optimizers, or to the rule."""
    owner, _, option = name.partition(".")
    if owner == "optimizer":

        def of_optimizers() -> None:
            for optimizer in optimizers_of(session.controller.target):
                for group in optimizer.param_groups:
                    if option in group:
                        group[option] = value

        return of_optimizers
    panel = next(each for each in session.controller.panels if each.name == owner)
    assert panel.change is not None
    change = panel.change
    return lambda: change(option, value)
