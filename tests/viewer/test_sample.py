"""The sample data: always the same, in micrometres, and true."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from napari.layers import Layer

from napari_nst import mosaic_pair
from napari_nst.viewer.sample import cone_mosaic_pair, cone_mosaic_pair_16bit


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
    # 256 pixels of half a micrometre.
    np.testing.assert_allclose(target.extent.world, [[0, 0], [127.5, 127.5]])
    assert style.extent.world[0, 1] > target.extent.world[1, 1]
    # The points lie on bright places of a less degraded picture: the picture under them is brighter than elsewhere.
    rows, columns = np.rint(cones.data).astype(int).T
    rows, columns = rows.clip(0, 255), columns.clip(0, 255)
    assert target.data[rows, columns].mean() > 1.2 * target.data.mean()
    np.testing.assert_allclose(cones.data_to_world(cones.data[0]), 0.5 * cones.data[0])
    assert len({layer.name for layer in (target, style, cones)}) == 3


def test_opens_from_the_menu(make_napari_viewer_proxy):
    viewer = make_napari_viewer_proxy()
    layers = viewer.open_sample("napari-nst", "cone_mosaic_pair")
    assert [type(layer).__name__ for layer in layers] == ["Image", "Image", "Points"]
    assert tuple(layers[0].source.sample) == ("napari-nst", "cone_mosaic_pair")
    viewer.open_sample("napari-nst", "cone_mosaic_pair_16bit")
    assert len(viewer.layers) == 6


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
