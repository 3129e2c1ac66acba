"""The demonstration in the viewer: what ``napari-nst demo --viewer`` shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_nst import mosaic_pair, transfer_style
from napari_nst.demo import DemoResults
from napari_nst.viewer.demo import add_demo


def test_pair_results_and_widget_are_there(make_napari_viewer_proxy):
    viewer = make_napari_viewer_proxy()
    pair = mosaic_pair((48, 48))
    result = transfer_style(pair.target, pair.style, preset="texture", epoch=1, threads=1)
    widget = add_demo(viewer, DemoResults(pair, {"texture": result}, Path()))
    assert [layer.name for layer in viewer.layers] == ["target", "style", "target (texture)", "true cones"]
    np.testing.assert_array_equal(viewer.layers["target (texture)"].data, result.image)
    assert viewer.layers["target (texture)"].metadata["napari_nst"]["steps"] == 1
    np.testing.assert_allclose(viewer.layers["true cones"].data, pair.target_cones)
    assert widget.target.value.name == "target"
    assert widget.style.value.name == "style"
