"""Side by side and back, the layers a result came from, the difference, the checkerboard."""

from __future__ import annotations

import gc
import weakref

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_nst.errors import ImageError, StyleTransferError
from napari_nst.viewer.common.compare import (
    SideBySide,
    add_checkerboard,
    add_difference,
    checkerboard,
    comparison_of,
    partners,
    remember,
)


def image(shape=(20, 30), seed=0, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def scene(order=("target", "style", "result"), **more):
    """A viewer with layers at known places, other layers between and around them."""
    viewer = ViewerModel()
    viewer.add_image(image(seed=9), name="below")
    for seed, name in enumerate(order):
        viewer.add_image(image(seed=seed), name=name, **more)
        viewer.add_image(image(seed=9), name=f"after {name}", visible=seed == 1)
    return viewer, *(viewer.layers[name] for name in ("target", "style", "result"))


def state(viewer):
    grid, camera = viewer.canvas.grid, viewer.scene.camera
    return {
        "layers": [
            (
                id(layer),
                layer.visible,
                layer.name_overlay.visible,
                layer.name_overlay.font_size,
                tuple(layer.translate),
                layer.gamma,
                tuple(layer.contrast_limits),
                tuple(layer.contrast_limits_range),
            )
            for layer in viewer.layers
        ],
        "grid": (grid.enabled, grid.shape, grid.stride, grid.spacing),
        "camera": (camera.center, camera.zoom, camera.angles, camera.perspective),
        "dims": (viewer.dims.ndisplay, viewer.dims.order, viewer.dims.point),
    }


def cells(viewer):
    """Layer names by the cell of the grid they are in, from left to right."""
    grid, layers = viewer.canvas.grid, viewer.layers
    found = dict(grid.iter_viewboxes(layers))
    return [[layers[i].name for i in found[place]] for place in sorted(found)]


# -- side by side ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order",
    [
        ("target", "style", "result"),
        ("result", "style", "target"),
        ("style", "target", "result"),
        ("style", "result", "target"),
        ("result", "target", "style"),
    ],
)
def test_shows_the_three_from_left_to_right_and_puts_everything_back(order):
    viewer, target, style, result = scene(order)
    viewer.canvas.grid.shape, viewer.canvas.grid.stride, viewer.canvas.grid.spacing = (2, -1), 2, 7
    viewer.scene.camera.center, viewer.scene.camera.zoom = (0.0, 3.25, 11.5), 17.125
    target.name_overlay.visible = True
    before = state(viewer)
    comparison = SideBySide(viewer)
    comparison.start(target, style, result)
    assert comparison.active
    assert cells(viewer) == [["target"], ["style"], ["result"]]
    assert viewer.canvas.grid.actual_shape(viewer.layers) == (1, 3)
    assert [layer.name for layer in viewer.layers if layer.name_overlay.visible] == [
        layer.name for layer in viewer.layers if layer.visible
    ]
    assert viewer.scene.camera.zoom != 17.125
    comparison.stop()
    assert not comparison.active
    assert state(viewer) == before


def test_without_a_style_there_are_two_cells():
    viewer, target, _, result = scene()
    comparison = SideBySide(viewer)
    comparison.start(target, None, result)
    assert cells(viewer) == [["target"], ["result"]]


def test_long_names_are_written_smaller():
    viewer, target, style, result = scene()
    viewer.canvas.size = (400, 900)
    comparison = SideBySide(viewer)
    comparison.start(target, style, result)
    assert {layer.name_overlay.font_size for layer in (target, style, result)} == {10}
    comparison.stop()
    result.name = "a name of forty letters, about as it goes"
    before = state(viewer)
    comparison.start(target, style, result)
    sizes = {layer.name_overlay.font_size for layer in (target, style, result)}
    assert len(sizes) == 1
    assert 6 < sizes.pop() < 8
    comparison.stop()
    assert state(viewer) == before


def test_camera_holds_the_whole_image():
    viewer, target, style, result = scene()
    viewer.canvas.size = (400, 900)
    SideBySide(viewer).start(target, style, result)
    # A cell is 400 by about 300 screen pixels; the image 20 by 30.
    assert 0.85 * 300 / 30 < viewer.scene.camera.zoom <= 300 / 30
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], [9.5, 14.5])


def test_a_stack_elsewhere_does_not_disturb_the_fit():
    viewer, target, style, result = scene()
    viewer.add_image(image((7, 200, 300)), name="stack")
    viewer.canvas.size = (400, 900)
    SideBySide(viewer).start(target, style, result)
    assert 0.85 * 300 / 30 < viewer.scene.camera.zoom <= 300 / 30
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], [9.5, 14.5])


def test_dims_are_put_back():
    viewer, target, style, result = scene()
    viewer.add_image(image((7, 20, 30)), name="stack")
    viewer.dims.set_point(0, 3)
    viewer.dims.ndisplay = 3
    viewer.scene.camera.angles = (10.0, 20.0, 30.0)
    before = state(viewer)
    comparison = SideBySide(viewer)
    comparison.start(target, style, result)
    viewer.dims.ndisplay = 2
    viewer.dims.set_point(0, 5)
    comparison.stop()
    assert state(viewer) == before


def test_result_follows_the_targets_contrast_and_gets_its_own_back():
    viewer, target, style, result = scene()
    result.contrast_limits = (3, 50)
    before = state(viewer)
    comparison = SideBySide(viewer)
    comparison.start(target, style, result)
    assert list(result.contrast_limits) == list(target.contrast_limits)
    target.contrast_limits = (10, 90)
    target.gamma = 0.5
    assert list(result.contrast_limits) == [10, 90]
    assert result.gamma == 0.5
    assert list(style.contrast_limits) != [10, 90]
    target.contrast_limits, target.gamma = before["layers"][1][6], 1.0
    comparison.stop()
    assert state(viewer) == before
    target.contrast_limits = (20, 80)
    assert list(result.contrast_limits) == [3, 50]


def test_contrast_chosen_while_comparing_is_kept():
    viewer, target, style, result = scene()
    comparison = SideBySide(viewer)
    comparison.start(target, style, result)
    result.contrast_limits = (40, 60)
    comparison.stop()
    assert list(target.contrast_limits) == list(result.contrast_limits) == [40, 60]


@pytest.mark.parametrize(
    "turn", [{}, {"rotate": 30, "scale": (0.5, 0.5)}, {"affine": [[0, 2, 5], [-2, 0, 1], [0, 0, 1]]}]
)
def test_a_style_of_another_place_lies_over_the_target_meanwhile(turn):
    viewer, target, style, result = scene(**turn)
    style.translate = (500.0, -800.0)
    before = state(viewer)
    comparison = SideBySide(viewer)
    comparison.start(target, style, result)
    np.testing.assert_allclose(style.extent.world.mean(axis=0), target.extent.world.mean(axis=0), atol=1e-9)
    comparison.stop()
    assert state(viewer) == before


@pytest.mark.parametrize("removed", ["target", "style", "result", "after target"])
def test_a_layer_may_be_removed_or_renamed_meanwhile(removed):
    viewer, target, style, result = scene(("style", "target", "result"))
    before = state(viewer)
    comparison = SideBySide(viewer)
    comparison.start(target, style, result)
    gone = viewer.layers[removed]
    viewer.layers.remove(gone)
    viewer.layers["below"].name = "another name"
    comparison.stop()
    after = state(viewer)
    assert after["layers"] == [entry for entry in before["layers"] if entry[0] != id(gone)]
    assert {k: v for k, v in after.items() if k != "layers"} == {k: v for k, v in before.items() if k != "layers"}
    # Brought back, it is as it was.
    assert gone.visible == next(entry[1] for entry in before["layers"] if entry[0] == id(gone))


def test_an_order_made_meanwhile_is_kept():
    viewer, target, style, result = scene(("style", "target", "result"))
    comparison = SideBySide(viewer)
    comparison.start(target, style, result)
    viewer.layers.move(0, len(viewer.layers))
    chosen = [layer.name for layer in viewer.layers]
    comparison.stop()
    assert [layer.name for layer in viewer.layers] == chosen


def test_a_new_layer_ends_the_comparison():
    viewer, target, style, result = scene(("style", "target", "result"))
    before = state(viewer)
    comparison, heard = SideBySide(viewer), []
    comparison.changed.connect(heard.append)
    comparison.start(target, style, result)
    new = viewer.add_image(image(), name="new")
    assert heard == [True, False]
    assert not comparison.active
    assert new.visible
    assert state(viewer)["layers"][:-1] == before["layers"]
    comparison.stop()
    assert heard == [True, False]


def test_another_result_takes_over_and_the_first_view_comes_back():
    viewer, target, style, result = scene()
    before = state(viewer)
    comparison = SideBySide(viewer)
    comparison.start(target, style, result)
    comparison.start(target, style, viewer.layers["after result"])
    assert cells(viewer)[2] == ["after result"]
    comparison.stop()
    assert state(viewer) == before


def test_what_cannot_be_compared():
    viewer, target, _, result = scene()
    before = state(viewer)
    comparison = SideBySide(viewer)
    with pytest.raises(StyleTransferError, match="'elsewhere' is not in this viewer"):
        comparison.start(target, Image(image(), name="elsewhere"), result)
    with pytest.raises(StyleTransferError, match="different layers"):
        comparison.start(target, target, result)
    assert not comparison.active
    assert state(viewer) == before


def test_one_comparison_per_viewer():
    viewer = ViewerModel()
    assert comparison_of(viewer) is comparison_of(viewer)
    assert comparison_of(viewer) is not comparison_of(ViewerModel())


def test_keeps_neither_viewer_nor_layers_alive():
    def compare():
        viewer, target, style, result = scene()
        comparison = comparison_of(viewer)
        comparison.start(target, style, result)
        remember(result, target, style)
        return weakref.ref(viewer), weakref.ref(result), weakref.ref(comparison)

    known = compare()
    gc.collect()
    assert [reference() is None for reference in known] == [True] * 3


def test_in_a_real_viewer(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    target, style, _ = viewer.open_sample("napari-nst", "cone_mosaic_pair")
    result = viewer.add_image(target.data // 2, name="result", scale=target.scale, units=target.units)
    qtbot.wait(50)
    before = state_of_proxy(viewer)
    comparison = comparison_of(viewer)
    comparison.start(target, style, result)
    qtbot.wait(50)
    drawn = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(float)
    thirds = np.array_split(drawn, 3, axis=1)
    assert all(third.std() > 5 for third in thirds)
    comparison.stop()
    qtbot.wait(50)
    assert state_of_proxy(viewer) == before


def state_of_proxy(viewer):
    camera, grid = viewer.scene.camera, viewer.canvas.grid
    return (
        [(layer.name, layer.visible, layer.name_overlay.visible) for layer in viewer.layers],
        (tuple(camera.center), camera.zoom, tuple(camera.angles)),
        (grid.enabled, tuple(grid.shape), grid.stride, grid.spacing),
    )


# -- where a result came from ------------------------------------------------------------------------------------------


def test_remembered_layers_may_be_renamed_or_removed():
    viewer, target, style, result = scene()
    assert partners(viewer, result) == (None, None)
    remember(result, target, style)
    target.name, style.name = "renamed", "renamed too"
    assert partners(viewer, result) == (target, style)
    viewer.layers.remove(style)
    assert partners(viewer, result) == (target, None)
    remember(result, target)
    assert partners(viewer, result) == (target, None)


def test_recorded_names_serve_a_result_from_a_file():
    viewer, target, style, result = scene()
    result.metadata["napari_nst"] = {
        "layers": {"target": "target", "style": "style"},
        "target": {"shape": [20, 30]},
        "style": {"shape": [21, 30]},
    }
    # The style's layer is smaller than what was used, so it is another one.
    assert partners(viewer, result) == (target, None)
    result.metadata["napari_nst"]["style"]["shape"] = [5, 5]
    assert partners(viewer, result) == (target, style)
    result.metadata["napari_nst"] = "not a record"
    assert partners(viewer, result) == (None, None)


# -- the difference ----------------------------------------------------------------------------------------------------

PLACE = {
    "scale": (0.5, 0.25),
    "translate": (3.0, -4.0),
    "rotate": 20,
    "shear": [0.3],
    "affine": [[0.9, 0.1, 2], [-0.2, 1.1, 5], [0, 0, 1]],
    "units": ("um", "um"),
    "axis_labels": ("y", "x"),
}


def assert_same_place(layer, other):
    for key in ("scale", "translate", "rotate", "shear", "units", "axis_labels"):
        np.testing.assert_array_equal(getattr(layer, key), getattr(other, key))
    np.testing.assert_array_equal(layer.affine.affine_matrix, other.affine.affine_matrix)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_difference_is_result_minus_target(dtype):
    viewer = ViewerModel()
    before, after = image(dtype=dtype), image(seed=1, dtype=dtype)
    target = viewer.add_image(before, name="t", **PLACE)
    result = viewer.add_image(after, name="r", **PLACE)
    layer = add_difference(viewer, target, result)
    expected = after.astype(float) - before.astype(float)
    assert layer.data.dtype == np.float32
    np.testing.assert_allclose(layer.data, expected, rtol=1e-6)
    low, high = layer.contrast_limits
    assert low == -high
    np.testing.assert_allclose(high, np.percentile(np.abs(expected), 99.5), rtol=1e-6)
    assert_same_place(layer, target)
    assert layer in viewer.layers
    # Zero lies in the middle of the colors, neither red nor blue.
    red, _, blue = layer.colormap.map([0.5])[0, :3]
    assert abs(red - blue) < 0.02
    darker, brighter = layer.colormap.map([0.0, 1.0])
    assert darker[2] > darker[0]
    assert brighter[0] > brighter[2]


def test_equal_images_and_few_changes_have_limits():
    viewer = ViewerModel()
    target = viewer.add_image(image())
    same = viewer.add_image(image())
    assert list(add_difference(viewer, target, same).contrast_limits) == [-1, 1]
    changed = image()
    changed[0, 0] += 7
    assert list(add_difference(viewer, target, viewer.add_image(changed)).contrast_limits) == [-7, 7]
    holes = image(dtype=np.float32)
    holes[:] = np.nan
    assert list(add_difference(viewer, target, viewer.add_image(holes)).contrast_limits) == [-1, 1]


def test_difference_of_color_is_that_of_luminance():
    viewer = ViewerModel()
    before, after = image((20, 30, 3)), image((20, 30, 3), seed=1)
    target, result = viewer.add_image(before, rgb=True), viewer.add_image(after, rgb=True)
    layer = add_difference(viewer, target, result)
    weights = [0.2125, 0.7154, 0.0721]
    np.testing.assert_allclose(layer.data, after @ weights - before @ weights, rtol=1e-5, atol=1e-4)
    assert not layer.rgb


def test_layers_are_added_not_replaced():
    viewer = ViewerModel()
    target, result = viewer.add_image(image(), name="t"), viewer.add_image(image(seed=1), name="r")
    assert add_difference(viewer, target, result).name != add_difference(viewer, target, result).name
    assert add_checkerboard(viewer, target, result).name != add_checkerboard(viewer, target, result).name
    assert len(viewer.layers) == 6


def region_of(layer, data, rows, columns):
    """A layer that lies where `rows` and `columns` of another one are, whatever its transforms."""
    corner = np.asarray(layer.data_to_world((rows.start, columns.start)))
    moved = np.linalg.solve(layer.affine.linear_matrix, corner - layer.affine.translate)
    keys = ("scale", "rotate", "shear", "affine", "units", "axis_labels")
    return Image(data[rows, columns], name="region", translate=moved, **{key: getattr(layer, key) for key in keys})


@pytest.mark.parametrize("place", [{}, PLACE], ids=["plain", "turned"])
@pytest.mark.parametrize("multiscale", [False, True])
def test_a_region_meets_the_pixels_under_it(place, multiscale):
    viewer = ViewerModel()
    before, after = image((64, 96)), image((64, 96), seed=1)
    data = [before, before[::2, ::2]] if multiscale else before
    target = viewer.add_image(data, multiscale=multiscale, **place)
    rows, columns = slice(5, 37), slice(30, 80)
    result = viewer.add_layer(region_of(target, after, rows, columns))
    layer = add_difference(viewer, target, result)
    np.testing.assert_array_equal(layer.data, after[rows, columns].astype(float) - before[rows, columns])
    assert_same_place(layer, result)
    np.testing.assert_allclose(layer.data_to_world((0, 0)), target.data_to_world((5, 30)))
    squares = add_checkerboard(viewer, target, result, squares=4)
    np.testing.assert_array_equal(squares.data[:8, :8], before[5:13, 30:38])
    np.testing.assert_array_equal(squares.data[:8, 8:16], after[5:13, 38:46])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"translate": (0.3, 0)}, "do not share their pixels"),
        ({"scale": (2, 2)}, "do not share their pixels"),
        ({"rotate": 1}, "do not share their pixels"),
        ({"translate": (1, 0)}, "do not lie on each other"),
        ({"translate": (0, -40)}, "do not lie on each other"),
        ({"units": ("um", "um")}, "different units"),
    ],
)
def test_layers_that_do_not_match(change, message):
    viewer = ViewerModel()
    target, result = viewer.add_image(image()), viewer.add_image(image(), **change)
    for add in (add_difference, add_checkerboard):
        with pytest.raises(StyleTransferError, match=message):
            add(viewer, target, result)
    assert len(viewer.layers) == 2


def test_more_axes_than_the_target():
    viewer = ViewerModel()
    target, result = viewer.add_image(image()), viewer.add_image(image((3, 20, 30)))
    with pytest.raises(StyleTransferError, match="have 3 and 2 axes"):
        add_difference(viewer, target, result)


@pytest.mark.parametrize("wrap", [np.asarray, lambda a: da.from_array(a, chunks=(2, 20, 15))], ids=["numpy", "dask"])
def test_stacks_are_compared_plane_by_plane_when_looked_at(wrap):
    viewer = ViewerModel()
    before, after = image((6, 20, 30)), image((6, 20, 30), seed=1)
    target, result = viewer.add_image(wrap(before)), viewer.add_image(wrap(after))
    change, squares = add_difference(viewer, target, result), add_checkerboard(viewer, target, result)
    assert isinstance(change.data, da.Array)
    assert isinstance(squares.data, da.Array)
    assert change.data.chunks[0] == (1,) * 6
    np.testing.assert_array_equal(np.asarray(change.data), after.astype(float) - before)
    np.testing.assert_array_equal(np.asarray(squares.data[2]), checkerboard(before[2], after[2], 3))
    assert squares.data.dtype == np.uint8


def test_stack_of_color():
    viewer = ViewerModel()
    before, after = image((4, 20, 30, 4)), image((4, 20, 30, 4), seed=1)
    target, result = viewer.add_image(before, rgb=True), viewer.add_image(after, rgb=True)
    layer = add_difference(viewer, target, result)
    weights = np.array([0.2125, 0.7154, 0.0721])
    np.testing.assert_allclose(
        np.asarray(layer.data), (after[..., :3] @ weights) - (before[..., :3] @ weights), atol=1e-4
    )
    assert add_checkerboard(viewer, target, result).data.shape == (4, 20, 30, 4)


@pytest.mark.parametrize("recorded", [True, False])
def test_one_plane_of_a_stack(recorded):
    viewer = ViewerModel()
    before, after = image((6, 20, 30)), image()
    target = viewer.add_image(before, scale=(5, 2, 2))
    result = viewer.add_image(after, scale=(2, 2))
    viewer.dims.set_point(0, 20)
    if recorded:
        result.metadata["napari_nst"] = {"layers_source": {"target": {"index": 1}}}
    layer = add_difference(viewer, target, result)
    np.testing.assert_array_equal(layer.data, after.astype(float) - before[1 if recorded else 4])


# -- the checkerboard --------------------------------------------------------------------------------------------------


def test_checkerboard_by_the_formula():
    one, other = image((10, 13)), image((10, 13), seed=1)
    board = checkerboard(one, other, 4)
    for y in range(10):
        for x in range(13):
            assert board[y, x] == (one if (y // 4 + x // 4) % 2 == 0 else other)[y, x]
    color = checkerboard(np.dstack([one] * 3), np.dstack([other] * 3), 4, rgb=True)
    np.testing.assert_array_equal(color, np.dstack([board] * 3))


def test_checkerboard_refuses():
    with pytest.raises(ImageError, match="one shape"):
        checkerboard(image(), image((30, 20)), 4)


def test_checkerboard_looks_like_the_target():
    viewer = ViewerModel()
    target = viewer.add_image(image(), contrast_limits=(5, 77), colormap="magma", gamma=0.7, **PLACE)
    result = viewer.add_image(image(seed=1), **PLACE)
    layer = add_checkerboard(viewer, target, result)
    assert (list(layer.contrast_limits), layer.colormap.name, layer.gamma) == ([5, 77], "magma", 0.7)
    assert_same_place(layer, target)
    color = viewer.add_image(image((20, 30, 3)), rgb=True, **PLACE)
    with pytest.raises(StyleTransferError, match="RGB"):
        add_checkerboard(viewer, target, color)
