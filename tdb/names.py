"""Names that can be typed, each with a word or two about it: for completion, and for messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from tdb.branching import branching_of
from tdb.features import panel_of
from tdb.generic_metrics import GENERIC_METRICS
from tdb.layers import layers_with_features
from tdb.loop_variables import numbers_in
from tdb.namespace import OF_THE_STEP
from tdb.sources import sources_of
from tdb.standing import STOPPED
from tdb.target import model_of
from tdb.variables import variables_of

if TYPE_CHECKING:
    from tdb.session import Session

Names: TypeAlias = Iterable[tuple[str, str]]


def key_names(session: Session) -> Names:
    """Return the keys of the step data."""
    found = []
    for key, value in session.controller.record.data.items():
        found.append((key, "step data"))
        found += [(f"{key}.{entry}", "step data") for entry in value] if isinstance(value, Mapping) else []
    return found


def metric_names(session: Session) -> Names:
    """Return the metrics of the focus layer, with their meaning."""
    panel = panel_of(session.controller)
    own = [(name, "metric of the rule") for name in (panel.columns if panel is not None else ())]
    return [*own, *GENERIC_METRICS.items()]


def expression_names(session: Session) -> Names:
    """Return what an expression about a step may name: `recorded_names`, then variables of the loop."""
    of_tdb = dict(recorded_names(session))
    return [*of_tdb.items(), *(each for each in variable_names(session) if each[0] not in of_tdb)]


def recorded_names(session: Session) -> Names:
    """Return what an expression may name of history or of features: of the step, metrics, step data, sources."""
    of_the_step = [(name, "of the step") for name in OF_THE_STEP]
    return [*of_the_step, *metric_names(session), *key_names(session), *source_names(session)]


def variable_names(session: Session) -> Names:
    """Return the variables that expressions can name, of the frame where training stands."""
    frame = session.stack.frame() if session.status == STOPPED else None
    return [] if frame is None else [(name, "variable") for name in numbers_in(variables_of(frame))]


def branch_names(session: Session) -> Names:
    """Return the branches of the run."""
    return [(each.name, each.parent and f"from {each.parent}") for each in branching_of(session).listed()]


def alias_names(session: Session) -> Names:
    """Return the aliases."""
    return session.aliases.items()


def source_names(session: Session) -> Names:
    """Return the sources of the focus layer."""
    return ((name, "source") for name in sources_of(session.controller))


def layer_names(session: Session) -> Names:
    """Return the layers that have features."""
    model = model_of(session.controller.target)
    return [] if model is None else [(info.name, info.kind) for info in layers_with_features(model)]


def module_names(session: Session) -> Names:
    """Return all modules of the model."""
    model = model_of(session.controller.target)
    return [] if model is None else [(path, type(each).__name__) for path, each in model.named_modules() if path]


def command_names(session: Session) -> Names:
    """Return every command with its first line of help."""
    return ((command.name, command.summary) for command in session.registry)
