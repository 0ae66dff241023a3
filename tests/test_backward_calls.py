"""Who is told of backward passes, and what `torch.autograd.backward` takes meanwhile."""

from __future__ import annotations

import inspect
from contextlib import ExitStack
from typing import Any

import pytest
import torch

from tdb.backward_calls import around_backward


@pytest.mark.skipif(
    not hasattr(torch._C._dynamo.eval_frame, "set_code_exec_strategy"), reason="an older torch wraps it, and hides that"
)
def test_it_takes_what_torch_takes() -> None:
    plain = inspect.signature(torch.autograd.backward)
    with ExitStack() as stack:
        stack.callback(around_backward(lambda *_: False, lambda: None).remove)
        taken = inspect.signature(torch.autograd.backward, follow_wrapped=False)
    assert list(taken.parameters) == list(plain.parameters)
    assert [each.default for each in taken.parameters.values()] == [each.default for each in plain.parameters.values()]


def test_what_torch_has_given_up_is_handed_on() -> None:
    weight = torch.ones(3, requires_grad=True)
    with ExitStack() as stack:
        stack.callback(around_backward(lambda *_: False, lambda: None).remove)
        with pytest.warns(match="grad_variables"):
            torch.autograd.backward(weight * 2, grad_variables=torch.tensor([1.0, 2.0, 3.0]))
        torch.autograd.backward([weight * 2], [torch.ones(3)], None, False, None, [weight])
    assert weight.grad is not None
    assert weight.grad.tolist() == [4.0, 6.0, 8.0]


def test_who_is_alone_is_asked_first() -> None:
    told: list[str] = []

    def before(name: str) -> Any:
        return lambda *_: told.append(f"before {name}") or True

    def alone(roots: Any, gradients: Any) -> bool:
        assert gradients is None
        told.append("alone")
        return bool(roots > 0)

    weight = torch.ones(1, requires_grad=True)
    with ExitStack() as stack:
        stack.callback(around_backward(before("one"), lambda: told.append("after one"), alone).remove)
        weight.sum().backward()
        (-weight).sum().backward()  # it says that this was not all
        other = around_backward(before("other"), lambda: told.append("after other"))
        weight.sum().backward()
        other.remove()
        weight.sum().backward()
    weight.sum().backward()
    assert " | ".join(told) == (
        "alone | alone | before one | after one | before one | before other | after one | after other | alone"
    )
