"""Points: labels that cover nothing, and the point that a click means."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from tdb.results import Scatter
from tdb.views import draw
from tdb.views.scatter import nearest_id


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 150), st.booleans())
def test_labels_cover_neither_points_nor_one_another(seed: int, count: int, log: bool) -> None:
    random = np.random.default_rng(seed)
    x, y = np.exp(random.normal(size=(2, count)))
    figure = draw(Scatter(x, y, "x", "y", np.arange(count), log=log))
    FigureCanvasAgg(figure).draw()
    axes = figure.axes[0]
    points = axes.transData.transform(np.column_stack([x, y]))
    boxes = {int(text.get_text()): text.get_window_extent() for text in axes.texts}
    assert boxes
    for name, box in boxes.items():
        covered = (points > box.min + 1).all(axis=1) & (points < box.max - 1).all(axis=1)
        assert not covered.any()
        nearest = np.clip(points[name], box.min, box.max)
        assert np.hypot(*(nearest - points[name])) < 15, "a label stands beside its own point"
    for one, other in combinations(boxes.values(), 2):
        shared = Bbox.intersection(one, other)
        assert shared is None or min(shared.width, shared.height) < 1


def test_a_click_means_the_nearest_point_that_is_shown() -> None:
    picture = Scatter(np.array([1.0, 2.0, np.nan, 3.0]), np.array([1.0, 4.0, 2.0, 9.0]), "x", "y", [10, 20, 30, 40])
    axes = draw(picture).axes[0]
    x, y = axes.transData.transform((2.0, 4.0))
    assert nearest_id(picture, axes, x + 5, y - 5) == 20
    assert nearest_id(picture, axes, x + 80, y) is None
