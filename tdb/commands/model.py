"""The whole model: its modules, its optimizers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdb.commands import command
from tdb.commands.arguments import Count, ModuleName
from tdb.counted import counted
from tdb.distributions import activations_of, distribution_table, distributions, gradients_of, weights_of_model
from tdb.errors import StateError, TdbError, UsageError, did_you_mean
from tdb.model_tree import chosen_rows, exact_table, remarks_text, tree_table
from tdb.model_view import ModuleRow, model_rows
from tdb.optimizer_view import groups_table, scheduler_facts
from tdb.results import Facts, Part, Result, Table
from tdb.skip import LEFT_OUT
from tdb.target import how_it_is_known, optimizers_of, scaler_of, schedulers_of
from tdb.this_step import trained_model
from tdb.travel.captured import want_captured

if TYPE_CHECKING:
    from tdb.session import Session

DEEP = 10**6
MANY = 60
WHAT = ("activations", "gradients", "weights")


@command(running="queued")
def layers(
    session: Session,
    module: ModuleName | None = None,
    inside: ModuleName | None = None,
    *,
    depth: Count | None = None,
    all_: bool = False,
) -> Result:
    """Show the model as a tree: parameters, gradient, update and output of each module in this step.

    |w| and grad are L2 norms over the module and all inside it, update is the norm of the step's change relative to the
    norm before, mean, std and zeros are of the module's output. Levels are shown as far as they fit a screen, "+" marks
    what has more inside: MODULE shows its subtree, `depth N` so many levels, `all` everything. "!" marks what is wrong.
    A step that training ran through freely was not captured: it is taken again where the loop can go back in place;
    elsewhere there are norms then, and `step` brings the rest.
    `layers activations`, `layers gradients` and `layers weights`, of MODULE if given, draw how the values of each are
    distributed: negative ones at the left, the share of zeros in the middle, positive ones at the right.

    Example:
        layers
        layers encoder
        layers depth 3
        layers activations
        layers gradients encoder -o gradients.png
        layers all -o layers.csv
    """
    model, capture = trained_model(session), session.controller.model_capture
    if module in WHAT and module not in dict(model.named_modules()):
        return _distributions(session, module, inside or "")
    if inside is not None:
        raise UsageError(f"layers draws {', '.join(WHAT)}, not {module}", "Example: layers activations encoder")
    notes = _what_is_missing(session)
    rows = session.ask(lambda: model_rows(model, capture), of_a_step=False)
    shown, hidden = chosen_rows(rows, module or "", DEEP if all_ else depth)
    parts: list[Part] = [tree_table(shown, rows, _note(rows, shown, hidden)), *remarks_text(shown if module else rows)]
    return Result(parts, {"layers": exact_table(shown), "captured": capture.captured}, notes)


def _distributions(session: Session, what: str, inside: str) -> Result:
    model, capture = trained_model(session), session.controller.model_capture
    looks = {
        "activations": lambda: activations_of(model, capture),
        "gradients": lambda: gradients_of(model, capture),
        "weights": lambda: weights_of_model(model),
    }
    found = session.ask(looks[what], of_a_step=what != "weights")
    chosen = {name: array for name, array in found.items() if not inside or f"{name}.".startswith(f"{inside}.")}
    if not chosen:
        raise TdbError(f"no {what} in {inside!r}", did_you_mean(inside, [name for name, _ in model.named_modules()]))
    notes = []
    if what != "activations" and len(chosen) > MANY:
        wide = {name for name, weight in model.named_parameters() if weight.dim() > 1}
        chosen = {name: array for name, array in chosen.items() if name in wide} or chosen
        notes = [f"weights alone, of so many: `layers {what} MODULE` has the biases and scales of a module, too"]
    table = distribution_table(chosen, "module" if what == "activations" else "parameter")
    picture = distributions(chosen, what, session.controller.record.clock.step)
    return Result([table, picture], {"what": what, "table": table}, notes)


def _note(rows: list[ModuleRow], shown: list[ModuleRow], hidden: int) -> str:
    deepest = max(row.depth for row in shown)
    folded = next((row.path for row in shown if row.children and row.depth == deepest), "")
    more = f"; `layers {folded}` shows what is inside" if hidden and folded else ""
    return f"{len(shown)} of {counted(len(rows), 'module')}{more}"


def _what_is_missing(session: Session) -> list[str]:
    capture = session.controller.model_capture
    if not capture.captured:
        return want_captured(session)
    if capture.compiled:
        return ["the model is compiled: what its modules give cannot be seen"]
    return []


@command(running="queued")
def optim(session: Session) -> Result:
    """Show the optimizers: groups, learning rates, momentum, weight decay, and what they remember.

    `updates` is how many updates an optimizer has counted itself, `this step` how many it made in this step: none if a
    gradient scaler or `skip` left it out. Schedulers and the scaler are shown if the loop has named them.

    Example:
        optim
    """
    controller = session.controller
    target, capture = controller.target, controller.model_capture
    optimizers = optimizers_of(target)
    if not optimizers:
        raise StateError("no optimizer is known", how_it_is_known(target))

    here, marks = controller.position.step, controller.recorder.history.marks()
    left_out = [step for step, word in marks.items() if word == LEFT_OUT and step <= here]

    def look() -> tuple[Table, dict[str, str]]:
        updates = capture.updates if capture.captured and capture.progress.has_update else None
        if controller.skip.asked if controller.is_inside else here in left_out:
            updates = {}
        return groups_table(optimizers, updates), scheduler_facts(schedulers_of(target), scaler_of(target))

    table, facts = session.at_boundary(look)
    if left_out:
        facts["updates left out by skip"] = ", ".join(f"step {step}" for step in left_out)
    return Result([table, *([Facts(facts)] if facts else [])], {"groups": table, **facts})
