"""Figures for files: what they show, and that no global state is touched."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from napari_nst.transfer.curves import comparison, learning_curves
from napari_nst.transfer.files import save_figure

LOSSES = {"style": [4.0, 3.0, 2.0], "original": [0.0, 0.1, 0.2], "total": [4.0, 3.1, 2.2]}


def test_the_learning_curves_are_the_documented_ones():
    figure = learning_curves(LOSSES)
    (axes,) = figure.axes
    assert axes.get_title() == "Learning curves of NST"
    assert axes.get_xlabel() == "Iteration"
    assert axes.get_ylabel() == "Loss"
    shown = {line.get_label(): line for line in axes.lines}
    for label, name in (("total", "total"), ("content", "original"), ("style", "style")):
        assert shown[label].get_color() == {"total": "r", "content": "g", "style": "b"}[label]
        values = np.asarray(shown[label].get_ydata(), float)
        expected = np.where(np.array(LOSSES[name]) > 0, LOSSES[name], np.nan)  # a logarithm has no 0
        np.testing.assert_array_equal(values, expected)
    assert {text.get_text() for text in axes.get_legend().get_texts()} == set(shown)
    assert axes.get_yscale() == "log"


@pytest.mark.parametrize(
    "losses",
    [
        {name: [] for name in LOSSES},
        {name: [0.0, 0.0] for name in LOSSES},
        {name: [1.0] for name in LOSSES},
        {name: [1.0, np.nan, np.inf] for name in LOSSES},
        {name: np.array([1e30, 1e-30], np.float32) for name in LOSSES},
    ],
    ids=["none", "zero", "one", "not finite", "wide"],
)
def test_any_losses_can_be_drawn_and_saved(losses, tmp_path):
    path = save_figure(tmp_path / "curves.png", learning_curves(losses))
    assert path.stat().st_size > 1000


def test_the_comparison_shows_every_result_beside_its_difference(pair, tmp_path):
    results = {"weak": pair.target, "strong": np.clip(pair.target.astype(int) + 30, 0, 255).astype(np.uint8)}
    figure = comparison(pair.target, pair.style, results)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["target", "style", "weak", "weak - target", "strong", "strong - target"]
    limits = {
        image.get_clim() for axes in figure.axes for image in axes.images if axes.get_title().endswith("- target")
    }
    assert limits == {(-30.0, 30.0)}
    assert isinstance(figure, Figure)
    assert save_figure(tmp_path / "comparison.png", figure).is_file()


def test_no_global_state_of_matplotlib_is_used(tmp_path):
    code = (
        "import sys\nfrom napari_nst.transfer.curves import learning_curves\nfrom napari_nst.transfer.files import save_figure\n"
        "from pathlib import Path\n"
        "save_figure(Path(sys.argv[1]) / 'a.png', learning_curves({k: [1.0, 2.0] for k in ('style', 'original', 'total')}))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)
