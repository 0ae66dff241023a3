"""Python at the prompt, in a frame or without one: what it sees, what it assigns, and what of that lasts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import pytest

from tdb.errors import TdbError
from tdb.prompt_python import PromptNamespace

RATE = 0.5


def in_a_function(look: Callable[[FrameType], object]) -> Mapping[str, Any]:
    """Let `look` have the frame of a running function; return its variables afterwards."""
    loss, batch = 2.0, [1, 2, 3]
    look(sys._getframe())
    return {"loss": loss, "batch": batch}


def test_variables_of_the_frame_are_seen_and_assigned() -> None:
    names = PromptNamespace()

    def look(frame: FrameType) -> None:
        assert names.run("[loss * each for each in batch]", frame, {}, {}) == [2.0, 4.0, 6.0]
        assert names.run("loss = RATE", frame, {}, {}) is None

    assert in_a_function(look) == {"loss": 0.5, "batch": [1, 2, 3]}
    assert (names.made, names.take_notices()) == ({}, [])


def test_a_name_that_is_made_at_the_prompt_stays_there() -> None:
    names = PromptNamespace()

    def look(frame: FrameType) -> None:
        names.run("mine = loss + 1", frame, {}, {})
        assert names.run("mine", frame, {}, {}) == 3.0

    assert "mine" not in in_a_function(look)
    names.at_stop(1)
    assert names.run("mine", None, {}, {}) == 3.0


def test_a_name_that_hides_a_value_of_the_script_is_told_and_forgotten_at_the_next_stop() -> None:
    names = PromptNamespace()

    def look(frame: FrameType) -> None:
        names.run("RATE = 0.1", frame, {}, {})
        assert names.run("RATE", frame, {}, {}) == 0.1
        assert [text.partition(":")[0] for text in names.take_notices()] == [
            "RATE is no local variable of in_a_function"
        ]
        names.at_stop(1)
        assert names.run("RATE", frame, {}, {}) == RATE

    in_a_function(look)


def test_what_is_assigned_in_a_frame_that_is_over_is_told() -> None:
    names = PromptNamespace()
    in_a_function(lambda frame: names.run("loss = 0", frame, {}, {}, lasting=False))
    assert names.take_notices() == ["loss is assigned, but in_a_function will not run on: training is over"]


def test_without_a_frame_the_names_of_the_script_are_seen() -> None:
    assert PromptNamespace().run("width * 2", None, {"width": 8}, {}) == 16


def test_convenience_values() -> None:
    names = PromptNamespace()
    assert names.run("$_step + $_", None, {}, {"step": 7, "": 1}) == 8
    with pytest.raises(TdbError, match=r"no value \$_stop") as caught:
        names.run("$_stop", None, {}, {"step": 7})
    assert caught.value.hint == "There are $_step"


@pytest.mark.parametrize(("text", "said"), [("1 / 0", "division by zero"), ("exit()", "SystemExit"), ("a b", "syntax")])
def test_whatever_it_raises_is_one_line(text: str, said: str) -> None:
    with pytest.raises(TdbError, match=said) as caught:
        PromptNamespace().run(text, None, {}, {})
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("made = sum(loss * each for each in batch)", 12.0),
        ("made = [loss * each for each in batch]", [2.0, 4.0, 6.0]),
        ("count = 2; made = [count + each for each in batch]", [3, 4, 5]),
        ("made = [$_step for each in batch]", [7, 7, 7]),
        ("RATE = RATE * 2; made = max(RATE for each in batch)", 1.0),
        ("global made; made = [loss for each in batch]", [2.0, 2.0, 2.0]),
        ("loss = sum(loss for each in batch); made = loss", 6.0),
        ("class Scaled: by = loss\nmade = Scaled.by", 2.0),
    ],
)
def test_what_is_within_a_statement_sees_the_variables_of_the_frame(text: str, made: object) -> None:
    names = PromptNamespace()

    def look(frame: FrameType) -> None:
        names.run(text, frame, {}, {"step": 7})
        assert names.run("made", frame, {}, {}) == made

    assert in_a_function(look)["loss"] == (6.0 if text.startswith("loss") else 2.0)
    assert globals().pop("made", made) == made


def test_an_expression_reaches_the_script_s_own_names_and_not_a_copy_of_them() -> None:
    names = PromptNamespace()
    kept: list[Callable[[], object]] = []

    def look(frame: FrameType) -> None:
        names.made["kept"] = kept
        names.run("kept.append(lambda: (loss, RATE))", frame, {}, {})
        names.run("globals().update(RATE=10)", frame, {}, {})
        assert names.run("RATE", frame, {}, {}) == 10
        assert names.run("sorted(locals())", frame, {}, {}) == ["batch", "kept", "look", "loss"]

    try:
        in_a_function(look)
        assert kept[0]() == (2.0, 10)
    finally:
        globals()["RATE"] = 0.5


def test_a_name_of_the_script_counts_where_one_like_it_was_made_before() -> None:
    names = PromptNamespace()
    names.run("rate = 1", None, {}, {})
    module: dict[str, Any] = {"look": lambda: names.run("rate", sys._getframe(1), {}, {}), "rate": 2}
    exec("seen = look()", module)
    assert module["seen"] == 2
    assert names.run("rate, [rate for _ in range(1)]", None, module, {}) == (1, [1])


def test_a_function_that_is_typed_sees_the_variables_of_the_frame_and_the_script_s_names_as_they_will_be() -> None:
    names = PromptNamespace()

    def look(frame: FrameType) -> None:
        names.run("def scaled(): return loss * RATE", frame, {}, {})
        names.run("globals()['RATE'] = 10", frame, {}, {})
        assert names.run("scaled()", frame, {}, {}) == 20.0

    try:
        in_a_function(look)
    finally:
        globals()["RATE"] = 0.5


def module_of(frame: FrameType) -> FrameType:
    """Return the frame of the module that has led to `frame`."""
    while frame.f_code.co_name != "<module>":
        assert frame.f_back is not None
        frame = frame.f_back
    return frame


def test_a_module_whose_line_runs_a_comprehension_is_assigned_in_and_deleted_from() -> None:
    names = PromptNamespace()

    def take(batch: int) -> float:
        frame = module_of(sys._getframe())
        if batch == 1:
            names.run("rate = rate / 10; del unused; made = 3", frame, {}, {})
        return float(names.run("rate", frame, {}, {}))

    module: dict[str, Any] = {"take": take, "rate": 1.0, "unused": 0, "batch": "another"}
    exec("losses = [take(batch) for batch in range(3)]", module)
    assert module["losses"] == [1.0, 0.1, 0.1]
    assert names.take_notices() == []
    assert {name: module.get(name) for name in ("rate", "unused", "made", "batch")} == {
        "rate": 0.1,
        "unused": None,
        "made": 3,
        "batch": "another",
    }


def test_the_body_of_a_class_is_assigned_in() -> None:
    names = PromptNamespace()

    class Run:
        rate = 1.0
        names.run("rate = 0.5", sys._getframe(), {}, {})
        rates = rate, rate

    assert Run.rates == (0.5, 0.5)
