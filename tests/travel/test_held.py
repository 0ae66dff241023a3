"""What a state is taken apart into stays as it is, whatever becomes of the state; what cannot change is not copied."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tdb.travel.held import Held, put_together, taken_apart
from tdb.travel.slots import Path, Slots


@dataclass(frozen=True)
class Line:
    epoch: int
    loss: float
    words: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Number:
    epoch: int
    loss: float


def test_a_log_of_frozen_lines_is_kept_as_it_is_and_what_can_change_is_copied() -> None:
    numbers, lines = [Number(at, at / 2) for at in range(4)], [Line(at, at / 2, ["so"]) for at in range(4)]
    state = {"numbers": numbers, "told": tuple(numbers), "lines": lines, "mixed": [numbers[0], [1], torch.ones(2)]}
    tensors: dict[Path, Tensor] = {}
    kept: Any = taken_apart(state, ("part", "loop"), tensors)
    numbers.append(Number(9, 9.0))
    lines[0].words.append("changed")
    state["mixed"][1].append(2)  # type: ignore[union-attr]
    assert kept["numbers"] == list(kept["told"]) == [Number(at, at / 2) for at in range(4)]
    assert all(one is other for one, other in zip(kept["numbers"], numbers, strict=False))
    assert kept["lines"][0] == Line(0, 0.0, ["so"])
    assert kept["mixed"] == [Number(0, 0.0), [1], Held(("part", "loop", "mixed", 2))]
    back = put_together(kept, Slots().copy(tensors, {}))
    assert back["lines"] == [Line(at, at / 2, ["so"]) for at in range(4)]
    assert torch.equal(back["mixed"][2], torch.ones(2))


def test_what_was_kept_as_it_is_is_not_looked_at_again_and_what_can_change_still_is_copied() -> None:
    """The second copy of a state, told of the first: a log goes on, and a list in a tuple changes under its hands."""
    log, numbers, inner = (Number(0, 0.5), Number(1, 0.25)), (1, 2, 3), [1]
    state: dict[str, Any] = {"log": log, "numbers": numbers, "mixed": (inner, 5), "lists": [inner], "set": {1}}
    first: Any = taken_apart(state, ("part", "loop"), {})
    assert first["log"] is log
    assert first["numbers"] is numbers
    inner.append(2)
    state["set"].add(2)
    longer = state["log"] = (*log, Number(2, 0.125))
    second: Any = taken_apart(state, ("part", "loop"), {}, first)
    assert second["log"] is longer
    assert second["numbers"] is numbers
    assert (first["mixed"], second["mixed"]) == (([1], 5), ([1, 2], 5))
    assert (first["lists"], second["lists"]) == ([[1]], [[1, 2]])
    assert (first["set"], second["set"]) == ({1}, {1, 2})


def test_a_log_that_is_another_one_or_takes_up_what_can_change_is_copied() -> None:
    lines, log = [Line(0, 0.0, ["so"])], [Number(0, 0.5)]
    first: Any = taken_apart({"log": log}, (), {})
    log.append(lines[0])  # type: ignore[arg-type]
    second: Any = taken_apart({"log": log}, (), {}, first)
    lines[0].words.append("changed")
    assert second["log"] == [Number(0, 0.5), Line(0, 0.0, ["so"])]
    third: Any = taken_apart({"log": [torch.ones(1)]}, (), {}, second)
    assert third["log"] == [Held(("log", 0))]
    assert taken_apart({"log": []}, (), {}, third)["log"] == []
