"""Questions about the step at which training stands, or about its next whole step while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.armed import ALWAYS_KNOWN
from tdb.captures import number
from tdb.counted import counted
from tdb.errors import StateError, TdbError, did_you_mean
from tdb.features import features_of, sorted_order
from tdb.ids import early_ids, ids_of
from tdb.loop_variables import NoNumberError
from tdb.sources import sources_of
from tdb.standing import READY
from tdb.target import model_of
from tdb.tensors import look_up, tensor_value

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tdb.expressions import Expression, Memory
    from tdb.features import Features
    from tdb.results import Array
    from tdb.session import Session
    from tdb.step import Step

NO_LOSS = "the loop has handed over no loss, or none that is a number"


def features_now(session: Session) -> Features:
    """Return the features of this step."""
    return session.ask(lambda: features_of(session.controller, session.settings.thresholds()))


def feature_ids(session: Session, words: Iterable[str], of: Features) -> list[int]:
    """Return the features that words such as `3`, `0:8` and `@dead` name."""
    return ids_of(words, of.count, {**of.groups(), "watch": session.controller.recorder.watched()})


def some_ids(session: Session, words: Iterable[str]) -> list[int]:
    """Return the features that words name, whether training has begun or not.

    Raises:
        TdbError: there is no such feature.
        StateError: the words depend on how many features there are, and there is no layer yet.
    """
    words = list(words)
    info = session.controller.layer.info
    if info is None:
        return early_ids(words, {"watch": session.controller.recorder.watched()})
    groups: dict[str, list[int]] = {"watch": session.controller.recorder.watched()}
    if any(word.startswith("@") and word != "@watch" for word in words):
        groups.update(features_now(session).groups())
    return ids_of(words, info.features, groups)


def feature_order(session: Session, metric: str, count: int) -> Array:
    """Return the order [count] of the features by a metric, the greatest first.

    Raises:
        TdbError: there is no such metric, or there are not as many features.
    """
    values = features_now(session).metric(metric)
    if len(values) != count:
        had = f"{metric} has {counted(len(values), 'value')}, and the matrix {counted(count, 'row')}"
        raise TdbError(had, "Is it of the focus layer?")
    return sorted_order(values, ascending=False)


def source_rows(session: Session, name: str) -> Tensor:
    """Return a source as rows [D, F]; called in the training thread.

    Raises:
        TdbError: there is no such source, or it has no rows.
    """
    sources = sources_of(session.controller)
    if name not in sources:
        raise TdbError(f"no source {name!r}", did_you_mean(name, sources) or f"Sources: {', '.join(sources)}")
    rows = sources[name]()
    if rows.dim() < 2:
        raise TdbError(f"{name} has shape {list(rows.shape)}, and no rows")
    return rows.flatten(1)


def row_image_shape(session: Session, width: int) -> tuple[int, ...] | None:
    """Return the shape of a row of `width` weights as an image, or None if it is none."""
    shape = session.controller.image_shape
    if shape is not None and width == prod(shape):
        return shape
    info = session.controller.layer.info
    if info is not None and len(info.row_shape) == 3 and info.row_shape[0] == 1 and width == prod(info.row_shape):
        return info.row_shape[1:]
    return None


def look(session: Session, text: str) -> Array:
    """Return captured data or a source by name, with an entry and a slice, as a numpy array.

    Raises:
        TdbError: there is nothing of this name.
    """

    def find() -> Array:
        record = session.controller.record
        values: dict[str, Callable[[], Any]] = dict(sources_of(session.controller))
        values.update({name: partial(step_data, session, record, name) for name in data_names(session, record)})
        value = look_up(text, values)
        if isinstance(value, Mapping):
            raise TdbError(f"{text} is a set of entries", f"Take one: {', '.join(map(str, value))}")
        return tensor_value(text, value).values

    return session.ask(find)


def evaluated(session: Session, expression: Expression, memory: Memory | None = None) -> Any:
    """Return the value of an expression at this step; of a running training, at its next boundary.

    Args:
        session: the session.
        expression: what is asked.
        memory: of an expression that looks back over steps.

    Raises:
        TdbError: it has no value.
    """
    armed = session.armed

    def evaluate() -> Any:
        armed.renew()
        if memory is not None:
            memory.look(session.controller.position.step, armed.boundary(session.controller.position))
        return expression.evaluate(armed.namespace, memory)

    return session.at_boundary(evaluate)


def all_known(session: Session, expression: Expression) -> bool:
    """Return whether all names in an expression have a value at this step."""
    armed = session.armed

    def look() -> bool:
        armed.renew()
        try:
            for name in expression.names:
                with suppress(StateError):  # a step that is complete has it
                    armed.namespace[name]
        except (KeyError, TdbError):
            return False
        return True

    return session.at_boundary(look)


def has_no_loss(session: Session) -> bool:
    """Return whether the loop has handed over nothing that is a loss in the last finished step."""
    position = session.controller.position
    return position.tick > 0 and number(position.loss) is None


def is_of_now(session: Session, record: Step) -> bool:
    """Return whether `record` is of the step at which training stands: it may have run on to its end without one."""
    return record.clock.tick == session.controller.position.tick


def data_names(session: Session, record: Step) -> list[str]:
    """Return the keys under which the step at which training stands has captured something."""
    return list(record.data) if is_of_now(session, record) else []


def step_data(session: Session, record: Step, key: str) -> Any:
    """Return what `record` holds under `key`, computing it if nobody has looked at it yet.

    Raises:
        UnknownKeyError: nothing was captured under `key`.
    """
    controller = session.controller
    of_another_step = record is not controller.record or key not in controller.list_step_data_keys()
    if key in record.data and of_another_step:  # after the last step nothing more was captured
        return record.data[key]
    return controller.get_step_data(key)


def shapes_of(session: Session, names: Iterable[str]) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Return the shapes of names that have a value in this step, and a note on each of the others.

    Before the first step nothing can be said of any but those that are nearly known ones.
    """
    names = list(names)
    if set(names) <= ALWAYS_KNOWN:
        return {}, {}
    namespace = session.armed.namespace
    if session.controller.position.tick == 0:
        foreseen = namespace.foreseen()
        unseen = [name for name in names if name.partition(".")[0] not in foreseen]
        return {}, {name: _unknown(name, foreseen) for name in unseen if did_you_mean(name, foreseen)}

    def ask() -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
        session.armed.renew()
        shapes: dict[str, tuple[int, ...]] = {}
        missing = []
        for name in names:
            try:
                shapes[name] = np.shape(namespace[name])
            except StateError:
                continue  # a step that is complete has it
            except NoNumberError:
                raise
            except (KeyError, TdbError):
                missing.append(name)
        known = list(dict.fromkeys([*namespace, *namespace.variables])) if missing else []
        return shapes, {name: _unknown(name, known) for name in missing}

    return session.at_boundary(ask)


def trained_model(session: Session) -> nn.Module:
    """Return the model that is trained.

    Raises:
        StateError: nobody has said which.
    """
    model = model_of(session.controller.target)
    if model is None:
        if session.status == READY and session.run is not None:
            raise StateError("no model is known", "It is once training has begun: `start`")
        raise StateError("no model is known", "The script tells it: `tdb.attach(model, optimizer)`")
    return model


def _unknown(name: str, known: Sequence[str]) -> str:
    if name in known:
        return f"{name} has no value in this step"
    near = did_you_mean(name, known)
    return f"no metric, key or variable {name!r}{f'. {near}' if near else ''}"
