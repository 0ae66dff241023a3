"""What figures contain: arrays, colour limits, axes, words; and that no words overlap."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from tdb.results import Curves, Histogram, Images, Matrix, Page, Picture, Profiles, Scatter
from tdb.views import caption, draw
from tdb.views.canvas import DPI
from tdb.views.images import columns_for

RANDOM = np.random.default_rng(0)
WORDS = ["dead", "contender", "winner", "unknown"]


def drawn(picture: Picture) -> Figure:
    figure = draw(picture)
    FigureCanvasAgg(figure).draw()
    return figure


def texts_of(figure: Figure) -> list[Text]:
    """The texts that are drawn, which ticks out of view are not."""
    seen: list[Text] = []

    def draw_and_remember(text: Text, renderer: object, *rest: object) -> None:
        if text.get_visible() and text.get_text().strip():
            seen.append(text)
        original(text, renderer, *rest)

    original = Text.draw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", draw_and_remember)
        FigureCanvasAgg(figure).draw()
    return seen


def words_of(figure: Figure) -> list[str]:
    return [text.get_text().strip() for text in texts_of(figure)]


def main_axes(figure: Figure) -> Axes:
    return next(axes for axes in figure.axes if axes.get_label() != "colour bar")


def raster_of(figure: Figure) -> np.ndarray:
    return np.asarray(main_axes(figure).images[0].get_array())


def force_picture(ids: int) -> Images:
    images = RANDOM.normal(size=(4 * ids, 28, 28)) * np.repeat([1, 0.01, 0.002, 0.01], ids)[:, None, None]
    return Images(
        images,
        labels=[f"norm {np.linalg.norm(image):.4g}" for image in images],
        signed=True,
        columns=ids,
        rows=["weight", "grad delta", "SOM delta", "combined"],
        scales=[float(np.abs(row).max()) for row in np.split(images, 4)],
        title="forces on features",
        caption="cos(grad, SOM) -0.31",
    )


def scatter_picture(count: int = 64, *, log: bool = False, color: bool = True) -> Scatter:
    win_rate = RANDOM.random(count) ** 3
    return Scatter(
        win_rate**2,
        1 - win_rate + RANDOM.random(count) / 10,
        "grad_magnitude",
        "som_magnitude",
        np.arange(count),
        color=win_rate if color else None,
        color_name="win_rate" if color else "",
        status=[WORDS[at % 3] for at in range(count)],
        log=log,
        title="forces of step 418",
        caption="64 features",
    )


def curves_picture(lines: int = 5) -> Curves:
    steps = np.arange(1, 1021)
    names = {f"feature {13 * at}": 13 * at for at in range(lines)}
    return Curves(
        {name: (steps, np.cumsum(RANDOM.normal(size=1020))) for name in names},
        "win_rate",
        marks={20: "stop", 418: "breakpoint 1", 425: "stop", 900: "stop"},
        colors=names,
        title="win_rate of the watched features",
        caption="5 features over 1,020 steps",
    )


COSINES = Matrix(
    np.eye(64), title="weights", caption="mean 0", row_name="feature", column_name="feature", limits=(-1.0, 1.0)
)

ORDINARY = {
    "force of one": force_picture(1),
    "forces of three": force_picture(3),
    "digits": Images(RANDOM.random((128, 28, 28)), labels=["7"] * 128, title="batch of step 1", caption="128 images"),
    "cosines": COSINES,
    "two matrices": Page([COSINES, COSINES], title="cosines", caption="difference 0"),
    "small matrix": Matrix(RANDOM.normal(size=(5, 5)), row_ids=[0, 15, 31, 47, 63], column_ids=[0, 15, 31, 47, 63]),
    "tall matrix": Matrix(RANDOM.random((128, 64)), signed=False, title="bcl_tensors.rank_score"),
    "run": Matrix(RANDOM.random((64, 1020)), signed=False, column_name="step", column_ids=np.arange(1, 1021)),
    "scatter": scatter_picture(),
    "many points": scatter_picture(2000, color=False),
    "log scatter": scatter_picture(log=True),
    "curves": curves_picture(),
    "40 curves": curves_picture(40),
    "log curve": Curves({"loss": (np.arange(500), np.exp(-np.arange(500) / 100))}, "loss", log=True, title="loss"),
    "histogram": Histogram(RANDOM.normal(size=5000), "encoder.0.weight", title="encoder.0.weight"),
    "profiles": Profiles(RANDOM.normal(size=(4, 64)), ["weight", "grad\n|0.1|", "SOM", "combined"], title="forces"),
    "page": Page([force_picture(1), curves_picture(), COSINES, scatter_picture()], title="all of it"),
    "long words": Matrix(np.eye(3), title="a very long title " * 8, caption="and a longer caption " * 12),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_no_words_overlap_and_all_are_inside_the_figure(name: str) -> None:
    figure = draw(ORDINARY[name])
    width, height = figure.get_size_inches() * DPI
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts_of(figure)]
    for words, box in boxes:
        assert box.x0 >= -1, words
        assert box.y0 >= -1, words
        assert box.x1 <= width + 1, words
        assert box.y1 <= height + 1, words
    for (one, box), (other, second) in combinations(boxes, 2):
        shared = Bbox.intersection(box, second)
        assert shared is None or min(shared.width, shared.height) <= 1.5, f"{one} over {other}"


@pytest.mark.parametrize("name", ORDINARY)
def test_figures_have_a_sensible_size(name: str) -> None:
    width, height = draw(ORDINARY[name]).get_size_inches()
    assert 3 <= width <= 18
    assert 1 <= height <= (17 if isinstance(ORDINARY[name], Page) else 9)


def test_128_digits_are_one_raster_in_one_axes() -> None:
    images = RANDOM.random((128, 28, 28))
    images[:, 0, 0] = 0
    images[5, 3, 4] = 1.0
    figure = drawn(Images(images, title="batch of step 418", caption="128 images of 28x28"))
    assert columns_for(128) == 16
    assert sum(axes.get_label() != "colour bar" for axes in figure.axes) == 1
    raster = raster_of(figure)
    pitch = raster.shape[1] // 16
    enlarged = (pitch - 2) // 28
    assert raster.shape[0] // 8 == pitch == 28 * enlarged + 2
    assert raster[1 + 3 * enlarged, 5 * pitch + 1 + 4 * enlarged].tolist() == [255, 255, 255, 255]
    assert raster[1, 1].tolist() == [0, 0, 0, 255]
    assert {"batch of step 418", "128 images of 28x28"} <= set(words_of(figure))


def test_labels_are_written_where_they_fit_and_left_out_where_they_do_not() -> None:
    def labels_in(picture: Images) -> list[str]:
        return [artist.get_label() for artist in main_axes(draw(picture)).collections]

    images = RANDOM.random((64, 28, 28))
    names = [str(at) for at in range(64)]
    assert labels_in(Images(images, names)) == ["\n".join(names)]
    assert labels_in(Images(images, ["a label much too long for a small image"] * 64)) == []


def test_signed_images_are_white_at_zero_and_red_where_positive() -> None:
    image = np.zeros((1, 3, 3))
    image[0, 0, 0], image[0, 2, 2] = 2.0, -1.0
    raster = raster_of(draw(Images(image, signed=True))).astype(int)
    last = len(raster) - 2
    red, white, pale_blue = raster[1, 1], raster[len(raster) // 2, len(raster) // 2], raster[last, last]
    assert red[0] > 90 > red[2]
    assert white[:3].min() > 240
    assert pale_blue[2] > pale_blue[0] + 50


def test_each_row_of_forces_has_its_own_scale_and_every_image_its_norm() -> None:
    picture = force_picture(3)
    figure = drawn(picture)
    assert set(words_of(figure)) >= {*picture.rows, *(f"±{scale:.3g}" for scale in picture.scales)}
    norms = next(artist.get_label() for artist in main_axes(figure).collections)
    assert norms == "\n".join(picture.labels)
    raster = raster_of(figure).astype(int)
    rows = np.split(raster, 4)
    # On a scale of its own, the strongest value of each row has nearly the end colour of the map.
    for row in rows:
        assert np.abs(row[..., :3] - [103, 0, 31]).sum(axis=-1).min() < 30 or (
            np.abs(row[..., :3] - [5, 48, 97]).sum(axis=-1).min() < 30
        )


def test_one_feature_has_its_four_forces_side_by_side() -> None:
    width, height = draw(force_picture(1)).get_size_inches()
    assert width > 2 * height


def test_pixels_that_are_not_finite_are_coloured_and_counted() -> None:
    images = RANDOM.random((2, 8, 8))
    images[0, 1, 1] = np.nan
    images[1, 0, :2] = np.inf
    for signed, color, name in ((False, [255, 0, 255], "magenta"), (True, [0, 200, 83], "green")):
        picture = Images(images, signed=signed, caption="two images")
        figure = drawn(picture)
        marked = (raster_of(figure)[..., :3] == color).all(axis=-1).sum()
        enlarged = (raster_of(figure).shape[0] - 2) // 8
        assert marked == 3 * enlarged**2
        assert f"1 NaN, 2 inf in {name}" in words_of(figure)
        assert caption(picture) == f"two images; 1 NaN, 2 inf in {name}"


def test_a_matrix_is_drawn_with_its_values_its_limits_and_its_ids() -> None:
    values = RANDOM.uniform(-1, 1, (64, 64))
    order = RANDOM.permutation(64)
    figure = drawn(Matrix(values, limits=(-1, 1), row_name="feature", column_name="unit", row_ids=order))
    axes = main_axes(figure)
    image = axes.images[0]
    np.testing.assert_array_equal(image.get_array(), values)
    assert image.get_clim() == (-1, 1)
    assert image.get_cmap().name == "RdBu_r"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("unit", "feature")
    named = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    assert all(label.get_text() == str(order[int(at)]) for at, label in named)
    assert axes.format_coord(3.2, 5.4) == f"feature {order[5]}, unit 3: {values[5, 3]:.4g}"
    assert axes.format_coord(99, 5) == ""


def test_a_signed_matrix_without_limits_is_centred_and_a_magnitude_is_not() -> None:
    values = np.array([[0.5, -2.0], [1.0, 0.0]])
    signed = main_axes(draw(Matrix(values))).images[0]
    assert (signed.get_clim(), signed.get_cmap().name) == ((-2, 2), "RdBu_r")
    plain = main_axes(draw(Matrix(values, signed=False))).images[0]
    assert (plain.get_clim(), plain.get_cmap().name) == ((-2, 1), "viridis")


def test_a_large_matrix_is_reduced_to_block_means_and_says_so() -> None:
    values = RANDOM.normal(size=(1030, 700)).astype(np.float32)
    values[77, 300] = np.nan
    figure = drawn(Matrix(values))
    axes = main_axes(figure)
    image = np.ma.filled(axes.images[0].get_array(), np.nan)
    assert image.shape == (344, 350)
    assert image[1, 1] == pytest.approx(values[3:6, 2:4].mean(), abs=1e-6)
    assert np.isnan(image[77 // 3, 300 // 2])
    assert axes.get_xlim() == (-0.5, 699.5)
    assert axes.get_ylim() == (1029.5, -0.5)
    assert any("mean of a block of 3 x 2" in words for words in words_of(figure))
    assert any("1 NaN" in words for words in words_of(figure))
    assert axes.format_coord(301, 78) == f"row 78, column 301: {values[78, 301]:.4g}"
    (ring,) = axes.get_lines()
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (300, 77)


def test_the_cells_of_a_small_matrix_hold_their_values() -> None:
    figure = drawn(Matrix(np.array([[1.0, -0.25], [0.5, np.nan]]), limits=(-1, 1)))
    assert {"1.00", "-0.25", "0.50", "nan"} <= set(words_of(figure))


def test_neighbours_with_the_same_limits_share_a_colour_bar() -> None:
    def bars(*pictures: Picture) -> int:
        return sum(axes.get_label() == "colour bar" for axes in draw(Page(pictures)).axes)

    other = Matrix(np.eye(64), limits=(-0.5, 0.5))
    assert bars(COSINES, COSINES) == 1
    assert bars(COSINES, other) == 2


def test_points_are_where_they_belong_with_marker_and_colour_of_their_status() -> None:
    picture = scatter_picture()
    axes = main_axes(drawn(picture))
    for word in ("dead", "contender", "winner"):
        chosen = np.array(picture.status) == word
        (points,) = (artist for artist in axes.collections if artist.get_label() == word)
        np.testing.assert_allclose(points.get_offsets(), np.column_stack([picture.x, picture.y])[chosen])
        np.testing.assert_array_equal(points.get_array(), picture.color[chosen])
        assert points.get_clim() == (picture.color.min(), picture.color.max())
    shapes = {artist.get_paths()[0].vertices.tobytes() for artist in axes.collections}
    assert len(shapes) == 3
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("grad_magnitude", "som_magnitude")
    assert {"dead 22", "contender 21", "winner 21"} <= set(words_of(axes.figure))


def test_logarithmic_axes_drop_what_they_cannot_show_and_say_how_many() -> None:
    x = np.array([1.0, 0.0, -1.0, 2.0, np.nan])
    picture = Scatter(x, np.ones(5), "x", "y", [0, 1, 2, 3, 4], log=True, caption="five")
    axes = main_axes(drawn(picture))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.collections[0].get_offsets().tolist() == [[1, 1], [2, 1]]
    assert "1 of 5 points not shown: NaN or inf" in caption(picture)
    assert "2 of 5 points not shown: not positive" in caption(picture)


def test_of_many_points_those_that_stand_out_are_labelled() -> None:
    x, y = RANDOM.normal(size=(2, 3000))
    x[7], y[9] = 40.0, -50.0
    axes = main_axes(drawn(Scatter(x, y, "x", "y", np.arange(3000))))
    names = {text.get_text() for text in axes.texts}
    assert {"7", "9"} <= names
    assert 2 < len(names) <= 64


def test_a_line_has_the_colour_of_its_id_in_every_chart() -> None:
    steps = np.arange(5)
    colors = {"feature 3": 3, "feature 7": 7}
    one = Curves(dict.fromkeys(colors, (steps, steps)), "y", colors=colors)
    other = Curves({"feature 7": (steps, steps)}, "y", colors={"feature 7": 7})
    first, second = main_axes(draw(one)).get_lines(), main_axes(draw(other)).get_lines()
    assert first[1].get_color() == second[0].get_color()
    assert first[0].get_color() != first[1].get_color()


def test_marks_are_lines_at_their_steps_with_their_words() -> None:
    axes = main_axes(drawn(curves_picture()))
    (marks,) = (artist for artist in axes.collections if artist.get_label() == "marks")
    assert [segment[0][0] for segment in marks.get_segments()] == [20, 418, 425, 900]
    assert "breakpoint 1" in [text.get_text() for text in axes.texts]


def test_points_without_a_value_are_gaps_and_are_counted() -> None:
    values = np.array([1.0, 2.0, np.nan, 4.0, np.inf, np.nan, 7.0])
    picture = Curves({"loss": (np.arange(10, 17), values)}, "loss", caption="loss")
    (line,) = main_axes(draw(picture)).get_lines()
    np.testing.assert_array_equal(np.isnan(line.get_ydata()), [False, False, True, False, True, True, False])
    assert line.get_markevery() == [3, 6], "points without a neighbour are dots: a line would not show them"
    assert caption(picture) == "loss; NaN at 2 points, first at step 12; inf at 1 point, first at step 14"


def test_a_chart_reaches_to_its_last_step_though_nothing_there_is_finite() -> None:
    picture = Curves({"loss": (np.arange(1, 9), np.array([3.0, 2, 1, 2] + 4 * [np.nan]))}, "loss", marks={8: "spike"})
    axes = main_axes(drawn(picture))
    assert axes.get_xlim() == pytest.approx((0.93, 8.07))
    assert [text.get_text() for text in axes.texts] == ["spike"]


def test_steps_and_counts_have_whole_numbers_at_their_axes() -> None:
    two, one = np.array([1, 2]), np.array([1])
    pictures = [
        (main_axes(drawn(Curves({"dead": (two, np.array([0, 1]))}, "features"))), "xy"),
        (main_axes(drawn(Curves({"mean": (one, np.array([0.5]))}, "mean"))), "x"),
        (main_axes(drawn(Histogram(np.array([0.1, 0.2, 0.7]), "norm"))), "y"),
        (main_axes(drawn(Profiles(np.array([[0.1, -0.2, 0.7, 0.3]])))), "x"),
        (main_axes(drawn(Profiles(np.array([[0.1]])))), "x"),
    ]
    for axes, names in pictures:
        for name in names:
            ticks, limits = getattr(axes, f"get_{name}ticks")(), getattr(axes, f"get_{name}lim")()
            seen = [tick for tick in ticks if limits[0] <= tick <= limits[1]]
            assert seen == [round(tick) for tick in seen] != [], name


def test_a_profile_of_zeros_has_axes_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    axes = main_axes(draw(Profiles(np.zeros((1, 4)), scales=[0.0])))
    assert axes.get_yticks().tolist() == [0]
    assert not recwarn.list


def test_the_bars_of_a_histogram_hold_every_finite_value() -> None:
    values = np.append(RANDOM.normal(size=4999), [np.nan, np.inf, 3.0])
    figure = drawn(Histogram(values, "weight", caption="w"))
    (bars,) = main_axes(figure).patches
    counts, edges, _ = bars.get_data()
    assert counts.sum() == 5000
    assert (edges[0], edges[-1]) == (np.nanmin(values), values[np.isfinite(values)].max())
    assert "1 NaN, 1 inf" in words_of(figure)


def test_few_integers_have_a_bar_each() -> None:
    (bars,) = main_axes(draw(Histogram(np.array([0, 0, 1, 3]), "label"))).patches
    counts, edges, _ = bars.get_data()
    assert counts.tolist() == [2, 1, 0, 1]
    assert edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]


def test_profiles_are_bars_red_above_and_blue_below_zero() -> None:
    values = np.array([[1.0, -2.0, np.nan, 0.5]])
    axes = main_axes(draw(Profiles(values, ["norm 1"], scales=[4.0])))
    up, down = axes.patches
    np.testing.assert_array_equal(up.get_data()[0], [1, 0, 0, 0.5])
    np.testing.assert_array_equal(down.get_data()[0], [0, -2, 0, 0])
    assert axes.get_ylim() == pytest.approx((-4.08, 4.08))
    assert axes.get_title(loc="left") == "norm 1"
    not_finite = axes.get_lines()[-1]
    assert not_finite.get_xdata().tolist() == [2]


def test_a_long_profile_keeps_its_spikes() -> None:
    values = np.zeros((1, 50_000))
    values[0, 31_415], values[0, 27_182] = 5.0, -7.0
    up, down = main_axes(draw(Profiles(values))).patches
    assert len(up.get_data()[0]) < 5000
    assert (up.get_data()[0].max(), down.get_data()[0].min()) == (5, -7)


def test_many_profiles_are_the_rows_of_a_heatmap() -> None:
    values = RANDOM.normal(size=(30, 40))
    np.testing.assert_array_equal(main_axes(draw(Profiles(values))).images[0].get_array(), values)


def test_a_figure_can_be_drawn_again_into_the_same_window() -> None:
    figure = draw(COSINES)
    again = draw(curves_picture(), figure)
    assert again is figure
    assert not main_axes(figure).images
    np.testing.assert_allclose(figure.get_size_inches(), draw(curves_picture()).get_size_inches())


def odd_arrays(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Arrays that have broken plots before."""
    with_holes = RANDOM.normal(size=shape)
    with_holes.flat[:1], with_holes.flat[-1:] = np.nan, -np.inf
    return [
        np.zeros(shape),
        np.full(shape, np.nan),
        np.full(shape, np.inf),
        np.full(shape, -3.5, np.float16),
        RANDOM.integers(0, 255, shape).astype(np.uint8),
        RANDOM.random(shape) > 0.5,
        RANDOM.normal(size=shape) * 1e300,
        with_holes,
    ]


@pytest.mark.parametrize("at", range(8))
def test_no_data_breaks_a_figure(at: int) -> None:
    pictures: list[Picture] = [Curves({}, "y"), Page([]), Page([Page([]), Curves({}, "y")])]
    for shape in ((0, 8, 8), (1, 1, 1), (3, 5, 7), (5, 0, 4), (2, 3, 4, 3)):
        pictures += [Images(odd_arrays(shape)[at], ["$x_{"] * shape[0], signed=signed) for signed in (False, True)]
    for shape in ((0, 3), (1, 1), (1, 600), (20, 20)):
        pictures += [Matrix(odd_arrays(shape)[at]), Profiles(odd_arrays(shape)[at], signed=False)]
    for count in (0, 1, 5):
        values = odd_arrays((count,))[at]
        for log in (False, True):
            words = (WORDS * 2)[:count]
            pictures.append(Scatter(values, values, "x", "$y_{", range(count), values, "c", words, log))
            pictures.append(Histogram(values, "h$", log=log))
            pictures.append(Curves({"_a": (np.arange(count), values), "$": (np.arange(count), values)}, "y", log=log))
    for picture in pictures:
        drawn(picture)
        assert isinstance(caption(picture), str)
