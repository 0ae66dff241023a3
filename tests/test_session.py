"""What commands ask of training."""

from __future__ import annotations

import pytest

from tdb.commands import all_commands
from tdb.controller import DebugController
from tdb.errors import StateError
from tdb.session import Session
from tests.conftest import Loop


def test_what_is_asked_while_a_script_loads_is_answered_where_training_stops_before_its_first_step(
    controller: DebugController,
) -> None:
    session = Session(controller, all_commands())
    controller.gate.stop_at_begin()
    # The loop begins once the main thread does something for it: it has asked by then, and waits.
    controller.when_begins(lambda: session.main_thread.call(lambda: None))
    loop = Loop(controller, 3, begin=True).start(announced=True)
    assert session.ask(lambda: "known already", of_a_step=False) == "known already"
    with pytest.raises(StateError, match="no step has been taken yet"):
        session.ask(lambda: "of a step")
    assert loop.taken == []


def test_where_no_loop_is_known_a_look_at_a_step_says_what_makes_it_known() -> None:
    session = Session(DebugController(), all_commands())  # as at a `tdb.set_trace()` of a plain run
    with pytest.raises(StateError, match=r"no step has been taken yet: tdb.attach\(model, optimizer\) tells of the"):
        session.record()
