"""The sample data: always the same, in micrometers, and true."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Layer

from napari_nst import mosaic_pair, transfer_style
from napari_nst.demo import DemoResults
from napari_nst.viewer.sample import add_demo, cone_mosaic_pair, cone_mosaic_pair_16bit


@pytest.mark.parametrize(("make", "dtype"), [(cone_mosaic_pair, np.uint8), (cone_mosaic_pair_16bit, np.uint16)])
def test_is_the_synthetic_pair(make, dtype):
    target, style, cones = make()
    pair = mosaic_pair(dtype=dtype)
    np.testing.assert_array_equal(target[0], pair.target)
    np.testing.assert_array_equal(style[0], pair.style)
    np.testing.assert_array_equal(cones[0], pair.target_cones)
    assert target[0].dtype == style[0].dtype == dtype
    assert [kind for _, _, kind in (target, style, cones)] == ["image", "image", "points"]
    for one, other in zip(make(), (target, style, cones), strict=True):
        np.testing.assert_array_equal(one[0], other[0])


def test_layers_lie_where_they_should():
    target, style, cones = (Layer.create(*datum) for datum in cone_mosaic_pair())
    assert [str(unit) for unit in target.units] == ["micrometer"] * 2
    np.testing.assert_array_equal(target.scale, [0.5, 0.5])
    # 256 pixels of half a micrometer.
    np.testing.assert_allclose(target.extent.world, [[0, 0], [127.5, 127.5]])
    assert style.extent.world[0, 1] > target.extent.world[1, 1]
    # The points lie on bright places of a less degraded image: the image under them is brighter than elsewhere.
    rows, columns = np.rint(cones.data).astype(int).T
    rows, columns = rows.clip(0, 255), columns.clip(0, 255)
    assert target.data[rows, columns].mean() > 1.2 * target.data.mean()
    np.testing.assert_allclose(cones.data_to_world(cones.data[0]), 0.5 * cones.data[0])
    assert len({layer.name for layer in (target, style, cones)}) == 3


def test_opens_from_the_menu(viewer):
    layers = viewer.open_sample("napari-nst", "cone_mosaic_pair")
    assert [type(layer).__name__ for layer in layers] == ["Image", "Image", "Points"]
    assert tuple(layers[0].source.sample) == ("napari-nst", "cone_mosaic_pair")
    viewer.open_sample("napari-nst", "cone_mosaic_pair_16bit")
    assert len(viewer.layers) == 6


def test_the_demonstration_shows_pair_results_and_widget(viewer):
    pair = mosaic_pair((48, 48))
    result = transfer_style(pair.target, pair.style, preset="texture", epoch=1, threads=1)
    widget = add_demo(viewer, DemoResults(pair, {"texture": result}, Path()))
    assert [layer.name for layer in viewer.layers] == ["target", "style", "target (texture)", "true cones"]
    np.testing.assert_array_equal(viewer.layers["target (texture)"].data, result.image)
    assert viewer.layers["target (texture)"].metadata["napari_nst"]["steps"] == 1
    np.testing.assert_allclose(viewer.layers["true cones"].data, pair.target_cones)
    assert widget.target.value.name == "target"
    assert widget.style.value.name == "style"


def test_discovery_and_sample_import_nothing_heavy():
    script = """
import json, sys
from npe2 import PluginManager
manager = PluginManager.instance()
manager.discover()
manager.activate("napari-nst")
layers = manager.commands.execute("napari-nst.cone_mosaic_pair")
assert len(layers) == 3
import napari_nst.viewer.commands, napari_nst.viewer.preferences, napari_nst.viewer.transfer.script
print(json.dumps(sorted({"torch", "torchvision", "cv2", "matplotlib"} & set(sys.modules))))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
