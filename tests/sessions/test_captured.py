"""At a stop point that needed no capture there is all that a captured step has: the step is taken again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tdb.errors import NotCapturedError
from tdb.results import Result
from tdb.travel.captured import answered
from tests.conftest import PATIENCE
from tests.travel.training import Prompt, undisturbed
from tests.typing_session import TypingSession

GOAL = 17


def ask(prompt: Prompt, name: str, *arguments: Any, **words: Any) -> Result:
    return answered(prompt.session, partial(prompt.do, name, *arguments, **words))


def seen(prompt: Prompt) -> list[Any]:
    """Return what only a captured step has."""
    tables = ask(prompt, "layers").data["layers"], ask(prompt, "metrics", "update_norm", "activation_std").data["table"]
    columns = [[list(map(repr, column)) for column in table.columns.values()] for table in tables]
    vectors = ask(prompt, "force", "3").data["vectors"]["3"]
    return [*columns, {name: vector.tolist() for name, vector in vectors.items()}]


def test_all_is_there_where_a_condition_on_a_rules_metric_stops() -> None:
    digests = undisturbed("bcl-slow")
    prompt = Prompt("bcl-slow")
    try:
        prompt.do("until", str(GOAL))
        expected = seen(prompt)
    finally:
        prompt.close()
    prompt = Prompt("bcl-slow")
    try:
        prompt.do("break", f"when win_rate[3] < 2 and step == {GOAL}")
        prompt.do("continue")
        assert prompt.step == GOAL
        with pytest.raises(NotCapturedError):
            prompt.do("force", "3")
        before = prompt.session.state()
        note = ask(prompt, "force", "3").notes[-1]
        assert note.startswith(f"step {GOAL} was taken again to capture it; in place: ")
        assert note.endswith("as before, bit for bit")
        assert seen(prompt) == expected

        assert prompt.session.state() == before  # the same stop, for the same reason
        assert [hit.number for hit in prompt.session.hits()] == [1]
        assert [point.hits for point in prompt.session.armed.points] == [1]
        assert not ask(prompt, "force").notes  # once
        assert prompt.digest() == digests[GOAL]
        prompt.controller.resume()
        assert prompt.controller.wait(PATIENCE) == "finished"
        assert prompt.digest() == digests[max(digests)]
    finally:
        prompt.close()


SCRIPT = """
    import torch
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(12):
        loss = model(torch.ones(8, 4)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""


def test_a_script_says_what_to_type_or_captures_as_it_is_told(make_session: Callable[..., TypingSession]) -> None:
    make_session(SCRIPT).play("""
        (tdb) break while loss < 100, step > 3
        Breakpoint 1, while loss < 100, step > 3
        (tdb) continue
        Breakpoint 1 at step 4: loss = ...
        > step 4 ...
        (tdb) force 1
        *** the weight before this step was not captured: `goto 4` takes it again and captures it; `set capture...` ...
        (tdb) metrics update_norm
        *** update_norm of this step was not captured: `goto 4` takes it again and captures it; ...
        (tdb) metrics
        ...
        this step was not captured, and so not all is known of it: `goto 4` takes it again and captures it; ...
        (tdb) set capture.at_stops on
        capture.at_stops on
        (tdb) condition 1 step > 7
        Breakpoint 1, while loss < 100, step > 7
        (tdb) continue
        Breakpoint 1 at step 8: loss = ...
        > step 8 ...
        (tdb) force 1
        feature_id ...
        (tdb) layers
        module ...  update ...
        Linear ...
        1 of 1 module
    """)
