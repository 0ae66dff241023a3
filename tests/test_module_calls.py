"""Functions that are called around modules' calls: they come and go at any time, and modules do not know of them."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import nn

from tdb.handle import Handle
from tdb.module_calls import after_calls, before_calls


class Wide(nn.Linear):
    """A class of the script's own that inherits its call."""


class Calling(nn.Module):
    """One that has a call of its own."""

    def __call__(self, x: float) -> float:
        return 2 * x


@pytest.fixture
def seen() -> list[str]:
    return []


def test_those_of_the_class_itself_are_told_before_and_after_in_the_order_in_which_they_came(seen: list[str]) -> None:
    model = nn.Sequential(nn.Linear(3, 3), Wide(3, 3), nn.ReLU())
    handles = [
        before_calls(nn.Linear, lambda _, args, kwargs: seen.append(f"before {len(args)} {len(kwargs)}")),
        after_calls(nn.Linear, lambda _, output: seen.append(f"after {list(output.shape)}")),
        after_calls(nn.Linear, lambda *_: seen.append("last")),
        after_calls(Wide, lambda *_: seen.append("wide")),
    ]
    model(torch.zeros(2, 3))
    model[0](input=torch.zeros(3))
    assert seen == ["before 1 0", "after [2, 3]", "last", "wide", "before 0 1", "after [3]", "last"]
    for handle in handles:
        handle.remove()
    assert "__call__" not in vars(nn.Linear)
    assert "__call__" not in vars(Wide)


def test_they_come_and_go_from_within_a_call(seen: list[str]) -> None:
    layer, handles = nn.Linear(3, 3), list[Handle]()

    def once(*_: Any) -> None:
        seen.append("once")
        handles.pop().remove()
        handles.append(before_calls(nn.Linear, lambda *_: seen.append("from then on")))

    handles.append(after_calls(nn.Linear, once))
    for _ in range(3):
        layer(torch.zeros(3))
    assert seen == ["once", "from then on", "from then on"]
    handles.pop().remove()
    layer(torch.zeros(3))
    assert len(seen) == 3
    assert "__call__" not in vars(nn.Linear)


def test_a_call_of_its_own_is_put_back_and_one_that_raises_has_no_after(seen: list[str]) -> None:
    plain = Calling.__call__
    handle = after_calls(Calling, lambda _, output: seen.append(f"{output}"))
    assert Calling()(3) == 6
    with pytest.raises(TypeError):
        Calling()()  # type: ignore[call-arg]
    assert seen == ["6"]
    handle.remove()
    assert Calling.__call__ is plain


def test_what_others_make_of_a_module_is_what_they_make_without(seen: list[str]) -> None:
    model, x = nn.Sequential(nn.Linear(3, 3), nn.ReLU()), torch.randn(2, 3)

    def made() -> list[Any]:
        saved = io.BytesIO()
        torch.save(model, saved)
        traced, scripted = torch.fx.symbolic_trace(model), torch.jit.script(model)
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        outputs = [each(x).tolist() for each in (traced, scripted, compiled)]
        assert b"tdb" not in saved.getvalue()
        return [traced.code, scripted.code, *outputs]

    without = made()
    torch._dynamo.reset()
    handle = after_calls(nn.Linear, lambda _, output: seen.append(type(output).__name__))
    try:
        assert made() == without
    finally:
        handle.remove()
