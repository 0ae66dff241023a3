"""Functions that are called when a gradient scaler has made a larger loss of one: they come and go in any order."""

from __future__ import annotations

import pytest
import torch

from tdb.handle import Handle
from tdb.loss_scaling import after_scaling


def test_all_are_told_of_the_loss_and_of_what_was_made_of_it_in_the_order_in_which_they_came() -> None:
    seen: list[tuple[str, float, float]] = []
    handles = [
        after_scaling(lambda loss, scaled: seen.append(("first", loss.item(), scaled.item()))),
        after_scaling(lambda loss, scaled: seen.append(("second", loss.item(), scaled.item()))),
    ]
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    assert scaler.scale(torch.tensor(2.0)).item() == 16.0
    assert seen == [("first", 2.0, 16.0), ("second", 2.0, 16.0)]
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("first", [0, 1])
def test_whoever_goes_first_torch_is_left_as_it_was(first: int) -> None:
    plain = torch.amp.GradScaler.scale
    handles: list[Handle] = [after_scaling(lambda *_: None), after_scaling(lambda *_: None)]
    handles.pop(first).remove()
    assert torch.amp.GradScaler.scale is not plain
    handles.pop().remove()
    assert torch.amp.GradScaler.scale is plain
