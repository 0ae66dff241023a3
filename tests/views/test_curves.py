"""Thinning a line keeps every spike and every gap; against the line itself."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tdb.results import Curves
from tdb.views import draw
from tdb.views.curves import line_look, look_of, thin, within
from tdb.views.theme import STATUS

VALUES = arrays.arrays(
    np.float64, st.integers(1, 400), elements=st.floats(-100, 100) | st.sampled_from([np.nan, np.inf, -np.inf])
)


@given(VALUES, st.integers(1, 20))
def test_every_part_of_a_thinned_line_keeps_its_extremes_and_its_gap(values: np.ndarray, buckets: int) -> None:
    steps = np.arange(1000, 1000 + len(values))
    kept_steps, kept = thin(steps, values, buckets)
    at = kept_steps - 1000
    np.testing.assert_array_equal(kept, values[at])
    assert (np.diff(at) > 0).all()
    assert (at[0], at[-1]) == (0, len(values) - 1)
    if len(values) <= 5 * buckets:
        assert len(kept) == len(values)
        return
    assert len(kept) <= 5 * buckets
    width = -(-len(values) // buckets)
    for start in range(0, len(values), width):
        part, shown = values[start : start + width], kept[(at >= start) & (at < start + width)]
        finite, seen = part[np.isfinite(part)], shown[np.isfinite(shown)]
        if len(finite):
            assert (seen.min(), seen.max()) == (finite.min(), finite.max())
        assert np.isfinite(part).all() == np.isfinite(shown).all()


def test_a_spike_among_a_million_points_is_drawn() -> None:
    values = np.zeros(1_000_000)
    values[123_456], values[765_432], values[500_000] = 20.0, -30.0, np.nan
    (line,) = draw(Curves({"loss": (np.arange(1_000_000), values)}, "loss")).axes[0].get_lines()
    x, y = line.get_xdata(), line.get_ydata()
    assert len(x) <= 5000
    assert (x[np.nanargmax(y)], x[np.nanargmin(y)]) == (123_456, 765_432)
    assert x[np.isnan(y)].tolist() == [500_000]


def test_forty_lines_look_different() -> None:
    assert len({look_of(number) for number in range(40)}) == 40


def test_a_range_of_steps_is_cut_out_of_every_line() -> None:
    picture = Curves(
        {"a": (np.array([1, 5, 9]), np.array([1.0, 2.0, 3.0])), "b": (np.array([7]), np.array([4.0]))}, "y"
    )
    inside = within(picture, 4.5, 8).lines
    assert {label: (steps.tolist(), values.tolist()) for label, (steps, values) in inside.items()} == {
        "a": ([5], [2.0]),
        "b": ([7], [4.0]),
    }


def test_a_status_looks_in_a_chart_as_it_does_in_a_table() -> None:
    steps = np.arange(3)
    picture = Curves(dict.fromkeys(("dead", "winner", "loss"), (steps, steps)), "features")
    looks = [line_look(picture, word, order)[0] for order, word in enumerate(picture.lines)]
    assert looks == [STATUS["dead"].color, STATUS["winner"].color, look_of(2)[0]]
