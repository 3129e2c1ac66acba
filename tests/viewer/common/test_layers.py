"""What a result takes over from its target, and where it is put."""

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_nst.viewer.common.layers import add_above, carried_over, default_folder, made_by_us, result_name
from napari_nst.viewer.common.region import WHOLE, cut_layer


@pytest.fixture
def model():
    return ViewerModel()


def test_everything_is_taken_over(model, random, rng):
    target = model.add_image(
        rng.integers(0, 4000, (30, 40), dtype=np.uint16),
        **random(2),
        units=("um", "um"),
        axis_labels=("lat", "lon"),
        colormap="magma",
        contrast_limits=(100, 3000),
        gamma=0.7,
        interpolation2d="linear",
        name="a",
        metadata={"secret": 1},
        visible=False,
        opacity=0.3,
        blending="additive",
    )
    cut = cut_layer(target, model, WHOLE, "target")
    result = model.add_image(target.data, **carried_over(target, cut))
    for name in ("scale", "translate", "rotate", "shear"):
        np.testing.assert_allclose(getattr(result, name), getattr(target, name), rtol=1e-10, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(result.affine.affine_matrix, target.affine.affine_matrix)
    for name in (
        "units",
        "axis_labels",
        "contrast_limits",
        "gamma",
        "interpolation2d",
        "rgb",
        "depiction",
        "rendering",
    ):
        assert getattr(result, name) == getattr(target, name), name
    assert result.colormap.name == "magma"
    # A result covers its target and is seen, whatever the target's own state.
    assert result.visible
    assert result.opacity == 1.0
    assert result.blending != "additive"
    assert result.metadata == {}


def test_color_takes_no_colormap(model, rng):
    target = model.add_image(rng.random((30, 40, 3)), rgb=True, scale=(2, 3))
    arguments = carried_over(target, cut_layer(target, model, WHOLE, "target"))
    assert not {"colormap", "contrast_limits", "gamma"} & set(arguments)
    result = model.add_image(target.data, **arguments)
    assert result.rgb
    np.testing.assert_array_equal(result.scale, (2, 3))


def test_a_result_lies_above_target_and_style_and_below_what_is_drawn_on_them(model, rng):
    target = model.add_image(rng.random((30, 40)), name="target")
    style = model.add_image(rng.random((30, 40)), name="style")
    points = model.add_points(name="points")
    layer = add_above(model, (target, style), rng.random((30, 40)), {"name": "result"})
    assert list(model.layers) == [target, style, layer, points]
    model.layers.remove(style)
    model.layers.remove(target)
    last = add_above(model, (target, style), rng.random((30, 40)), {"name": "result"})
    assert list(model.layers) == [layer, points, last]
    assert last.name == "result [1]"


def test_the_folder_for_files(tmp_path, documents):
    image = tmp_path / "image.tif"
    image.touch()
    assert default_folder(str(image)) == tmp_path
    for nowhere in (None, str(tmp_path / "gone.tif"), "https://example.org/image.tif"):
        assert default_folder(nowhere) == Path(documents) / "napari-nst"


def test_names_and_marks(model, rng):
    assert result_name("a", "b") == "a styled by b"
    layer = model.add_image(rng.random((20, 30)))
    assert not made_by_us(layer)
    layer.metadata["napari_nst"] = {"parameters": {}}
    assert made_by_us(layer)
