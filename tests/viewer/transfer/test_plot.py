"""The live curves: drawn without pyplot, in the viewer's colours, with losses that are 0."""

import matplotlib as mpl
import numpy as np
import pytest
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
    "values",
    [np.empty((0, 3)), np.zeros((4, 3)), np.full((4, 3), np.nan), np.full((3, 3), np.inf), losses(1)],
    ids=["none", "zero", "nan", "inf", "one step"],
)
def test_what_cannot_be_drawn_is_left_out(plot, values):
    plot.show_losses(values)
    plot.draw()
    plot.clear_losses()
    plot.draw()


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


def test_colours_follow_the_theme(plot):
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
