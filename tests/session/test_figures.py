"""Figures of a session: what they show, that all of it can be read, and that no global state is touched."""

import itertools
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from numpy.testing import assert_allclose, assert_array_equal

from napari_nst.session.figures import ComparisonRow, comparison_figure, quality_figure
from napari_nst.transfer.files import save_figure

LONG = "CROP_25_x535y535_CS_13213_20150302_confocal_OS_0075_ref_15_lps_8_lbss_8_ffr_n_50_cropped_5_extract_reg_avg.tif"
TITLES = ["target", "style", "result", "result − target", "histograms", "radial power spectra", "cones on the result"]


@dataclass
class Found:
    kept: np.ndarray
    lost: np.ndarray
    new: np.ndarray


def a_row(shape=(40, 40), dtype=np.uint8, seed=0, **more):
    rng = np.random.default_rng(seed)
    target, style = (rng.integers(20, 90, shape).astype(dtype) for _ in range(2))
    points = rng.uniform(0, 39, (6, 2))
    row = ComparisonRow(
        name=LONG,
        style_name=LONG,
        target=target,
        style=style,
        result=target,
        value_range=(0.0, 255.0),
        style_value_range=(0.0, 255.0),
        target_points=points[:4],
        result_points=points[1:],
        matching=Found(np.array([0, 1, 2]), np.array([0]), np.array([3, 4])),
        unsupported=np.empty((0, 2)),
        caption="ring 9.1 → 12.0 dB, 2 new",
        valid=np.ones(more.get("target", target).shape, bool),
        style_valid=np.ones(more.get("style", style).shape, bool),
        ring=np.nan,
    )
    return replace(row, **more)


def named(figure, title):
    (axes,) = (a for a in figure.axes if a.get_title() == title)
    return axes


def lines_of(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def everything_written(figure):
    """(text, box in pixels) of all that is written and drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    found = [(text.get_text(), text.get_window_extent(renderer)) for text in figure.texts]
    for axes in figure.axes:
        texts = [axes.title, axes.xaxis.label, axes.yaxis.label]
        found += [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text.get_text()]
        if axes.get_legend() is not None:
            found.append(("legend", axes.get_legend().get_window_extent(renderer)))
    return found


def test_a_row_shows_every_part_in_order():
    figure = comparison_figure([a_row()])
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == TITLES
    written = [text.get_text() for text in figure.texts]
    assert written == [LONG, f"style: {LONG}", "ring 9.1 → 12.0 dB, 2 new"]


def test_target_and_result_share_the_gray_scale_of_the_target():
    row = a_row(value_range=(10.0, 200.0), style_value_range=(0.0, 4095.0))
    figure = comparison_figure([row])
    limits = {t: named(figure, t).images[0].get_clim() for t in ("target", "style", "result", "cones on the result")}
    assert limits["target"] == limits["result"] == limits["cones on the result"] == (10.0, 200.0)
    assert limits["style"] == (0.0, 4095.0)
    assert_array_equal(named(figure, "target").images[0].get_array(), row.target)
    assert_array_equal(named(figure, "style").images[0].get_array(), row.style)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_the_difference_is_signed_and_centered(dtype):
    row = a_row(dtype=dtype)
    result = row.target.copy()
    result[:20] = result[:20] - np.asarray(20, dtype)
    result[20:] = result[20:] + np.asarray(7, dtype)
    figure = comparison_figure([replace(row, result=result)])
    (image,) = named(figure, "result − target").images
    assert image.get_clim() == (-20, 20)
    assert set(np.unique(image.get_array())) == {-20.0, 7.0}
    assert figure.axes[4].get_ylabel() == "gray levels"
    assert image.get_cmap().name == "RdBu_r"


def test_few_extreme_pixels_do_not_set_the_scale_of_the_difference():
    row = a_row((60, 60))
    result = row.target.astype(int) + np.where(np.indices((60, 60)).sum(axis=0) % 2, 5, -5)
    result[3, 3] = 255
    figure = comparison_figure([replace(row, result=result.astype(np.uint8))])
    (image,) = named(figure, "result − target").images
    assert image.get_clim() == (-5, 5)
    assert image.colorbar.extend == "both"


def test_an_unchanged_patch_says_so():
    figure = comparison_figure([a_row()])
    difference = named(figure, "result − target")
    assert [text.get_text() for text in difference.texts] == ["unchanged"]
    assert difference.images[0].get_clim() == (-1, 1)


def test_histograms_are_shares_of_the_pixels():
    row = a_row()
    row = replace(row, result=np.clip(row.target.astype(int) + 100, 0, 255).astype(np.uint8))
    axes = named(comparison_figure([row]), "histograms")
    drawn = {patch.get_label(): patch.get_data() for patch in axes.patches}
    assert set(drawn) == {"style", "target", "result"}
    for name, image in (("style", row.style), ("target", row.target), ("result", row.result)):
        values, edges, _ = drawn[name]
        assert values.sum() == pytest.approx(100)
        assert edges[0] <= image.min()
        assert edges[-1] >= image.max()
        # No comb: every bin holds equally many whole numbers.
        assert len({int(np.floor(b) - np.floor(a)) for a, b in itertools.pairwise(edges)}) == 1
        counts = [((image > a) & (image < b)).sum() / 16 for a, b in itertools.pairwise(edges)]
        assert_allclose(values, counts)


def test_what_is_no_image_is_left_out_of_the_curves():
    row = a_row()
    valid = np.ones((40, 40), bool)
    valid[:, :10] = False
    dark = np.where(valid, row.target, 0).astype(np.uint8)
    figure = comparison_figure([replace(row, target=dark, result=dark, valid=valid)])
    drawn = {patch.get_label(): patch.get_data() for patch in named(figure, "histograms").patches}
    values, edges, _ = drawn["target"]
    assert values.sum() == pytest.approx(100)
    assert edges[0] > 15


def test_spectra_are_on_a_logarithmic_scale_with_the_ring_marked():
    columns = np.arange(64)
    wave = (100 + 40 * np.cos(2 * np.pi * 0.25 * columns)).astype(np.uint8) * np.ones((64, 1), np.uint8)
    row = a_row((64, 64), ring=0.25)
    axes = named(comparison_figure([replace(row, target=wave, result=wave)]), "radial power spectra")
    assert axes.get_yscale() == "log"
    assert axes.get_xlabel() == "cycles/pixel"
    lines = lines_of(axes)
    assert set(lines) == {"style", "target", "result"}
    frequencies, power = lines["target"].get_data()
    assert frequencies[np.argmax(power)] == pytest.approx(0.25, abs=1 / 64)
    assert [text.get_text() for text in axes.texts] == ["ring 0.250"]
    assert any(line.get_xdata()[0] == 0.25 for line in axes.lines if line not in lines.values())


def test_a_style_of_another_range_is_compared_on_the_scale_of_the_target():
    rng = np.random.default_rng(3)
    target = rng.integers(0, 256, (40, 40)).astype(np.uint8)
    style = (33000 + 100.0 * target).astype(np.uint16)
    row = a_row(target=target, result=target, style=style, style_value_range=(33000.0, 58500.0))
    figure = comparison_figure([row])
    drawn = {patch.get_label(): patch.get_data() for patch in named(figure, "histograms").patches}
    assert_allclose(drawn["style, rescaled"][0], drawn["target"][0])
    lines = lines_of(named(figure, "radial power spectra"))
    assert_allclose(lines["style, rescaled"].get_ydata(), lines["target"].get_ydata(), rtol=1e-6)


def test_detections_are_drawn_where_they_are_and_counted():
    row = a_row()
    axes = named(comparison_figure([row]), "cones on the result")
    lines = lines_of(axes)
    expected = {
        "kept 3": row.result_points[[0, 1, 2]],
        "lost 1": row.target_points[[0]],
        "new 2": row.result_points[[3, 4]],
    }
    assert set(lines) == set(expected)
    for label, points in expected.items():
        assert_array_equal(lines[label].get_xydata(), points[:, ::-1])  # row, column -> x, y
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(expected)
    assert axes.get_ylim() == (39.5, -0.5)
    assert len({line.get_marker() for line in lines.values()}) == 3  # distinguished without color, too


def test_the_metric_that_matches_cones_fits():
    matching = pytest.importorskip("napari_nst.metrics.matching")
    before, after = np.array([[5.0, 5], [20, 20], [30, 8]]), np.array([[20.5, 20], [5, 5.5], [35, 35]])
    found = matching.match_cones(after, before, tolerance_px=2.0)
    row = a_row(target_points=before, result_points=after, matching=found)
    lines = lines_of(named(comparison_figure([row]), "cones on the result"))
    assert set(lines) == {"kept 2", "lost 1", "new 1"}
    assert lines["lost 1"].get_xydata().tolist() == [[8, 30]]
    assert lines["new 1"].get_xydata().tolist() == [[35, 35]]


def test_detections_may_be_missing():
    none = np.empty(0, np.intp)
    figure = comparison_figure([a_row(result_points=np.empty((0, 2)), matching=Found(none, np.arange(4), none))])
    assert set(lines_of(named(figure, "cones on the result"))) == {"kept 0", "lost 4", "new 0"}


def test_unsupported_ones_are_drawn_around_the_new_ones():
    row = a_row()
    axes = named(comparison_figure([replace(row, unsupported=row.result_points[[4]])]), "cones on the result")
    lines = lines_of(axes)
    assert set(lines) == {"kept 3", "lost 1", "new 2", "unsupported 1"}
    around, new = lines["unsupported 1"], lines["new 2"]
    assert_allclose(np.column_stack(around.get_data()), row.result_points[[4], ::-1])
    assert around.get_markersize() > new.get_markersize()
    assert around.get_marker() != new.get_marker()
    assert to_rgba(around.get_markeredgecolor()) != to_rgba(new.get_markeredgecolor())
    axes = named(comparison_figure([replace(row, unsupported=np.empty((0, 2)))]), "cones on the result")
    assert set(lines_of(axes)) == {"kept 3", "lost 1", "new 2"}


def test_a_verdict_has_lines_of_its_own():
    figure = comparison_figure([a_row(caption="ring 9.1 dB\n" + "look there, " * 60)])
    written = [text.get_text() for text in figure.texts]
    assert written[2] == "ring 9.1 dB"
    assert written[3].startswith("look there, look")
    assert len(written) == 5


@pytest.mark.parametrize("name", [LONG, "W" * 400, "a$b$c_$\\frac{\nof\tblanks"])
def test_all_that_is_written_is_inside_and_apart(name):
    caption = "the spectrum of the style could not be used because " * 12
    caption = f"{caption}\n{caption}"
    rows = [a_row(name=name, style_name=name, caption=caption, ring=0.1, unsupported=np.full((1, 2), 20.0))]
    figure = comparison_figure(rows, title=name)
    written = everything_written(figure)
    width, height = figure.canvas.get_width_height()
    for text, box in written:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text
    for (one, a), (other, b) in itertools.combinations(written, 2):
        if "legend" in (one, other):
            continue
        assert not (a.x0 < b.x1 and b.x0 < a.x1 and a.y0 + 1 < b.y1 and b.y0 + 1 < a.y1), (one, other)
    for axes in figure.axes:
        box = axes.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= width
        assert 0 <= box.y0 < box.y1 <= height


def test_axes_with_their_ticks_do_not_overlap():
    rows = [a_row(value_range=(0.0, 65535.0), target=v, result=v) for v in [np.full((40, 40), 33000.0)]]
    rows[0].target[:20] = 60000
    figure = comparison_figure([rows[0], a_row()])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [axes.get_tightbbox(canvas.get_renderer()) for axes in figure.axes]
    for a, b in itertools.combinations(boxes, 2):
        assert not (a.x0 + 1 < b.x1 and b.x0 + 1 < a.x1 and a.y0 + 1 < b.y1 and b.y0 + 1 < a.y1)


@pytest.mark.parametrize(
    "more",
    [
        {"target": np.full((40, 40), 7, np.uint8), "result": np.full((40, 40), 7, np.uint8)},
        {"target": np.full((40, 40), np.nan), "result": np.full((40, 40), np.nan)},
        {"target": np.zeros((8, 12), np.uint8), "result": np.zeros((8, 12), np.uint8)},
        {"style": np.zeros((17, 90), np.uint16)},
        {"valid": np.zeros((40, 40), bool)},
        {"ring": float("nan")},
        {"target": np.arange(1600.0).reshape(40, 40) * 1e-9, "result": np.zeros((40, 40))},
        {"target": np.arange(1600, dtype=np.uint64).reshape(40, 40) << 53, "result": np.zeros((40, 40), np.uint64)},
    ],
    ids=["constant", "no value", "tiny", "other style", "no image", "no ring", "small values", "64 bits"],
)
def test_any_patch_can_be_drawn(more):
    figure = comparison_figure([a_row(**more)])
    FigureCanvasAgg(figure).draw()
    assert len(figure.axes) == 8


def test_a_comparison_can_be_saved(tmp_path):
    assert save_figure(tmp_path / "comparison.png", comparison_figure([a_row()])).stat().st_size > 10_000


def test_rows_are_below_each_other(tmp_path):
    figure = comparison_figure([a_row(seed=seed) for seed in range(3)], title="Session 1")
    targets = [axes for axes in figure.axes if axes.get_title() == "target"]
    tops = [axes.get_position().y1 for axes in targets]
    assert tops == sorted(tops, reverse=True)
    assert len(figure.axes) == 3 * 8
    assert figure.texts[0].get_text() == "Session 1"


# How the scores are distributed


def bars(figure):
    (axes,) = figure.axes
    return {c.get_label(): c for c in axes.containers}


def test_poor_and_good_are_counted_on_both_sides_of_the_threshold():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(3, 1, 30), rng.normal(12, 1, 50), [np.nan, np.inf]])
    figure = quality_figure(scores, 7.25, "ring", reason="two groups: 50 above 7.25")
    (axes,) = figure.axes
    assert set(bars(figure)) == {"poor: 30", "good: 50"}
    for label, side in (("poor: 30", -1), ("good: 50", 1)):
        heights = [bar.get_height() for bar in bars(figure)[label]]
        assert sum(heights) == int(label.split()[1])
        for bar in bars(figure)[label]:
            if bar.get_height():
                assert side * (bar.get_center()[0] - 7.25) > 0
    (line,) = axes.lines
    assert line.get_xdata()[0] == 7.25
    assert line.get_label() == "threshold: 7.25"
    assert axes.get_title() == "Quality of 82 patches, 2 of them unknown\ntwo groups: 50 above 7.25"
    assert axes.get_xlabel() == "prominence of the ring that a cone mosaic has in its power spectrum, dB"
    colors = {to_rgba(c.patches[0].get_facecolor()) for c in axes.containers}
    assert len(colors) == 2


@pytest.mark.parametrize("threshold", [7, 7.5, 7.99, 33.5])
def test_whole_numbers_have_one_quality_within_a_bar(threshold):
    scores = np.array([5, 6, 7, 60, 62, 65])
    figure = quality_figure(scores, threshold, "cones")
    poor = sum(scores <= threshold)
    drawn = bars(figure)
    assert set(drawn) == {f"poor: {poor}", f"good: {6 - poor}"}
    filled = [{round(bar.get_x(), 6) for bar in container if bar.get_height()} for container in drawn.values()]
    assert not filled[0] & filled[1]
    assert sum(bar.get_height() for container in drawn.values() for bar in container) == 6


def test_without_a_threshold_there_is_no_line_but_a_reason():
    figure = quality_figure([3.0, 4.0, 5.5], None, "my own score", reason="3 scores cannot show two groups")
    (axes,) = figure.axes
    assert not axes.lines
    assert set(bars(figure)) == {"no threshold: 3"}
    assert "3 scores cannot show two groups" in axes.get_title()
    assert axes.get_xlabel() == "my own score"


@pytest.mark.parametrize(
    ("scores", "threshold"),
    [
        ([], None),
        ([np.nan, np.inf], 3.0),
        ([5.0], None),
        ([5.0], 5.0),
        ([5.0, 5.0], 9.0),
        ([0.1, 0.2, 0.3], -4.0),
        ([1e300, 2e300, 5e300], 2e300),
        ([1e-300, 3e-300], 2e-300),
        ([0, 1, 10**9], 3.0),
        ([2.0**60, 2.0**60 + 2048], 2.0**60),
    ],
)
def test_any_scores_can_be_drawn(scores, threshold):
    figure = quality_figure(scores, threshold, "table", reason="a long reason " * 40)
    FigureCanvasAgg(figure).draw()
    known = np.isfinite(np.asarray(scores, float)).sum()
    assert sum(bar.get_height() for c in figure.axes[0].containers for bar in c) == known


def test_the_reason_is_inside_of_the_figure():
    reason = (
        "two groups: 60 above 7.46744, 40 below (eta = .89, a uniform distribution reaches that in 1.2 % of cases) "
    )
    figure = quality_figure([1.0, 2.0, 8.0, 9.0], 5.0, "ring", reason=reason * 3)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box = figure.axes[0].title.get_window_extent(canvas.get_renderer())
    assert box.x0 >= 0
    assert box.x1 <= figure.canvas.get_width_height()[0]


def test_no_global_state_of_matplotlib_is_used():
    code = (
        "import sys\n"
        "from napari_nst.session.figures import quality_figure\n"
        "assert not {'matplotlib', 'scipy', 'skimage', 'torch'} & set(sys.modules)\n"
        "quality_figure([1.0, 2.0], 1.5, 'ring')\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
