"""Two branches side by side, against a loop over their steps."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tdb.travel.compare import pair_of

VALUES = st.sampled_from([0.0, -0.0, 1.0, 2.5, math.nan])
BRANCH = st.dictionaries(st.integers(1, 12), st.lists(VALUES, min_size=2, max_size=2))


def column(branch: dict[int, list[float]]) -> tuple[np.ndarray, np.ndarray]:
    steps = sorted(branch)
    return np.array(steps, np.int64), np.array([branch[step] for step in steps]).reshape(len(steps), 2)


@given(BRANCH, BRANCH)
def test_the_first_difference_and_the_common_steps(one: dict[int, list[float]], other: dict[int, list[float]]) -> None:
    pair = pair_of("win_rate", ("main", "fork-1"), [column(one), column(other)])
    common = [step for step in sorted(one) if step in other]
    differing = [step for step in common if repr(one[step]) != repr(other[step])]
    assert pair.steps.tolist() == common
    assert pair.first == (differing[0] if differing else None)
    means = [[sum(branch[step]) / 2 for step in common] for branch in (one, other)]
    assert np.array_equal(pair.values, np.array(means).reshape(2, len(common)), equal_nan=True)
    assert pair.sentence().startswith("win_rate: main and fork-1 ")
    assert len(pair.table().columns["step"]) <= len(common)


def test_the_figure_begins_a_little_before_the_fork() -> None:
    steps = np.arange(1, 101)
    branches = [(steps, steps / 2.0), (steps, np.where(steps > 60, 0, steps / 2.0))]
    pair = pair_of("loss", ("main", "fork-1"), branches, [60])
    for name, (_, values) in zip(("main", "fork-1"), branches, strict=True):
        drawn, of_branch = pair.curves().lines[name]
        assert drawn.tolist() == list(range(56, 101))
        assert of_branch.tolist() == values[55:].tolist()
