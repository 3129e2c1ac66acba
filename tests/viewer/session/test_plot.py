"""The histogram of scores: counts, a line that is dragged, themes, and scores that are few or extreme."""

from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backend_bases import MouseButton, MouseEvent
from napari.utils.theme import get_theme


def plan(scores, threshold, kind="ring"):
    patches = [SimpleNamespace(score=score) for score in scores]
    return SimpleNamespace(patches=patches, split=SimpleNamespace(threshold=threshold), score_kind=kind)


@pytest.fixture
def plot(qtbot):
    from napari_nst.viewer.session.plot import ScorePlot

    plot = ScorePlot(get_theme("dark"))
    qtbot.addWidget(plot)
    plot.resize(400, 160)
    plot.show_plan(plan([1.0, 2.0, 3.0, 8.0, 9.0, np.nan], 5.5))
    plot.draw()
    return plot


def mouse(plot, name, score):
    x, y = plot.axes.transData.transform((score, 0.5 * plot.axes.get_ylim()[1]))
    MouseEvent(name, plot, x, y, MouseButton.LEFT)._process()


def drag(plot, start, stop):
    mouse(plot, "button_press_event", start)
    mouse(plot, "motion_notify_event", (start + stop) / 2)
    mouse(plot, "motion_notify_event", stop)
    mouse(plot, "button_release_event", stop)


def legend(plot):
    return [text.get_text() for text in plot.axes.get_legend().get_texts()]


def test_bars_are_the_patches(plot):
    assert sum(bar.get_height() for bar in plot.axes.patches) == 5
    assert sorted(legend(plot)) == ["good: 2", "poor: 3", "threshold: 5.5", "unknown: 1"]


def test_the_line_is_dragged(plot):
    chosen = []
    plot.threshold_chosen.connect(chosen.append)
    drag(plot, 5.5, 2.5)
    assert chosen == [pytest.approx(2.5, abs=0.05)]
    assert {"poor: 2", "good: 3"} < set(legend(plot))
    drag(plot, 7.0, 8.5)  # not at the line
    plot.locked = True
    drag(plot, 2.5, 8.5)
    assert len(chosen) == 1


def test_without_a_line_a_click_sets_one(plot):
    chosen = []
    plot.threshold_chosen.connect(chosen.append)
    plot.show_plan(plan([1.0, 2.0, 3.0, 8.0], None))
    plot.draw()
    assert legend(plot) == ["no threshold: 4"]
    drag(plot, 4.0, 4.0)
    assert chosen == [pytest.approx(4.0, abs=0.05)]


@pytest.mark.parametrize("scores", [[], [np.nan, np.nan]])
def test_without_scores_it_says_so_and_nothing_can_be_dragged(plot, scores):
    chosen = []
    plot.threshold_chosen.connect(chosen.append)
    plot.show_plan(plan(scores, None, "markers"))
    plot.draw()
    drag(plot, 0.5, 0.6)
    assert [text.get_text() for text in plot.axes.texts] == ["no score is known"]
    assert not plot.axes.patches
    assert plot.axes.get_legend() is None
    assert (plot.threshold, chosen) == (None, [])


@pytest.mark.parametrize("scores", [[4.0], [3.0, 3.0, 3.0], [1e-9, 2e-9], [1e12, 3e12]])
def test_few_scores_and_extreme_ones_are_drawn(plot, scores):
    chosen = []
    plot.threshold_chosen.connect(chosen.append)
    plot.show_plan(plan(scores, None, "markers"))
    plot.draw()
    assert plot.axes.get_xlabel() == "marked cones"
    assert legend(plot) == [f"no threshold: {len(scores)}"]
    low, high = plot.axes.get_xlim()
    assert low <= min(scores) <= max(scores) <= high
    # Every score is in its bar.
    for score in set(scores):
        found = [
            bar
            for bar in plot.axes.patches
            if bar.get_height() and bar.get_x() <= score <= bar.get_x() + bar.get_width()
        ]
        assert sum(bar.get_height() for bar in found) == scores.count(score)
    middle = (low + high) / 2
    drag(plot, middle, middle)
    assert chosen == [plot.threshold] == [pytest.approx(middle, abs=0.01 * (high - low))]
    assert sum(int(text.split()[1]) for text in legend(plot) if text.startswith(("poor", "good"))) == len(scores)


@pytest.mark.parametrize("name", ["dark", "light"])
def test_colors_follow_the_theme(plot, name):
    before = dict(mpl.rcParams)
    theme = get_theme(name)
    plot.use_theme(theme)
    plot.draw()
    ground = np.array(theme.background.as_rgb_tuple()[:3]) / 255
    np.testing.assert_allclose(np.asarray(plot.buffer_rgba())[0, 0, :3] / 255, ground, atol=0.01)
    for artist in (plot.axes.xaxis.label, plot.axes.yaxis.label, plot.axes.get_legend()):
        box = artist.get_window_extent(plot.get_renderer())
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= plot.figure.bbox.width + 1
    assert dict(mpl.rcParams) == before
