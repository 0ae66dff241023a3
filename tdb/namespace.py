"""What expressions see of one finished step: numbers and numpy arrays by name, computed only when asked for.

    step epoch loss                  of the step
    win_rate weight_norm ...         metrics of the focus layer: the rule's own, then those that every layer has
    dead contender winner            [D] which features are, by the status metric
    feature_id                       [D] the features' numbers
    bcl_metrics.win_rate             step data by key, with an entry of it after a dot
    weights grad combined ...        sources of the focus layer, [D, F]
    accuracy self.meter.average      variables of the loop, where it waits; what is named above comes first
    loop.grad_norm                   the loop's variable, whatever else has its name

Used in the training thread only, between two steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tdb.captures import number
from tdb.errors import TdbError
from tdb.features import panel_of, status_rule_of
from tdb.generic_metrics import GENERIC_METRICS
from tdb.loop_variables import LoopVariables
from tdb.queries import array_of
from tdb.sources import sources_of
from tdb.step import Position, not_yet

if TYPE_CHECKING:
    from tdb.controller import DebugController
    from tdb.panel import Panel

STATUS_WORDS = ("dead", "contender", "winner")
OF_THE_STEP = ("step", "epoch", "loss")
OF_THE_LOOP = "loop."
# What a step can only tell if it was captured from its start.
NEEDS_CAPTURE = frozenset(
    {
        "grad_norm",
        "update_norm",
        "update_ratio",
        "descent_cos",
        "mean_activation",
        "activation_std",
        "active_fraction",
        "grad",
        "grad_delta",
        "combined",
    }
)

Getter = Callable[[], Any]


class Values(dict[str, Any]):
    """Values by name, found when they are first asked for; at every boundary of an armed run, so by the shortest way.

    Raises KeyError for a name that has no value in this step.
    """

    def __init__(self, find: Callable[[str], tuple[Getter, Any]]) -> None:
        super().__init__()
        self.getters: dict[str, Getter] = {}  # what has found them before, by name
        self._find = find

    def __missing__(self, name: str) -> Any:
        getter = self.getters.get(name)
        if getter is not None:
            try:
                value = self[name] = getter()
                return value
            except LookupError:
                del self.getters[name]
        self.getters[name], value = self._find(name)
        self[name] = value
        return value


class StepNamespace(Mapping[str, Any]):
    """Names of the step that has just ended; `renew` says that another one has.

    Args:
        controller: whose step it is.
        thresholds: gives "dead" and "winner" where the user has set them.
        scopes: gives where variables of the loop are looked for now, the innermost first.

    Attributes:
        found: the same values, asked for without detours.
        variables: those of the loop.
    """

    def __init__(
        self,
        controller: DebugController,
        thresholds: Callable[[], Mapping[str, float]],
        scopes: Callable[[], Iterable[Mapping[str, Any]]],
    ) -> None:
        self.variables = LoopVariables(scopes)
        self._captured: set[str] = set()  # names of step data that there was
        self._controller = controller
        self._thresholds = thresholds
        self._focus, self._declared = controller.layer, controller.panels
        self.found = Values(self._find)
        self._layer = ""
        self._panels = 0
        self._generic: Mapping[str, Any] | None = None
        self._of_rule: Mapping[str, Any] | None = None

    def renew(self) -> None:
        """Forget the values: another step has ended, or something in this one has changed."""
        self.found.clear()
        self._generic = self._of_rule = None
        inside = not self._controller.progress.complete  # what had a value at the boundary may have none yet
        if inside or self._focus.name != self._layer or len(self._declared) != self._panels:
            self._layer, self._panels = self._focus.name, len(self._declared)
            self.found.getters.clear()

    def __getitem__(self, name: str) -> Any:
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        """Name everything that has a value now; entries of step data that nobody has computed yet are left out."""
        controller, panel = self._controller, panel_of(self._controller)
        names = [*OF_THE_STEP]
        if controller.layer.info is not None:
            names += self._metrics_of_rule(panel) if panel is not None and controller.progress.has_output else ()
            names += [*self._metrics_of_layer(), "feature_id", *STATUS_WORDS, *sources_of(controller)]
        for key, data in controller.record.data.items():
            names += [f"{key}.{entry}" for entry in data] if isinstance(data, Mapping) else [key]
        return iter(dict.fromkeys(names))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def foreseen(self) -> list[str]:
        """Name what is known to have a value once a step is complete, if anything is known of the layer already.

        Entries of step data are left out, and what only the loop will capture.
        """
        controller, panel = self._controller, panel_of(self._controller)
        if controller.layer.info is None:
            return []
        of_rule = (*panel.columns, *panel.step_data) if panel is not None else ()
        return [*OF_THE_STEP, *of_rule, *GENERIC_METRICS, "feature_id", *STATUS_WORDS, *sources_of(controller)]

    def needs_capture(self, names: frozenset[str]) -> bool:
        """Return whether one of the names has a value only in a step that is captured from its start."""
        if names & NEEDS_CAPTURE:
            return True
        return bool(names.intersection(STATUS_WORDS)) and self._status_metric() in NEEDS_CAPTURE

    # ---- finding ---------------------------------------------------------------------------------------------------

    def _find(self, name: str) -> tuple[Getter, Any]:
        """Return what gives the value of a name, and the value; the first that has one wins.

        Raises:
            KeyError: nothing of this name has a value in this step.
            StateError: the step under way has not come to it.
        """
        if name.startswith(OF_THE_LOOP):
            of_loop = partial(self.variables.value, name.removeprefix(OF_THE_LOOP))
            return of_loop, of_loop()
        for getter in self._candidates(name):
            try:
                return getter, getter()
            except (LookupError, TdbError):  # not in this step: no gradient, no focus layer, not captured
                continue
        progress = self._controller.progress
        if self._is_of_tdb(name):
            if not progress.complete and (name not in OF_THE_STEP or self._had(name)):
                raise not_yet(name, progress)
            raise KeyError(name)
        if name in self._captured:  # in other steps: what a variable of this name holds now may be of one of those
            raise KeyError(name)
        variable = partial(self.variables.value, name)
        return variable, variable()

    def _is_of_tdb(self, name: str) -> bool:
        """Return whether a name, if it has a value, is no variable of the loop."""
        panel = panel_of(self._controller)
        of_rule = panel is not None and (name in panel.columns or name in panel.sources)
        known = name in OF_THE_STEP or name in GENERIC_METRICS or name in STATUS_WORDS or name == "feature_id"
        return of_rule or known or name in sources_of(self._controller)

    def _had(self, name: str) -> bool:
        return getattr(self._controller.position, name) is not None

    def _candidates(self, name: str) -> Iterator[Getter]:
        controller = self._controller
        if name in OF_THE_STEP:
            yield partial(self._of_the_step, name)
        if controller.layer.info is not None:
            panel = panel_of(controller)
            if panel is not None and controller.progress.has_output:
                yield self._rule_getter(panel, name)
            if name in GENERIC_METRICS:
                yield lambda: plain(self._metrics_of_layer()[name])
            if name in STATUS_WORDS:
                yield partial(self._status, name)
            if name == "feature_id":
                yield partial(self._feature_ids)
        key, _, entry = name.partition(".")
        if controller.has_step_data(key):
            yield partial(self._step_data, key, entry)
        if "." not in name and controller.has_step_data("losses"):
            yield partial(self._step_data, "losses", name)  # as the script names them
        if controller.layer.info is not None and "." not in name:
            sources = sources_of(controller)
            if name in sources:
                yield lambda: plain(sources_of(controller)[name]())

    def _of_the_step(self, name: str) -> Any:
        controller = self._controller
        record = controller.record
        where = Position(0, record.clock.step, record.epoch, record.loss)
        position = controller.position
        if controller.is_inside and record.clock.tick == position.tick:  # an older record is of the inside of another
            position = where
        value = number(position.loss) if name == "loss" else getattr(position, name)
        if value is None:
            raise KeyError(name)
        return np.float64(value) if name == "loss" else value

    def _rule_getter(self, panel: Panel, name: str) -> Getter:
        """Return what asks a rule for one metric; a rule that takes names computes no other."""
        metrics, names = panel.metrics, (name,)
        if panel.takes_names:
            return lambda: plain(metrics(names=names)[name])

        def get() -> Any:
            found = self._of_rule
            if found is None:
                found = self._of_rule = metrics()
            return plain(found[name])

        return get

    def _metrics_of_rule(self, panel: Panel) -> Mapping[str, Any]:
        if self._of_rule is None:
            self._of_rule = panel.metrics()
        return self._of_rule

    def _metrics_of_layer(self) -> Mapping[str, Any]:
        if self._generic is None:
            self._generic = self._controller.layer.metrics()
        return self._generic

    def _status_metric(self) -> str:
        return status_rule_of(self._controller).metric

    def _status(self, word: str) -> Any:
        rule = status_rule_of(self._controller).with_thresholds(self._thresholds())
        words = rule(self[rule.metric])
        return np.array([each == word for each in words], dtype=bool)

    def _feature_ids(self) -> Any:
        assert self._controller.layer.info is not None
        return np.arange(self._controller.layer.info.features)

    def _step_data(self, key: str, entry: str) -> Any:
        if not self._controller.has_step_data(key):
            raise KeyError(key)
        first, *deeper = entry.split(".")
        controller = self._controller
        value = controller.get_step_data_entry(key, first) if first else controller.get_step_data(key)
        for part in deeper:
            if not isinstance(value, Mapping):
                raise KeyError(part)
            value = value[part]
        found = plain(value)
        self._captured.add(entry if key == "losses" else ".".join(filter(None, (key, entry))))
        return found


def plain(value: Any) -> Any:
    """Return a tensor or array as a numpy array, a single number as a number; KeyError if it is neither."""
    try:
        array = value.numpy()  # the quick way: a tensor on the host that needs no gradient
    except (AttributeError, RuntimeError, TypeError):
        array = array_of(value)
    if array.dtype.kind not in "fiubc":
        raise KeyError("no number")
    return array[()] if array.ndim == 0 else array
