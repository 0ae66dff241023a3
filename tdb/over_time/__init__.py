"""Questions over time, answered from history and trajectories: pure functions, results out.

curves.py       loss, metrics, trajectories and pairs as lines over steps; smoothing
sparklines.py   the same lines as text
features.py     one metric of all features over time: counts, inequality, heatmap
find.py         the steps at which a condition held
"""

from tdb.over_time.curves import (
    curves_table,
    loss_curve,
    pair_curves,
    pair_matrix,
    trailing_mean,
    trajectory_curves,
)
from tdb.over_time.features import feature_summary, gini, heat, summary_page, top_share
from tdb.over_time.find import find, nothing_recorded, recorded
from tdb.over_time.sparklines import sparkline, sparkline_table

__all__ = [
    "curves_table",
    "feature_summary",
    "find",
    "gini",
    "heat",
    "loss_curve",
    "nothing_recorded",
    "pair_curves",
    "pair_matrix",
    "recorded",
    "sparkline",
    "sparkline_table",
    "summary_page",
    "top_share",
    "trailing_mean",
    "trajectory_curves",
]
