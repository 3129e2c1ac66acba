"""The live curves: drawn without pyplot, in the viewer's colors, with losses that are 0."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from napari.utils.theme import get_theme


@pytest.fixture
def plot(qtbot):
    from napari_nst.viewer.transfer.plot import LossPlot

    plot = LossPlot(get_theme("dark"))
    qtbot.addWidget(plot)
    plot.resize(320, 150)
    return plot


def losses(steps):
    """Style and total fall, content rises from 0."""
    k = np.arange(steps)
    return np.stack([1e6 * 0.9**k, 10.0 * k, 1e6 * 0.9**k + 10 * k], axis=1)


def test_three_curves_on_a_logarithmic_scale(plot):
    plot.show_losses(losses(30))
    plot.draw()
    assert plot.axes.get_yscale() == "log"
    assert [text.get_text() for text in plot.axes.get_legend().get_texts()] == ["total", "content", "style"]
    np.testing.assert_array_equal(plot.lines["total"].get_ydata(), losses(30)[:, 2])
    content = plot.lines["content"].get_ydata()
    assert np.isnan(content[0])  # 0 has no place on a logarithmic scale
    np.testing.assert_array_equal(content[1:], losses(30)[1:, 1])
    assert plot.axes.get_xlabel() == "step"
    assert plot.axes.get_ylabel() == "loss"


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        (np.empty((0, 3)), 0),
        (np.zeros((4, 3)), 0),
        (np.full((4, 3), np.nan), 0),
        (np.full((3, 3), np.inf), 0),
        (np.array([[np.inf, 5.0, -1.0], [2.0, np.nan, 0.0], [4.0, 7.0, 3.0]]), 5),
        (losses(1), 2),
    ],
    ids=["none", "zero", "nan", "inf", "some", "one step"],
)
def test_what_cannot_be_drawn_is_left_out(plot, values, drawn):
    plot.show_losses(values)
    plot.draw()
    usable = np.isfinite(values) & (values > 0)
    assert usable.sum() == drawn
    for column, name in ((0, "style"), (1, "content"), (2, "total")):
        line = plot.lines[name]
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, len(values) + 1))
        np.testing.assert_array_equal(line.get_ydata(), np.where(usable[:, column], values[:, column], np.nan))
        # A line through a single point shows nothing: it gets a marker.
        assert line.get_marker() == ("o" if usable[:, column].sum() == 1 else "")
    assert plot.axes.get_yscale() == ("log" if drawn else "linear")
    low, high = plot.axes.get_ylim()
    assert not drawn or low < values[usable].min() <= values[usable].max() < high
    assert ink(plot) == (drawn > 0)

    plot.show_losses(losses(5))
    plot.clear_losses()
    plot.draw()
    assert plot.axes.get_yscale() == "linear"
    assert [len(line.get_xdata()) for line in plot.lines.values()] == [0, 0, 0]
    assert not ink(plot)


def ink(plot):
    """Whether anything is drawn inside the axes in the color of a curve."""
    pixels = np.asarray(plot.buffer_rgba())[..., :3].astype(int)
    x0, y0, x1, y1 = (round(edge) for edge in plot.axes.bbox.extents)
    inside = pixels[::-1][y0 + 1 : y1 - 1, x0 + 1 : x1 - 1]
    colors = [np.rint(255 * np.array(to_rgb(line.get_color()))) for line in plot.lines.values()]
    return any((np.abs(inside - color).max(axis=-1) < 12).any() for color in colors)


def test_nothing_sticks_out_at_the_width_of_a_dock(plot):
    plot.show_losses(losses(100))
    plot.draw()
    renderer = plot.get_renderer()
    for artist in (plot.axes.xaxis.label, plot.axes.yaxis.label, plot.axes.get_legend()):
        box = artist.get_window_extent(renderer)
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= plot.figure.bbox.width + 1
        assert box.y1 <= plot.figure.bbox.height + 1


def test_colors_follow_the_theme(plot):
    plot.show_losses(losses(5))
    for name in ("dark", "light"):
        theme = get_theme(name)
        plot.use_theme(theme)
        plot.draw()
        wanted = np.array(theme.background.as_rgb_tuple()[:3]) / 255
        np.testing.assert_allclose(plot.figure.get_facecolor()[:3], wanted)
        np.testing.assert_allclose(np.asarray(plot.buffer_rgba())[0, 0, :3] / 255, wanted, atol=0.01)
        text = plot.axes.get_legend().get_texts()[0].get_color()
        np.testing.assert_allclose(text[:3], np.array(theme.text.as_rgb_tuple()[:3]) / 255)


def test_no_global_setting_is_touched(qtbot):
    before = dict(mpl.rcParams)
    from napari_nst.viewer.transfer.plot import LossPlot

    plot = LossPlot(get_theme("dark"))
    qtbot.addWidget(plot)
    plot.show_losses(losses(5))
    plot.draw()
    plot.use_theme(get_theme("light"))
    assert dict(mpl.rcParams) == before
